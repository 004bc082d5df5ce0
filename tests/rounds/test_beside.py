"""Two attempts of a task at the same time, as when a worker was suspended and wakes up beside the next attempt."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_respan.decorators.respan_batch import RespanBatchDecoratedOperator
from airflow_respan.sandbox import RespanSandbox
from tests.operators.modes import Outcome, attempt
from tests.rounds.asking import MODES, rows
from tests.task_instance import TaskInstance


def ask(mode: str, path: Path, function: Any, ti: TaskInstance) -> Outcome:
    """Run an attempt of a task that asks what a function yields."""
    return attempt(
        lambda: RespanBatchDecoratedOperator(
            task_id="ask",
            python_callable=function,
            path=str(path),
            body={"model": "m"},
            poke_interval=0.02,
            not_found_grace=0,
            **MODES[mode],
        ),
        ti,
    )


@pytest.mark.parametrize("mode", MODES)
def test_an_attempt_that_wakes_up_while_it_plans_asks_what_its_successor_has_planned(
    mode: str, moving: RespanSandbox, tmp_path: Path
) -> None:
    outcomes = []

    def second() -> Iterator[Any]:
        yield "s-1", "One?"
        yield "s-2", "Two?"

    def first() -> Iterator[Any]:
        yield "f-1", "One?"
        outcomes.append(ask(mode, tmp_path, second, TaskInstance(try_number=2, max_tries=3)))

    outcomes.append(ask(mode, tmp_path, first, TaskInstance(max_tries=3)))

    assert [outcome.error for outcome in outcomes] == [None, None]
    assert dict(moving.runs) == {"s-1": 1, "s-2": 1}
    assert rows(tmp_path / "output.jsonl").keys() == {"s-1", "s-2"}


@pytest.mark.parametrize("mode", MODES)
def test_an_attempt_that_wakes_up_while_its_successor_waits_does_not_change_what_that_one_has_asked(
    mode: str, moving: RespanSandbox, tmp_path: Path
) -> None:
    moving.service.batches.pace = None
    retry = TaskInstance(try_number=2, max_tries=3)

    def second() -> Iterator[Any]:
        yield "s-1", "One?"
        yield "s-2", "Two?"

    def first() -> Iterator[Any]:
        yield "f-1", "One?"
        attempt(
            lambda: RespanBatchDecoratedOperator(
                task_id="ask",
                python_callable=second,
                path=str(tmp_path),
                body={"model": "m"},
                timeout=0.001,
                not_found_grace=0,
                **MODES[mode],
            ),
            retry,
        )
        moving.service.batches.pace = 0.0

    woken = ask(mode, tmp_path, first, TaskInstance(max_tries=3))
    third = ask(mode, tmp_path, second, TaskInstance(try_number=3, max_tries=3))

    assert (woken.error, third.error) == (None, None)
    assert dict(moving.runs) == {"s-1": 1, "s-2": 1}
    assert rows(tmp_path / "output.jsonl").keys() == {"s-1", "s-2"}
