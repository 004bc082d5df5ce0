"""Compares what happened with what should have happened: outcomes, XComs, requests, and the logs of triggerers."""

from __future__ import annotations

import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from airflow_respan.sandbox.received import ReceivedRequest
from dev.deployment.faults import LIST, RETRY_AFTER_SECONDS, Wait

CLOCK_TOLERANCE_SECONDS = 0.05
"""Seconds by which a pause of a wait may be shorter when the sandbox measures it."""

MAX_KILL_SECONDS = 10.0
"""Seconds until a triggerer ends the trigger of a task that was ended by hand; 1-2 if it is not busy (Airflow 3.3)."""

BLOCKED_MESSAGE = re.compile(r"async thread was blocked for ([\d.]+) seconds")
STEP = re.compile(r"A step of the event loop took ([\d.]+) s")
XCOM_KEYS = ("status", "output_file_id", "error_file_id", "request_counts")


def wrong_outcomes(waits: Iterable[Wait], outcomes: Mapping[tuple[str, int], Mapping[str, Any]]) -> Iterator[str]:
    """Yield an error for each wait that did not end exactly once, in the right state and with the right XComs.

    :param outcomes: (task id, map index) -> ``state`` from Airflow's API, ``ends`` and ``errors`` from the callbacks,
        and ``xcoms`` as a downstream task read them
    """
    for wait in waits:
        name, outcome = f"{wait.task_id}[{wait.map_index}]", outcomes[wait.task_id, wait.map_index]
        xcoms = dict(outcome["xcoms"])
        returned = xcoms.pop("return_value", None)
        ends = [end for end in outcome["ends"] if end != "up_for_retry"]
        expected = {"batch_id": wait.batch_id} | {
            key: wait.final_fields[key] for key in XCOM_KEYS if key in wait.final_fields
        }
        if outcome["state"] != wait.state:
            yield f"{name} is {outcome['state']} and should be {wait.state} ({outcome['errors']})"
        if ends != [wait.state]:
            yield f"{name} should have ended once as {wait.state}, and ended as {ends}"
        if xcoms != expected:
            yield f"{name} pushed {xcoms} and should have pushed {expected}"
        if (returned or {}).get("id") != (wait.batch_id if wait.state == "success" else None):
            yield f"{name} is {wait.state} and returned {returned}"


def wrong_ends_by_hand(
    waits: Iterable[Wait], outcomes: Mapping[tuple[str, int], Mapping[str, Any]], requests: Iterable[ReceivedRequest]
) -> Iterator[str]:
    """Yield an error for each wait that was ended by hand and continued, or pushed XComs."""
    requests = list(requests)
    for wait in waits:
        outcome = outcomes[wait.task_id, wait.map_index]
        if outcome["state"] != wait.state or outcome["xcoms"]:
            yield f"{wait.task_id} was marked {wait.state}, is {outcome['state']} and pushed {outcome['xcoms']}"
        last_check = max(r.at for r in requests if r.path == wait.path and r.method == "GET")
        if wait.ended_by_hand_at is None or last_check > wait.ended_by_hand_at + MAX_KILL_SECONDS:
            yield f"{wait.task_id} was marked {wait.state}, and its batch was checked later"


def early_checks(requests: Iterable[ReceivedRequest], *, interval: float, tries: Mapping[str, int]) -> Iterator[str]:
    """Yield an error for each check of a batch that came earlier than ``poke_interval`` or a 429 allows.

    These requests may come at once:

    * one more after a response that was not usable (the retry within a call), or after a 401 (the key may have been
      replaced)
    * the first check of each new try of a task
    * the last check of a batch, if a page of the list has shown that the batch has ended

    :param requests: all requests; those for the list are left out, because they do not name the waits they are for
    :param interval: ``poke_interval`` (seconds); a check may come a little early
    :param tries: path of a batch -> how many tries its task has had
    """
    # This imports Airflow, which then reads its settings. So it must not happen before they are in the environment.
    from airflow_respan.polling.subscriber import EARLY_RATIO

    checks, pages = defaultdict(list), []
    for request in requests:
        if request.path == LIST:
            pages.append(request.at)
        elif request.method == "GET":
            checks[request.path].append(request)
    for path, series in checks.items():
        new_tries, was_repeated = tries.get(path, 1) - 1, False
        for before, this in itertools.pairwise(series):
            seconds = this.at - before.at
            required = RETRY_AFTER_SECONDS if before.status == 429 else interval * (1 - EARLY_RATIO)
            if seconds >= required - CLOCK_TOLERANCE_SECONDS:
                was_repeated = False
            elif not was_repeated and before.status not in (200, 429):
                was_repeated = True
            elif this is series[-1] and any(before.at < page < this.at for page in pages):
                continue
            elif new_tries:
                new_tries, was_repeated = new_tries - 1, False
            else:
                yield f"{path} was checked {seconds:.2f} s after a response {before.status}"


def blocked_seconds(logs: Iterable[Path]) -> list[float]:
    """Return for how long event loops were blocked (seconds), as Airflow logs it; a busy machine may be the cause."""
    return _seconds(BLOCKED_MESSAGE, logs)


def long_step_seconds(logs: Iterable[Path]) -> list[float]:
    """Return the processor time of long steps of event loops (seconds), as ``step_times`` prints it."""
    return _seconds(STEP, logs)


def _seconds(message: re.Pattern[str], logs: Iterable[Path]) -> list[float]:
    return [float(seconds) for log in logs for seconds in message.findall(log.read_text(errors="replace"))]


def count_statuses(requests: Iterable[ReceivedRequest]) -> str:
    """Return the number of requests by the status of their response, as text."""
    counts = Counter(str(request.status or "cut") for request in requests)
    return ", ".join(f"{number} x {status}" for status, number in counts.most_common())
