"""What a storm has left, held against what it should have left: outcomes, XComs, requests, the triggerers' logs."""

from __future__ import annotations

import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from airflow_respan.sandbox.received import ReceivedRequest
from dev.deployment.storm import LIST, RETRY_AFTER, Wait

CLOCKS_DIFFER = 0.05
"""Seconds by which pauses on the waits' clock may look shorter on the service's."""

KILL_TAKES = 10.0
"""Seconds until a triggerer has heard that a task was ended by hand; 1-2 when it is not busy (Airflow 3.3)."""

BLOCKED = re.compile(r"async thread was blocked for ([\d.]+) seconds")
STEP = re.compile(r"A step of the event loop took ([\d.]+) s")
XCOM_KEYS = ("status", "output_file_id", "error_file_id", "request_counts")


def wrong_outcomes(waits: Iterable[Wait], found: Mapping[tuple[str, int], Mapping[str, Any]]) -> Iterator[str]:
    """Find the waits that did not end once, as they should have, with the right XComs.

    :param found: (task id, map index) -> ``state`` as Airflow's API has it, ``ends`` as the callbacks saw them, and
        ``xcoms`` as a downstream task read them
    """
    for wait in waits:
        name, seen = f"{wait.task_id}[{wait.map_index}]", found[wait.task_id, wait.map_index]
        xcoms = dict(seen["xcoms"])
        returned = xcoms.pop("return_value", None)
        ends = [end for end in seen["ends"] if end != "up_for_retry"]
        expected = {"batch_id": wait.batch_id} | {key: wait.ends_as[key] for key in XCOM_KEYS if key in wait.ends_as}
        if seen["state"] != wait.state:
            yield f"{name} is {seen['state']} and should be {wait.state} ({seen['errors']})"
        if ends != [wait.state]:
            yield f"{name} should have ended once as {wait.state}, and did so as {ends}"
        if xcoms != expected:
            yield f"{name} pushed {xcoms} and should have pushed {expected}"
        if (returned or {}).get("id") != (wait.batch_id if wait.state == "success" else None):
            yield f"{name} is {wait.state} and returned {returned}"


def wrongly_let_go(
    waits: Iterable[Wait], found: Mapping[tuple[str, int], Mapping[str, Any]], requests: Iterable[ReceivedRequest]
) -> Iterator[str]:
    """Find the waits that were marked failed by hand and went on, or left more than their state behind."""
    requests = list(requests)
    for wait in waits:
        seen = found[wait.task_id, wait.map_index]
        if seen["state"] != "failed" or seen["xcoms"]:
            yield f"{wait.task_id} was marked failed, is {seen['state']} and pushed {seen['xcoms']}"
        last = max(r.at for r in requests if r.path == wait.path and r.method == "GET")
        if wait.let_go_at is None or last > wait.let_go_at + KILL_TAKES:
            yield f"{wait.task_id} was marked failed, and its batch was looked at later"


def looks_too_soon(requests: Iterable[ReceivedRequest], *, interval: float, tries: Mapping[str, int]) -> Iterator[str]:
    """Find the looks at a batch that came sooner after the one before than the interval, or a 429, allows.

    One more request at once is right after an answer that was none (the retry within a call) and after a 401 (the
    key may have been replaced); each new try of a task looks at once; and the last look of all may confirm at once the
    end that a page of the list has shown.

    :param requests: those for the list are left out: which waits they were made for is not to be seen
    :param interval: ``poke_interval`` (seconds), of which a look may be a little early
    :param tries: path of a batch -> how many tries its task has had
    """
    # With it comes Airflow, which looks for its database once and for all: not before somebody has said where that is.
    from airflow_respan.polling.subscriber import EARLY_RATIO

    looks, pages = defaultdict(list), []
    for request in requests:
        if request.path == LIST:
            pages.append(request.at)
        elif request.method == "GET":
            looks[request.path].append(request)
    for path, series in looks.items():
        new_tries, is_second = tries.get(path, 1) - 1, False
        for before, this in itertools.pairwise(series):
            gap = this.at - before.at
            wanted = RETRY_AFTER if before.status == 429 else interval * (1 - EARLY_RATIO)
            if gap >= wanted - CLOCKS_DIFFER:
                is_second = False
            elif not is_second and before.status not in (200, 429):
                is_second = True
            elif this is series[-1] and any(before.at < page < this.at for page in pages):
                continue
            elif new_tries:
                new_tries, is_second = new_tries - 1, False
            else:
                yield f"{path} was looked at {gap:.2f} s after an answer {before.status}"


def blocked(logs: Iterable[Path]) -> list[float]:
    """Find for how long Airflow says that event loops were blocked (seconds); by a busy machine, perhaps."""
    return _seconds(BLOCKED, logs)


def long_steps(logs: Iterable[Path]) -> list[float]:
    """Find how long single steps of event loops were (seconds of processor time; see ``measured``)."""
    return _seconds(STEP, logs)


def _seconds(said: re.Pattern[str], logs: Iterable[Path]) -> list[float]:
    return [float(seconds) for log in logs for seconds in said.findall(log.read_text(errors="replace"))]


def answers(requests: Iterable[ReceivedRequest]) -> str:
    """Count the requests by what they were answered."""
    counted = Counter(str(request.status or "cut") for request in requests)
    return ", ".join(f"{number} x {status}" for status, number in counted.most_common())
