"""The order in which requests go out; each moment is told, so nothing waits here."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_respan.api.batch import Batch
from airflow_respan.api.page import BatchPage
from airflow_respan.polling.list_health import LATE, OUTDATED_LIST_SECONDS
from airflow_respan.polling.list_scan import NOT_LISTED, ListScan
from airflow_respan.polling.schedule import (
    MAX_CONFIRMATIONS_IN_A_ROW,
    PAGES_PER_RETRIEVE,
    RETRIEVES_PER_ROUND,
    Schedule,
)
from airflow_respan.polling.subscriber import EARLY_RATIO, NEVER, Subscriber
from airflow_respan.polling.watched_batch import WatchedBatch

NOW = 1000.0


def page_of(*batches: Batch) -> BatchPage:
    """The last page of a list."""
    return BatchPage.from_dict({"data": [batch.to_dict() for batch in batches], "has_more": False})


class OneLook(Subscriber):
    """A wait that wants to look once, at the moment that a test says."""

    def __init__(self, due: float, pause: float, *, is_last: bool) -> None:
        self.due, self.pause, self.is_last = due, pause, is_last
        self.earliest = due if is_last else due - EARLY_RATIO * pause

    def on_result(self, seen: Batch | Exception) -> None:
        self.due = self.earliest = NEVER


class Asked:
    """A schedule, and looks put down in it."""

    def __init__(self) -> None:
        self.schedule = Schedule()
        # One round has gone by: in the first, no batch is far.
        first = self.look("first")
        assert self.chosen() is first
        self.schedule.forget(first)
        first.subscribers.clear()

    def look(
        self, batch_id: str, *, due: float = NOW, pause: float = 60, is_last: bool = False, **target: Any
    ) -> WatchedBatch:
        found = self.schedule.target(batch_id, target.pop("provider_id", None), None)
        found.retrieved_at = NOW
        for name, value in target.items():
            setattr(found, name, value)
        watch = OneLook(due, pause, is_last=is_last)
        found.subscribers[watch] = None
        self.schedule.add(found, watch)
        return found

    def chosen(self, now: float = NOW, *, is_paused: bool = False) -> WatchedBatch | ListScan | None:
        return self.schedule.choose(now, is_paused=is_paused)


@pytest.fixture
def asked() -> Asked:
    """An empty schedule."""
    return Asked()


def test_nothing_is_chosen_before_it_is_due(asked: Asked) -> None:
    target = asked.look("batch_1", due=NOW + 10)

    assert asked.chosen() is None
    assert asked.schedule.next_due() == NOW + 10
    assert asked.chosen(NOW + 10) is target


def test_nobody_is_woken_for_what_was_served_early(asked: Asked) -> None:
    served = asked.look("batch_1", due=NOW + 10)
    asked.look("batch_2", due=NOW + 20)
    served.notify(Batch(id="batch_1", status="in_progress"), until=NOW + 10)

    assert asked.schedule.next_due() == NOW + 20


def test_while_a_list_is_read_only_last_looks_are_woken_for(asked: Asked) -> None:
    for number in range(3):
        asked.look(f"batch_{number}")
    sweep = asked.chosen()
    assert isinstance(sweep, ListScan)
    soon = asked.look("batch_soon", due=NOW + 1)
    last = asked.look("batch_last", due=NOW + 2, is_last=True)

    assert asked.schedule.next_due() == NOW + 2
    assert asked.chosen(NOW + 2) is last
    last.subscribers.clear()
    asked.schedule.read_page(sweep, page_of(), NOW + 2)
    assert soon in [asked.chosen(NOW + 2) for _ in range(5)]


def test_the_longest_due_come_first(asked: Asked) -> None:
    targets = [asked.look(f"batch_{age}", due=NOW - age, page=NOT_LISTED) for age in (3, 9, 6)]

    assert [asked.chosen() for _ in range(4)] == [targets[1], targets[2], targets[0], None]


def test_a_last_look_comes_first_even_when_the_service_wants_to_be_left_alone(asked: Asked) -> None:
    asked.look("batch_1", due=NOW - 100, page=NOT_LISTED)
    last = asked.look("batch_2", is_last=True)

    assert asked.chosen(is_paused=True) is last
    assert asked.chosen(is_paused=True) is None
    assert asked.chosen() is not None


def test_what_will_soon_be_due_is_read_off_the_same_page_but_no_last_look_is(asked: Asked) -> None:
    due = asked.look("batch_due")
    soon = asked.look("batch_soon", due=NOW + 15, pause=60)
    later = asked.look("batch_later", due=NOW + 16, pause=60)
    last = asked.look("batch_last", due=NOW + 1, pause=60, is_last=True)

    sweep = asked.chosen()

    assert isinstance(sweep, ListScan)
    assert set(sweep.wanted.values()) == {due, soon}
    goes_on = [Batch(id=t.batch_id, status="in_progress") for t in (due, soon, later, last)]
    asked.schedule.read_page(sweep, page_of(*goes_on), NOW)
    assert [target.is_awaited() for target in (due, soon, later, last)] == [False, False, True, True]


def test_ends_are_confirmed_before_the_round_goes_on_but_others_have_their_turn(asked: Asked) -> None:
    ending = [asked.look(f"batch_{number}") for number in range(10)]
    sweep = asked.chosen()
    assert isinstance(sweep, ListScan)
    ended = tuple(Batch(id=target.batch_id, status="completed") for target in ending)
    asked.schedule.read_page(sweep, page_of(*ended), NOW)
    others = [asked.look(f"other_{number}", page=NOT_LISTED) for number in range(3)]

    order = [asked.chosen() for _ in range(13)]

    assert [target in ending for target in order] == ([True] * MAX_CONFIRMATIONS_IN_A_ROW + [False]) * 3 + [True]
    assert [target for target in order if target in others] == others
    assert all(target.is_awaited() for target in ending)


def test_many_batches_that_are_not_in_the_list_do_not_keep_it_from_being_read(asked: Asked) -> None:
    far = [asked.look(f"far_{number}", page=NOT_LISTED) for number in range(100)]
    assert asked.chosen() is far[0]
    for number in range(5):
        asked.look(f"batch_{number}", due=NOW + 1)

    chosen = [asked.chosen(NOW + 1) for _ in range(3)]

    assert isinstance(chosen[0], ListScan)
    assert chosen[1:] == far[1:3]


def test_a_batch_is_not_retrieved_twice_at_a_time_though_the_list_shows_its_end(asked: Asked) -> None:
    longest = [asked.look(f"batch_{number}", retrieved_at=NOW - 10_000) for number in range(2)]
    for number in range(5):
        asked.look(f"other_{number}")
    sweep = asked.chosen()
    assert isinstance(sweep, ListScan)
    asked_for, waiting = longest
    assert asked.chosen() is asked_for

    ended = [Batch(id=target.batch_id, status="completed") for target in longest]
    asked.schedule.read_page(sweep, page_of(*ended), NOW)

    chosen = [asked.chosen() for _ in range(7)]
    assert chosen[0] is waiting
    assert not set(longest) & set(chosen[1:])
    # The one may have been asked for too soon, and the other's answer may never come: both are looked at again.
    asked.schedule.retrieved(asked_for, Batch(id=asked_for.batch_id, status="in_progress"), NOW)
    asked.schedule.retrieve_failed(waiting, TimeoutError(), NOW)
    for target in longest:
        asked.look(target.batch_id, due=NOW + 60, page=NOT_LISTED)
    assert [asked.chosen(NOW + 60) for _ in range(2)] == longest


def test_a_batch_that_waits_for_its_retrieve_is_retrieved_once_though_the_list_shows_it_meanwhile(asked: Asked) -> None:
    goes_on = page_of(*(Batch(id=f"batch_{number}", status="in_progress") for number in range(10)))

    def look_at_all(due: float) -> list[WatchedBatch]:
        targets = [asked.look(f"batch_{number}", due=due) for number in range(10)]
        for target in targets[:3]:
            target.retrieved_at = NOW - 10_000
        return targets[:3]

    order: list[WatchedBatch | None] = []
    for now in (NOW, NOW + 60):
        look_at_all(now)
        while not isinstance(chosen := asked.chosen(now), ListScan):
            order.append(chosen)
        asked.schedule.read_page(chosen, goes_on, now)
    longest = look_at_all(NOW + 120)
    order += [asked.chosen(now) for _ in range(5)]

    assert [target for target in order if target] == longest


def test_a_last_look_does_not_wait_for_a_retrieve_that_may_hang(asked: Asked) -> None:
    target = asked.look("batch_1", page=NOT_LISTED)
    assert asked.chosen() is target
    asked.look("batch_1", due=NOW + 1, is_last=True)

    assert [asked.chosen(NOW + 1) for _ in range(2)] == [target, None]


def test_a_last_look_is_not_served_by_the_list_while_its_retrieve_is_on_its_way(asked: Asked) -> None:
    others = [asked.look(f"batch_{number}") for number in range(3)]
    last = asked.look("batch_last", is_last=True)
    assert asked.chosen() is last
    sweep = asked.chosen()
    assert isinstance(sweep, ListScan)
    goes_on = [Batch(id=target.batch_id, status="in_progress") for target in (*others, last)]

    asked.schedule.read_page(sweep, page_of(*goes_on), NOW + 1)

    assert [target.is_awaited() for target in (*others, last)] == [False, False, False, True]
    asked.schedule.retrieved(last, goes_on[-1], NOW + 2)
    assert not last.is_awaited()


def test_each_providers_batches_have_a_list_of_their_own(asked: Asked) -> None:
    for number in range(5):
        asked.look(f"batch_{number}", due=NOW - 2, provider_id="openai")
        asked.look(f"batch_{number}", due=NOW - 1, provider_id="parasail")

    providers = []
    while sweep := asked.chosen():
        assert isinstance(sweep, ListScan)
        providers.append(sweep.provider_id)
        found = tuple(Batch(id=batch_id, status="in_progress") for batch_id in sweep.wanted)
        asked.schedule.read_page(sweep, page_of(*found), NOW)

    assert providers == ["openai", "parasail"]


def test_whose_last_retrieve_is_long_ago_is_retrieved_due_or_soon_due_but_not_many_at_once(asked: Asked) -> None:
    targets = [
        asked.look(f"batch_{number}", due=NOW + number % 2, retrieved_at=NOW - 10_000 + number) for number in range(20)
    ]

    sweep = asked.chosen()
    assert isinstance(sweep, ListScan)

    assert [asked.chosen() for _ in range(RETRIEVES_PER_ROUND + 1)] == [*targets[:RETRIEVES_PER_ROUND], None]
    assert set(sweep.wanted.values()) == set(targets[RETRIEVES_PER_ROUND:])


def test_of_very_many_batches_some_more_are_retrieved_by_the_number_of_pages_read(asked: Asked) -> None:
    for number in range(8000):
        asked.look(f"batch_{number}", page=number // 100, retrieved_at=NOW - 10_000)

    assert isinstance(asked.chosen(), ListScan)
    assert len(list(iter(asked.chosen, None))) == 80 // PAGES_PER_RETRIEVE


def test_a_sweep_takes_in_what_will_be_wanted_when_it_gets_there(asked: Asked) -> None:
    first = [asked.look(f"batch_{number}") for number in range(5)]
    second = [asked.look(f"batch_{number}", page=1) for number in range(5, 10)]

    def goes_on(targets: list[WatchedBatch], *, has_more: bool) -> BatchPage:
        data = [{"id": target.batch_id, "status": "in_progress"} for target in targets]
        return BatchPage.from_dict({"data": data, "has_more": has_more})

    sweep = asked.chosen()
    assert isinstance(sweep, ListScan)
    asked.schedule.read_page(sweep, goes_on(first, has_more=True), NOW + 10)
    asked.schedule.read_page(sweep, goes_on(second, has_more=False), NOW + 20)
    for target in first:
        asked.look(target.batch_id, due=NOW + 70)
    for target in second:
        asked.look(target.batch_id, due=NOW + 95, page=1)  # to be served from NOW + 80 on

    sweep = asked.chosen(NOW + 70)

    assert isinstance(sweep, ListScan)
    assert set(sweep.wanted.values()) == {*first, *second}


def test_a_list_that_goes_on_not_knowing_of_an_end_is_left_alone_for_a_while(
    asked: Asked, caplog: pytest.LogCaptureFixture
) -> None:
    targets = [asked.look(f"batch_{number}") for number in range(4)]
    goes_on = page_of(*(Batch(id=target.batch_id, status="in_progress") for target in targets))
    asked.schedule.retrieved(targets[0], Batch(id="batch_0", status="completed"), NOW)
    asked.schedule.forget(targets.pop(0))

    for now in (NOW + LATE, NOW + LATE + 1):
        for target in targets:
            asked.look(target.batch_id, due=now)
        sweep = asked.chosen(now)
        assert isinstance(sweep, ListScan)
        asked.schedule.read_page(sweep, goes_on, now)

    for target in targets:
        asked.look(target.batch_id, due=now)
    assert [asked.chosen(now) for _ in targets] == targets
    assert caplog.messages == [
        "Respan's list of batches is out of date: 61 seconds after batch batch_0 was retrieved as ended, it still "
        "tells that it goes on. Retrieving batches one by one for the next 60 minutes."
    ]
    later = now + OUTDATED_LIST_SECONDS
    for target in targets:
        asked.schedule.retrieved(target, Batch(id=target.batch_id, status="in_progress"), later)
        asked.look(target.batch_id, due=later, retrieved_at=later)
    assert isinstance(asked.chosen(later), ListScan)


def test_nobody_is_asked_about_whom_nobody_waits_for_any_more(asked: Asked) -> None:
    target = asked.look("batch_1", page=NOT_LISTED)
    other = asked.look("batch_2", page=NOT_LISTED)
    assert asked.chosen() is target
    other.subscribers.clear()
    asked.schedule.forget(other)

    assert asked.chosen() is None
