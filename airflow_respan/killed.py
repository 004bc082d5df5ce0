"""Whether a task that was killed cancels its batch: only if no attempt of the task can use the batch.

Airflow calls ``on_kill`` not only if a person has acted on the task, but also if the worker is shut down, if the API
server does not accept heartbeats, and if ``execution_timeout`` has passed (2.11-3.3). Then the next attempt continues
with the batch. The state that Airflow has for the task at this moment shows the difference.
"""

from __future__ import annotations

import logging
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

from airflow_respan.compat import read_task_state, read_task_state_in_triggerer

log = logging.getLogger(__name__)

ENDED_WITHOUT_SUCCESS = frozenset({"failed", "upstream_failed", "skipped", "removed"})
"""States of a task that has no further attempt."""

READ_SECONDS = 3.0
"""How long a killed task waits for its state: Airflow ends its process 5 seconds after the first signal (3.0-3.3)."""


def is_batch_abandoned(ti: Any) -> bool:
    """Return whether no attempt of a task that is killed on a worker can use its batch.

    :param ti: the task instance of the context
    """
    answers: SimpleQueue[str | Exception | None] = SimpleQueue()

    def read() -> None:
        try:
            answers.put(read_task_state(ti))
        except Exception as error:  # noqa: BLE001 (of any kind, see read_task_state)
            answers.put(error)

    # In a thread, because the signal may have interrupted a request to Airflow that holds the lock for requests.
    Thread(target=read, daemon=True).start()
    try:
        state = answers.get(timeout=READ_SECONDS)
    except Empty:
        state = TimeoutError(f"no response in {READ_SECONDS:.0f} seconds")
    return _is_abandoned(state, is_last_attempt=ti.try_number > (ti.max_tries or 0))


async def is_batch_abandoned_by_deferred(ti: Any) -> bool:
    """Return whether no attempt of a task that is killed while it is deferred can use its batch.

    :param ti: the task instance of the trigger
    """
    try:
        state: str | Exception | None = await read_task_state_in_triggerer(ti)
    except Exception as error:  # noqa: BLE001 (of any kind, see read_task_state)
        state = error
    return _is_abandoned(state, is_last_attempt=False)


def _is_abandoned(state: str | Exception | None, *, is_last_attempt: bool) -> bool:
    if isinstance(state, Exception):
        log.warning(
            "The batch is not cancelled, because Airflow's state of this task could not be read: %r. If nobody needs "
            "the batch, cancel it.",
            state,
        )
        return False
    is_abandoned = state in ENDED_WITHOUT_SUCCESS or (state == "running" and is_last_attempt)
    outcome = "is" if is_abandoned else "is not"
    log.info("The batch %s cancelled, because Airflow's state of this task is now %s.", outcome, state)
    return is_abandoned
