"""The note that an attempt saves for the next attempt: in Airflow's ``task_state_store`` (3.3 and later), or elsewhere.

With the note, the next attempt finds the batch by one request, and does not need the list, which may be out of date.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Protocol

from airflow_respan.compat import task_state_store
from airflow_respan.persisted import RENAMED_NOTE_FIELDS, with_todays_names

log = logging.getLogger(__name__)

NOTE_KEY = "respan_batch"
"""The key of the note in the store."""


@dataclass(frozen=True, kw_only=True)
class Note:
    """How far an attempt has come.

    :param fingerprint: the fingerprint of the input
    :param input_file_id: the input at the service
    :param sent_at: when the attempt saved the note: before it sent the create, or after the response (Unix seconds)
    :param batch_id: the batch, once it is known
    :param provider_id: the provider that the batch went to, or None if none was named
    :param max_tries: Airflow's ``max_tries`` at that attempt: a clear raises it
    """

    fingerprint: str
    input_file_id: str
    sent_at: float
    batch_id: str | None = None
    provider_id: str | None = None
    max_tries: int | None = None


class NoteStore(Protocol):
    """Where the notes of a task are kept."""

    def load(self) -> Note | None:
        """Return the note of an earlier attempt; None if there is none, or it cannot be read."""

    def save(self, note: Note) -> None:
        """Save how far this attempt has come, and replace the note of an earlier attempt."""


class TaskStateNotes:
    """The note in Airflow's ``task_state_store``. Before Airflow 3.3 there is no store, and no note.

    :param context: Airflow's context
    """

    def __init__(self, context: Any) -> None:
        self._store = task_state_store(context)

    def load(self) -> Note | None:
        """Return the note of an earlier attempt; None if there is none, or it cannot be read.

        Without a note the service's list is searched. So an error of the store does not fail the task, and is only
        logged.
        """
        if self._store is None:
            return None
        try:
            saved = self._store.get(NOTE_KEY)
            return parse_note(saved) if saved else None
        except Exception as error:  # noqa: BLE001 (each backend of the store has its own errors)
            log.warning(
                "The note of an earlier attempt cannot be read (%s); searching at Respan.", type(error).__name__
            )
            return None

    def save(self, note: Note) -> None:
        """Save how far this attempt has come; do nothing if this Airflow has no store.

        :param note: replaces the note of an earlier attempt
        :raises Exception: what the store raises. Before a batch is created, this error must end the attempt, because
            the note that remains would lead the next attempt to an older batch.
        """
        if self._store is not None:
            self._store.set(NOTE_KEY, asdict(note))


def parse_note(saved: Mapping[str, Any]) -> Note:
    """Return a note from plain JSON, which another release may have written.

    :raises TypeError: if a field without a default is missing
    """
    known = {f.name for f in fields(Note)}
    current = with_todays_names(saved, RENAMED_NOTE_FIELDS)
    return Note(**{name: value for name, value in current.items() if name in known})
