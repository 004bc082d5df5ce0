"""Which request goes out next, for all looks of a poller. No I/O, no clock: the moment is told.

In this order: the last look of a wait whose time is over; what seems to have ended, as only a retrieve is believed;
then, by turns, what is due: pages of the list where they are cheaper, single retrieves where they are not.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from typing import Any

from airflow_respan.api.batch import Batch
from airflow_respan.api.page import BatchPage
from airflow_respan.exceptions import RespanTransientError
from airflow_respan.polling.due_queue import DueQueue
from airflow_respan.polling.list_health import Key, ListHealth
from airflow_respan.polling.list_scan import NOT_LISTED, ListScan, pages_worth_reading
from airflow_respan.polling.subscriber import Subscriber
from airflow_respan.polling.watched_batch import WatchedBatch

MAX_CONFIRMATIONS_IN_A_ROW = 3
"""So many ends are confirmed before others have a turn."""

RETRIEVES_PER_ROUND = 10
"""So many batches of which the list has said for long enough that they go on are retrieved at once ..."""

PAGES_PER_RETRIEVE = 4
"""... or one for so many pages of the list that are read, where that is more."""

NOT_LISTED_SECONDS = 900.0
"""Seconds until a batch that was not in the list is looked for there again."""


class Schedule:
    """The looks that are to come, and what has been decided on for those that are due."""

    def __init__(self) -> None:
        self.targets: dict[Key, WatchedBatch] = {}
        self.list_health = ListHealth()
        self._calendar = DueQueue()
        self._deadlines = DueQueue()
        self._due: dict[WatchedBatch, None] = {}
        self._last: deque[WatchedBatch] = deque()
        self._ended: deque[WatchedBatch] = deque()
        self._retrieves: deque[WatchedBatch] = deque()
        self._sweep: ListScan | None = None
        self._seconds_per_page = 0.0
        self._in_a_row = 0
        self._read_last = False
        self._forget_from = 0.0
        self.is_late = False
        """Whether what was chosen last had been due for longer than a pause."""

    def target(self, batch_id: str, provider_id: str | None, respan_params: Mapping[str, Any] | None) -> WatchedBatch:
        """Give the target of a batch, the same to all who watch it."""
        return self.targets.setdefault((batch_id, provider_id), WatchedBatch(batch_id, provider_id, respan_params))

    def forget(self, target: WatchedBatch) -> None:
        """Leave a batch alone that nobody watches any more."""
        del self.targets[target.batch_id, target.provider_id]

    def add(self, target: WatchedBatch, watch: Subscriber) -> bool:
        """Put the look that a watch has planned down.

        :return: whether it comes before all others
        """
        return (self._deadlines if watch.is_last else self._calendar).add(target, watch)

    def next_due(self) -> float:
        """Give the moment from which on there may be something else to choose; infinite if there is none.

        While a list is read, that is a last look: all else that comes due is for the next round.
        """
        return self._deadlines.next_due() if self._sweep else min(self._deadlines.next_due(), self._calendar.next_due())

    def choose(self, now: float, *, is_paused: bool) -> WatchedBatch | ListScan | None:
        """Choose what to ask for: a batch to retrieve, the next page of a sweep, or nothing for now.

        :param is_paused: whether the service wants to be left alone
        """
        self._collect_due(now)
        if target := _next(self._last):  # not even a rate limit may keep it: its time is over
            return target
        if is_paused:
            return None
        if self._due and not self._sweep:
            self._start_round(now)
        page = self._sweep if self._sweep and not self._sweep.is_asking else None
        has_a_turn = self._in_a_row < MAX_CONFIRMATIONS_IN_A_ROW or not (page or self._retrieves)
        if has_a_turn and (target := _next(self._ended)):
            self._in_a_row += 1
            return target
        self._in_a_row = 0
        # By turns: neither a long list nor many batches that are not in it may keep the others waiting.
        if page and not (self._read_last and self._retrieves):
            self._read_last = page.is_asking = True
            return page
        self._read_last = False
        target = _next(self._retrieves)
        self.is_late = target is not None and target.is_late(now)
        return target

    def read_page(self, sweep: ListScan, page: BatchPage, now: float) -> None:
        """Take in a page of the list."""
        found = []
        for item in page.items:
            key = item.id, sweep.provider_id
            target = self.targets.get(key)
            if target is None:
                self.list_health.record_item(key, item, now)
            elif batch := target.read(item):
                found.append((target, batch))
        reads_on = sweep.read([target.batch_id for target, _batch in found], page.next_after)
        for target, batch in found:
            if not batch.is_terminal:
                target.on_listed(batch, now)
            else:
                self._confirm(target)
        if not reads_on or not self.list_health.usable(now):
            self._finish_scan(sweep, now)

    def list_failed(self, sweep: ListScan, error: Exception, now: float) -> None:
        """Go on without a page of the list."""
        self.list_health.record_failure(error, now)
        self._finish_scan(sweep, now)

    def retrieved(self, target: WatchedBatch, batch: Batch, now: float) -> None:
        """Take in a batch that was retrieved."""
        self.list_health.record_retrieve_success()
        if batch.is_terminal and not target.confirming_end:
            self.list_health.record_missed_end((target.batch_id, target.provider_id), now)
        target.in_flight = target.confirming_end = False
        target.on_retrieved(batch, now)

    def retrieve_failed(self, target: WatchedBatch, error: Exception, now: float) -> None:
        """Take in what has come of a retrieve instead of a batch."""
        if isinstance(error, RespanTransientError):
            self.list_health.record_retrieve_failure()
        target.in_flight = target.confirming_end = False
        target.notify(error, until=now)

    def _collect_due(self, now: float) -> None:
        self._last.extend(self._deadlines.pop_due(now))
        self._due.update((target, None) for target in self._calendar.pop_due(now) if not target.in_flight)

    def _start_round(self, now: float) -> None:
        """Divide what is due between the list and single retrieves."""
        due = [target for target in self._due if target.is_due(now) and not target.in_flight]
        if not due:
            return
        self.is_late = due[0].is_late(now)
        # A list shows one provider's batches; the others have the next round.
        provider_id = due[0].provider_id
        self._due = {target: None for target in due if target.provider_id != provider_id}
        due = [target for target in due if target.provider_id == provider_id]
        if now >= self._forget_from:
            self._forget_from = now + NOT_LISTED_SECONDS
            for target in self.targets.values():
                target.page = 0 if target.page >= NOT_LISTED else target.page
        if self.list_health.usable(now) and any(target.page < NOT_LISTED for target in due):
            self._sweep = self._plan_scan(provider_id, now)
        self._retrieve(target for target in due if not target.in_flight)

    def _plan_scan(self, provider_id: str | None, now: float) -> ListScan | None:
        listed = [
            target
            for target in self.targets.values()
            if target.provider_id == provider_id and not target.in_flight and self._is_due_when_scanned(target, now)
        ]
        pages = pages_worth_reading(Counter(target.page for target in listed))
        # What is retrieved all the same costs little beside the list; those of the longest ago are first.
        ripe = [target for target in listed if target.is_wanted(now) and target.needs_retrieve(now)]
        longest_ago = sorted(ripe, key=lambda target: target.retrieved_at)
        self._retrieve(longest_ago[: max(pages // PAGES_PER_RETRIEVE, RETRIEVES_PER_ROUND)])
        wanted = {target.batch_id: target for target in listed if not target.in_flight}
        if not pages_worth_reading(Counter(target.page for target in wanted.values())):
            return None
        for target in wanted.values():
            target.in_flight = True
        return ListScan(provider_id=provider_id, wanted=wanted, began=now)

    def _is_due_when_scanned(self, target: WatchedBatch, now: float) -> bool:
        """Say whether a batch is wanted by the time when a sweep that begins now will show it.

        Else the sweep would end before its page, and the next would read all those before it once more.
        """
        return target.is_wanted(now + target.page * self._seconds_per_page if target.page < NOT_LISTED else now)

    def _retrieve(self, targets: Iterable[WatchedBatch]) -> None:
        for target in targets:
            target.in_flight = True
            self._retrieves.append(target)

    def _confirm(self, target: WatchedBatch) -> None:
        """Retrieve what seems to have ended, before others; but not twice, if it is to be retrieved anyway."""
        if target in self._retrieves:
            self._retrieves.remove(target)
        elif target.in_flight:
            return
        target.in_flight = target.confirming_end = True
        self._ended.append(target)

    def _finish_scan(self, sweep: ListScan, now: float) -> None:
        """Retrieve what the list was read for in vain, if it is due."""
        self._sweep = None
        self._seconds_per_page = (now - sweep.began) / max(sweep.number, 1)
        for target in sweep.wanted.values():
            target.in_flight = False
        self._retrieve(target for target in sweep.wanted.values() if target.is_due(now))


def _next(targets: deque[WatchedBatch]) -> WatchedBatch | None:
    """Give the next for which somebody still waits."""
    while targets:
        target = targets.popleft()
        if target.is_awaited():
            return target
        target.in_flight = target.confirming_end = False
    return None
