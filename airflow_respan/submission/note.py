"""What a task notes for its next attempt, in Airflow's own store: ``context["task_state_store"]``, from 3.3 on."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from airflow_respan.compat import task_state_store
from airflow_respan.persisted import RENAMED_NOTE_FIELDS, with_todays_names

log = logging.getLogger(__name__)

NOTE_KEY = "respan_batch"


@dataclass(frozen=True, kw_only=True)
class Note:
    """How far an attempt has come.

    :param fingerprint: the fingerprint of the input
    :param input_file_id: the input at the service
    :param sent_at: when it began to ask for the batch (Unix seconds)
    :param batch_id: the batch, once it is known
    """

    fingerprint: str
    input_file_id: str
    sent_at: float
    batch_id: str | None = None


def load_note(context: Any) -> Note | None:
    """Read what an earlier attempt has noted; None if there is nothing, or nothing that can be read.

    Then the service is asked, which knows too: so no trouble of the store is one of the task.
    """
    store = task_state_store(context)
    if store is None:
        return None
    try:
        noted = store.get(NOTE_KEY)
        return _read(noted) if noted else None
    except Exception as error:  # noqa: BLE001 (whatever the store's backend raises)
        log.warning("What an earlier attempt has noted cannot be read (%s); asking Respan.", type(error).__name__)
        return None


def _read(noted: Mapping[str, Any]) -> Note:
    known = {f.name for f in fields(Note)}
    current = with_todays_names(noted, RENAMED_NOTE_FIELDS)
    return Note(**{name: value for name, value in current.items() if name in known})


def save_note(context: Any, what: Note) -> None:
    """Write down how far this attempt has come; nothing where Airflow has no store.

    :raises Exception: what the store raises. Before a batch is created that has to end the attempt: an older note that
        stays would lead the next attempt to an older batch.
    """
    store = task_state_store(context)
    if store is not None:
        store.set(NOTE_KEY, asdict(what))
