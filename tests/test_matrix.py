"""The README and the classifiers list what the matrix tests."""

from __future__ import annotations

import re
import tomllib

from dev.airflow_lines import LINES
from tests.conftest import CHECKOUT


def test_the_readme_lists_the_lines_that_the_matrix_tests() -> None:
    rows = re.findall(r"^\| ([\d.]+) \| ([\d.*]+) \| ([\d.]+) \|$", (CHECKOUT / "README.md").read_text(), re.MULTILINE)

    assert rows == [(line.name, line.version, line.pythons[0]) for line in LINES]


def test_the_matrix_tests_every_python_of_the_classifiers() -> None:
    classifiers = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["classifiers"]
    listed = {re.sub(r".* :: ", "", text) for text in classifiers if re.search(r"Python :: 3\.\d", text)}

    assert {line.pythons[0] for line in LINES} == listed
