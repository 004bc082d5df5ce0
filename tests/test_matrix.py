"""What is claimed of Airflow's lines is what the matrix tries."""

from __future__ import annotations

import re
import tomllib

from dev.airflow_lines import LINES
from tests.conftest import CHECKOUT


def test_the_readme_lists_the_lines_that_are_tried() -> None:
    rows = re.findall(r"^\| ([\d.]+) \| ([\d.*]+) \| ([\d.]+) \|$", (CHECKOUT / "README.md").read_text(), re.MULTILINE)

    assert rows == [(line.name, line.version, line.pythons[0]) for line in LINES]


def test_every_python_that_is_claimed_is_tried() -> None:
    classifiers = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["classifiers"]
    claimed = {re.sub(r".* :: ", "", text) for text in classifiers if re.search(r"Python :: 3\.\d", text)}

    assert {line.pythons[0] for line in LINES} == claimed
