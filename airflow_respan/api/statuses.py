"""The statuses of a batch and their meaning, as a table that the rest of the code uses.

A status may be spelled in another way: ``COMPLETED``, ``in-progress``, ``canceled``. One that is then not in the table
is not terminal: gateways have statuses of their own (``queued``, ``Scheduled``).
To add a status, add a row. The source of each is in ``docs/respan-api.md``.
"""

from __future__ import annotations

import re
from typing import NamedTuple


class BatchStatus(NamedTuple):
    """The meaning of a status.

    :param name: the status as Respan's documentation spells it
    :param meaning: one sentence for the documentation
    :param is_terminal: whether the batch has ended; the timestamp ``{name}_at`` then says when
    :param is_complete: whether the provider processed every request, so that each is billed and must have a row
    :param has_pace: whether the expected end can be computed from the counts so far
    :param is_being_cancelled: whether the batch is being cancelled, and so some requests will have no result
    :param is_cancelled: whether the batch ended because it was cancelled
    :param other_spellings: other spellings of the name; case, spaces, ``-`` and ``_`` make no difference anyway
    """

    name: str
    meaning: str
    is_terminal: bool = False
    is_complete: bool = False
    has_pace: bool = False
    is_being_cancelled: bool = False
    is_cancelled: bool = False
    other_spellings: tuple[str, ...] = ()

    @property
    def spellings(self) -> tuple[str, ...]:
        """All spellings of the name; the first is the documented one."""
        return (self.name, *self.other_spellings)


STATUSES = {
    status.name: status
    for status in (
        BatchStatus(name="validating", meaning="The service checks the input file."),
        BatchStatus(name="pending", meaning="The batch waits for the provider (only in the official Python client)."),
        BatchStatus(name="in_progress", meaning="The provider processes the requests.", has_pace=True),
        BatchStatus(
            name="finalizing",
            meaning="The requests are done; the output file is written.",
            other_spellings=("finalising",),
        ),
        BatchStatus(
            name="cancelling",
            meaning="Requests in progress are completed, which takes up to 10 minutes; the others are not started.",
            is_being_cancelled=True,
            other_spellings=("canceling",),
        ),
        BatchStatus(
            name="completed",
            meaning="Every request was processed; some or all may have failed.",
            is_terminal=True,
            is_complete=True,
        ),
        BatchStatus(
            name="failed", meaning="The input file was refused, or the batch stopped with an error.", is_terminal=True
        ),
        BatchStatus(
            name="expired",
            meaning="The completion window passed; requests that were done have rows, and are billed.",
            is_terminal=True,
        ),
        BatchStatus(
            name="cancelled",
            meaning="The batch was cancelled; requests that were done have rows, and are billed.",
            is_terminal=True,
            is_cancelled=True,
            other_spellings=("canceled",),
        ),
    )
}

TERMINAL_STATUSES = frozenset(name for name, status in STATUSES.items() if status.is_terminal)


def canonical_status(text: str) -> str:
    """Return a status as the table spells it; one that is not in the table is returned without outer spaces.

    :param text: the status as the service sends it, or as a DAG spells it
    """
    return text if text in STATUSES else _NAMES.get(_letters(text), text.strip())


def status_of(name: str) -> BatchStatus:
    """Return the meaning of a status; one that is not in the table is not terminal.

    :param name: the status, in any spelling
    """
    return STATUSES.get(canonical_status(name)) or BatchStatus(name=name, meaning="Not documented.")


def _letters(text: str) -> str:
    return re.sub(r"[\s_-]", "", text).casefold()


_NAMES = {_letters(spelling): status.name for status in STATUSES.values() for spelling in status.spellings}
