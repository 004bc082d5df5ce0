"""The plan of a round: which requests are asked, in how many batches. It is saved before the first batch is created.

If the folder has the plan of a round, each attempt of the task follows this plan. No I/O, no Airflow.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Part:
    """The requests of one batch.

    :param number: the number in its round, from 1
    :param folder: the folder of its input and its results, relative to that of the task
    :param requests: how many there are
    :param size: bytes of the input
    :param input: the name of the input in that folder
    :param digest: the digest of the requests, see :class:`~airflow_respan.submission.input.CheckedInput`
    """

    number: int
    folder: str
    requests: int
    size: int
    input: str
    digest: str


@dataclass(frozen=True, kw_only=True)
class Round:
    """The requests that are asked at the same time.

    :param task: the identity of the task, see :func:`~airflow_respan.submission.identity.task_key`
    :param number: from 1
    :param parts: the batches; none if the input is empty
    :param source: the fingerprint of the whole input; only the first round has it
    :param previous: ``plan_id`` of the round before, or None
    :param plan_id: differs for each plan, also if the requests are the same
    :param planned_at: Unix seconds
    """

    task: str
    number: int
    parts: tuple[Part, ...]
    source: str | None = None
    previous: str | None = None
    plan_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    planned_at: float = field(default_factory=time.time)

    @property
    def folder(self) -> str:
        """The folder of the round, relative to that of the task."""
        return round_folder(self.number)

    @property
    def requests(self) -> int:
        """How many requests are asked in this round."""
        return sum(part.requests for part in self.parts)

    def to_json(self) -> bytes:
        """Return the plan as it is saved."""
        return json.dumps(asdict(self), indent=2).encode()

    @classmethod
    def from_json(cls, content: bytes | None) -> Round | None:
        """Return a plan that was saved, perhaps by another release; None if the content is something else."""
        try:
            data = json.loads(content or b"")
            parts = tuple(Part(**_known(Part, part)) for part in data["parts"])
            return cls(**{**_known(cls, data), "parts": parts})
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return None


def round_folder(number: int) -> str:
    """Return the folder of a round, relative to that of the task."""
    return f"round-{number}"


def part_folder(round_number: int, part_number: int, *, is_only: bool) -> str:
    """Return the folder of a part, relative to that of the task: the only part of a round needs none of its own."""
    return round_folder(round_number) if is_only else f"{round_folder(round_number)}/part-{part_number}"


def input_name(try_number: int) -> str:
    """Return the name of the inputs that an attempt of the task writes.

    An attempt that was suspended while it wrote may continue while the next attempt runs. With names of their own, the
    first one does not overwrite the inputs of the other one.

    :param try_number: Airflow's number of the attempt, from 1
    """
    return "input.jsonl" if try_number <= 1 else f"input-{try_number}.jsonl"


def _known(cls: type[Part] | type[Round], data: Mapping[str, Any]) -> dict[str, Any]:
    return {name: data[name] for name in cls.__dataclass_fields__ if name in data}
