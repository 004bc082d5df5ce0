"""The tables on the pages are complete, and agree with the code."""

from __future__ import annotations

import inspect
import re

import pytest

from airflow_respan.operators.batch import (
    RespanBatchOperator,
    RespanBatchResultsOperator,
    RespanCancelBatchOperator,
    RespanCreateBatchOperator,
)
from airflow_respan.sandbox import Fault, Outcome, RespanSandbox
from airflow_respan.sandbox.outcomes import WORDS
from airflow_respan.sensors.batch import RespanBatchSensor
from dev.docs_tables import TABLES, with_table
from tests.docs.pages import DOCS


def rows(page: str, heading: str) -> set[str]:
    """Return the names in code type in the first column of the tables below a heading."""
    _above, _heading, below = (DOCS / page).read_text().partition(f"\n{heading}\n")
    section = re.split(r"^#{1,2} ", below, maxsplit=1, flags=re.MULTILINE)[0]
    first_columns = re.findall(r"^\| ([^|]*) \|", section, re.MULTILINE)
    return {name for column in first_columns for name in re.findall(r"`(\w+)[^`]*`", column)}


def arguments(cls: type) -> set[str]:
    ours = [base for base in cls.__mro__ if base.__module__.startswith("airflow_respan.") and "__init__" in vars(base)]
    signatures = [inspect.signature(inspect.unwrap(base.__init__)).parameters for base in ours]
    return {name for parameters in signatures for name, each in parameters.items() if each.kind == each.KEYWORD_ONLY}


@pytest.mark.parametrize(
    ("page", "heading", "cls"),
    [
        ("sensor-and-outcomes.md", "## Arguments", RespanBatchSensor),
        ("whole-job.md", "## Arguments", RespanBatchOperator),
        ("operators.md", "## RespanCreateBatchOperator", RespanCreateBatchOperator),
        ("operators.md", "## RespanBatchResultsOperator", RespanBatchResultsOperator),
        ("operators.md", "## RespanCancelBatchOperator", RespanCancelBatchOperator),
        ("sandbox.md", "## Options", RespanSandbox),
    ],
)
def test_a_table_of_arguments_is_complete(page: str, heading: str, cls: type) -> None:
    assert arguments(cls)
    assert rows(page, heading) == arguments(cls)


def test_the_table_of_faults_is_complete() -> None:
    assert rows("sandbox.md", "## Faults") == {
        name for name, member in vars(Fault).items() if isinstance(member, classmethod)
    }


def test_the_table_of_outcomes_is_complete() -> None:
    methods = {name for name, member in vars(Outcome).items() if isinstance(member, classmethod)}
    assert rows("sandbox.md", "## Requests that fail") == {"429", *WORDS}
    assert methods == {"error", *WORDS}


@pytest.mark.parametrize(("page", "name"), TABLES)
def test_a_table_agrees_with_the_code(page: str, name: str) -> None:
    text = (DOCS / page).read_text()

    assert text == with_table(text, name, TABLES[page, name]()), "python -m dev.docs_tables"
