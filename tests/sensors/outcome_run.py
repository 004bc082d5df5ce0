"""The outcome table in one run of one DAG: what the service is told, what the DAG is told, what it must come to.

For the newest Airflow that is ``test_outcomes.py``; for every other line ``dev/matrix.py`` runs some of it, in an
environment that has no pytest and no checkout.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airflow_respan.sandbox import RespanSandbox
from tests.sensors.outcomes import ROWS, Row

DAG_FILE = Path(__file__).parent.parent / "dags" / "outcome_table.py"
MODES: dict[str, dict[str, Any]] = {
    "poke": {},
    "reschedule": {"mode": "reschedule"},
    "deferrable": {"deferrable": True},
}
OPTIONS: dict[str, dict[str, Any]] = {"plain": {}, "soft": {"soft_fail": True}, "never": {"never_fail": True}}
NOT_MAPPED = -1
"""Airflow's ``map_index`` of a task that is not mapped."""

Key = tuple[str, int]
Seen = dict[Key, dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Case:
    """A row of the table, in a mode, with an option; mapped ones of a mode and option are one task's."""

    row: Row
    mode: str
    option: str
    map_index: int = NOT_MAPPED

    @property
    def mapped(self) -> bool:
        return self.map_index != NOT_MAPPED

    @property
    def task_id(self) -> str:
        return f"{'mapped' if self.mapped else self.row.name}__{self.mode}__{self.option}"

    @property
    def key(self) -> Key:
        return self.task_id, self.map_index

    @property
    def name(self) -> str:
        return f"{self.row.name}-{self.mode}-{self.option}{'-mapped' if self.mapped else ''}"

    @property
    def batch_id(self) -> str:
        return f"batch_{self.task_id}" + (f"_{self.map_index}" if self.mapped else "")

    def expected_end(self) -> dict[str, Any]:
        """Say how the task must end."""
        state = {"plain": self.row.state, "soft": self.row.soft, "never": "skipped"}[self.option]
        failed = state == "failed"
        return {
            "state": state,
            "tries": 2 if self.row.retried and failed else 1,
            "error": self.row.error if failed else None,
        }

    def expected_xcoms(self) -> dict[str, Any]:
        """Say what the next task must find, but for the return value."""
        if self.row.pushed is None:
            return {}
        keys = ("status", "output_file_id", "error_file_id", "request_counts")
        return {"batch_id": self.batch_id, **{key: self.row.pushed[key] for key in keys if key in self.row.pushed}}

    def end(self, seen: Seen) -> dict[str, Any]:
        """Say how the task ended."""
        outcome = seen.get(self.key, {})
        return {name: outcome.get(name) for name in ("state", "tries", "error")}

    def xcoms(self, seen: Seen) -> dict[str, Any]:
        """Say what the next task found, but for the return value."""
        return {key: value for key, value in seen[self.key]["xcoms"].items() if key != "return_value"}

    def returned(self, seen: Seen) -> dict[str, Any] | None:
        """Say what the next task found as the return value, in the shape of :meth:`xcoms`."""
        batch = seen[self.key]["xcoms"].get("return_value")
        return batch and {key: batch.get("id" if key == "batch_id" else key) for key in self.expected_xcoms()}


def table(*, rows: Iterable[str], modes: Iterable[str] = MODES, options: Iterable[str] = OPTIONS) -> list[Case]:
    """Choose cases by the names of rows; ``never`` makes sense only of those that fail."""
    chosen = [row for row in ROWS if row.name in set(rows)]
    return [
        Case(row=row, mode=mode, option=option)
        for row in chosen
        for mode in modes
        for option in options
        if option != "never" or row.state == "failed"
    ]


def mapped(*, rows: Sequence[str], modes: Iterable[str] = MODES) -> list[Case]:
    """Wait for the batches of several rows side by side, in one mapped task for each mode."""
    by_name = {row.name: row for row in ROWS}
    return [
        Case(row=by_name[name], mode=mode, option="plain", map_index=index)
        for mode in modes
        for index, name in enumerate(rows)
    ]


def prepare(sandbox: RespanSandbox, cases: Iterable[Case]) -> str:
    """Make the service ready for the cases.

    :return: what ``OUTCOME_CASES`` must be
    """
    told: dict[str, dict[str, Any]] = {}
    for case in cases:
        sandbox.add_batch(id=case.batch_id)
        case.row.prepare(sandbox, case.batch_id)
        if case.mapped:
            options = MODES[case.mode]
            told.setdefault(case.task_id, {"task_id": case.task_id, "options": options, "batch_ids": []})
            told[case.task_id]["batch_ids"].append(case.batch_id)
        else:
            options = {**MODES[case.mode], **OPTIONS[case.option], **case.row.options}
            batch_id = case.row.batch_id or case.batch_id
            told[case.task_id] = {"task_id": case.task_id, "options": options, "batch_id": batch_id}
    return json.dumps(list(told.values()))


def read_seen(path: Path) -> Seen:
    """Read what the DAG noted in ``OUTCOME_SEEN``."""
    seen: Seen = defaultdict(dict)
    for line in path.read_text().splitlines():
        about = json.loads(line)
        seen[about.pop("task_id"), about.pop("map_index")].update(about)
    return dict(seen)
