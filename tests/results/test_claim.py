"""Several landings in one folder at the same time: its manifest and its files are always of the same landing."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from airflow_respan.sandbox import RespanSandbox
from tests.results.programs import run

OK, FAILED = 0, 256
"""As ``waitpid`` says it."""


def test_a_landing_that_was_suspended_at_any_step_takes_what_the_same_landing_wrote_meanwhile(
    connected: RespanSandbox, tmp_path: Path
) -> None:
    steps = run("suspending", tmp_path / "results", "same", "{}")

    assert len(steps) > 10
    assert [step for step in steps if step != {"first": OK, "second": OK, "folder": "first"}] == []


def test_of_two_batches_in_one_folder_one_lands_and_the_other_one_fails(
    connected: RespanSandbox, tmp_path: Path
) -> None:
    steps = run("suspending", tmp_path / "results", "other", "{}")

    assert len(steps) > 10
    ends = Counter(json.dumps(step) for step in steps)
    second = json.dumps({"first": FAILED, "second": OK, "folder": "second"})
    first = json.dumps({"first": OK, "second": FAILED, "folder": "first"})
    assert ends.keys() == {first, second}


def test_a_batch_that_overwrites_is_not_mixed_with_one_that_was_suspended_at_any_step(
    connected: RespanSandbox, tmp_path: Path
) -> None:
    steps = run("suspending", tmp_path / "results", "other", json.dumps({"overwrite": True}))

    assert len(steps) > 10
    for step in steps:
        assert step["second"] == OK
        assert step["folder"] in (["second"] if step["first"] else ["first", "second"])


ROUNDS = 10


def test_processes_that_land_the_same_batch_at_the_same_time_all_succeed(
    connected: RespanSandbox, tmp_path: Path
) -> None:
    rounds = run("racing", tmp_path / "results", ROUNDS, "{}", "first", "first", "first")

    assert rounds == [{"succeeded": ["first"] * 3, "folder": "first"}] * ROUNDS


@pytest.mark.parametrize("overwrite", [False, True])
def test_processes_that_land_different_batches_at_the_same_time_never_mix_them(
    connected: RespanSandbox, tmp_path: Path, overwrite: bool
) -> None:
    options = json.dumps({"overwrite": overwrite})

    rounds = run("racing", tmp_path / "results", ROUNDS, options, "first", "second", "first", "second")

    assert len(rounds) == ROUNDS
    for round_ in rounds:
        assert round_["folder"] in round_["succeeded"]
        assert overwrite or set(round_["succeeded"]) == {round_["folder"]}
