"""Everything that this package knows about the statuses of a batch; the rest of the code asks this table.

A status that is not in the table means that the batch goes on: gateways invent statuses (``queued``, ``Scheduled``).
To add a status, add a row. Source of each: ``docs/respan-api.md``.
"""

from __future__ import annotations

from typing import NamedTuple


class BatchStatus(NamedTuple):
    """What a status means.

    :param name: the service's word
    :param meaning: one sentence for the documentation
    :param is_terminal: whether the batch has ended; then ``{name}_at`` is when it ended
    :param is_complete: whether the provider worked on every request, so that each was paid and must have a row
    :param has_pace: whether the counts so far tell when the batch will end
    :param is_being_cancelled: whether the batch will end cancelled, without an answer to every request
    :param is_cancelled: whether the batch ended because somebody cancelled it
    """

    name: str
    meaning: str
    is_terminal: bool = False
    is_complete: bool = False
    has_pace: bool = False
    is_being_cancelled: bool = False
    is_cancelled: bool = False


STATUSES = {
    status.name: status
    for status in (
        BatchStatus(name="validating", meaning="The service checks the input file."),
        BatchStatus(name="pending", meaning="The batch waits for the provider (only in the official Python client)."),
        BatchStatus(name="in_progress", meaning="The provider works on the requests.", has_pace=True),
        BatchStatus(name="finalizing", meaning="The requests are done; the output file is written."),
        BatchStatus(
            name="cancelling",
            meaning="Requests under way are completed, which takes up to 10 minutes; the others are not begun.",
            is_being_cancelled=True,
        ),
        BatchStatus(
            name="completed",
            meaning="Every request was worked on; some or all may have failed.",
            is_terminal=True,
            is_complete=True,
        ),
        BatchStatus(name="failed", meaning="The input file was refused, or the batch broke down.", is_terminal=True),
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
        ),
    )
}

TERMINAL_STATUSES = frozenset(name for name, status in STATUSES.items() if status.is_terminal)


def status_of(name: str) -> BatchStatus:
    """Return what a status means; for one that is not documented, a status that goes on.

    :param name: the service's word
    """
    return STATUSES.get(name) or BatchStatus(name=name, meaning="Not documented.")
