"""A retry pays for no second batch, in whichever form a service sends its list. The service counts the creates."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_respan.exceptions import RespanError, RespanInputChangedError
from tests.operators.modes import Outcome, Store, TaskInstance, attempt, create, request
from tests.submission.odd_service import Item, OddService, running

RETRY = {"try_number": 2, "max_tries": 3}
CLEAR = {"try_number": 2, "max_tries": 4}


@pytest.fixture
def service(connect: Callable[..., None]) -> Iterator[OddService]:
    odd = OddService()
    odd.clock = iter(range(int(time.time()), 2_000_000_000))  # type: ignore[assignment]  # counts up as well
    with running(odd):
        connect(host=odd.url, password="key")
        yield odd


def run(store: Store | None = None, *, ti: dict[str, Any] | None = None, **options: Any) -> Outcome:
    instance = TaskInstance(**(ti or {"try_number": 1, "max_tries": 3}))
    return attempt(lambda: create("plain", retries=3, **options), instance, store=store)


def without(*names: str) -> Callable[[Item], Item]:
    return lambda item: {name: value for name, value in item.items() if name not in names}


SHAPES: dict[str, dict[str, Any]] = {
    "as documented": {},
    "no has_more": {"has_more": lambda more: {}},
    "has_more is false": {"has_more": lambda more: {"has_more": False}},
    "has_more is 1": {"has_more": lambda more: {"has_more": int(more)}},
    "has_more is null": {"has_more": lambda more: {"has_more": None}},
    "oldest first": {"order": lambda batches: batches},
    "one item a page": {"page_size": 1},
    "no times": {"show": without("created_at")},
    "no metadata in the list": {"show": without("metadata")},
    "empty metadata in the list": {"show": lambda item: {**item, "metadata": {}}},
    "null metadata in the list": {"show": lambda item: {**item, "metadata": None}},
    "only ids": {"show": lambda item: {"id": item["id"]}},
    "statuses that cannot be read": {"show": lambda item: {**item, "status": 7}},
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("younger", [0, 25])
def test_a_retry_finds_its_batch_in_every_list(service: OddService, shape: str, younger: int) -> None:
    for _ in range(25):
        service.add()
    first = run().value
    for _ in range(younger):
        service.add()
    for name, value in SHAPES[shape].items():
        setattr(service, name, value)

    assert run(ti=RETRY).value == first
    assert service.posted() == 1


def test_one_batch_with_an_old_time_does_not_end_the_search(service: OddService) -> None:
    first = run().value
    for number in range(25):
        service.add(**({"created_at": 1_500_000_000} if number % 10 == 5 else {}))

    assert run(ti=RETRY).value == first


def test_a_page_whose_last_item_has_no_id_is_read_past(service: OddService) -> None:
    for _ in range(5):
        service.add()
    first = run().value
    for _ in range(20):
        service.add()
    # These two batches of another task are the last items of the first two pages.
    service.show = lambda item: without("id")(item) if item["id"] in ("batch_0017", "batch_0007") else item

    assert run(ti=RETRY).value == first


def test_a_list_that_ignores_after_is_no_proof_that_there_is_no_batch(service: OddService) -> None:
    run()
    for _ in range(25):
        service.add()
    service.ignores_after = True

    outcome = run(ti=RETRY)

    assert isinstance(outcome.error, RespanError)
    assert service.posted() == 1


@pytest.mark.parametrize("where", ["list", "everywhere"])
def test_a_batch_whose_metadata_is_lost_is_found_by_its_input_file(service: OddService, where: str) -> None:
    service.drops_metadata = where == "everywhere"
    first = run().value
    service.show = lambda item: {**item, "metadata": None}
    for _ in range(25):
        service.add(metadata=None)

    assert run(ti=RETRY).value == first
    assert service.posted() == 1
    assert isinstance(run(ti=RETRY, requests=[request(7)]).error, RespanInputChangedError)


def test_a_batch_of_a_file_that_others_may_use_is_unclear_without_metadata(service: OddService) -> None:
    service.drops_metadata = True
    first = run(input_file_id="file-shared").value

    outcome = run(ti=RETRY, input_file_id="file-shared")

    assert str(outcome.error) == (
        f"Batch {first} has the input file of this task, and the service shows no metadata of it. No batch was "
        "created, because an earlier attempt of this task may have created one. If that batch is not this task's, "
        "clear the task: an attempt after a clear ignores such a batch."
    )
    assert service.posted() == 1
    assert run(ti=CLEAR, input_file_id="file-shared").error is None
    assert service.posted() == 2


@pytest.mark.parametrize("odd", [(404, {"error": {"message": "No such batch"}}), (500, {}), (200, "nonsense")])
def test_one_batch_that_cannot_be_read_blocks_neither_the_batch_nor_a_clear(
    service: OddService, odd: tuple[int, Any]
) -> None:
    foreign = service.add()["id"]
    service.odd[foreign] = odd
    service.show = without("metadata")

    blocked = run(ti=RETRY)
    assert service.posted() == 0
    cleared = run(ti=CLEAR)
    found = run(ti=RETRY)

    assert f"{foreign}" in str(blocked.error)
    assert "If that batch is not this task's, clear the task" in str(blocked.error)
    assert cleared.error is None
    assert found.value == cleared.value
    assert service.posted() == 1


def test_an_older_batch_is_not_taken_for_a_newer_one_that_is_not_listed_yet(service: OddService) -> None:
    first = run().value
    service.batches[-1]["status"] = "failed"
    second = run(ti=RETRY).value
    service.hidden = {second}
    lists = service.requests["GET /api/v1/batches/"]

    def order(batches: list[Item]) -> list[Item]:
        if service.requests["GET /api/v1/batches/"] > lists + 2:  # the second search
            service.hidden = set()
        return batches[::-1]

    service.order = order

    assert run(ti={"try_number": 3, "max_tries": 3}, not_found_grace=0.5).value == second
    assert (first, service.posted()) == (service.batches[0]["id"], 2)


def test_foreign_batches_without_metadata_are_retrieved_once(service: OddService) -> None:
    for _ in range(30):
        service.add()
    service.show = without("metadata")

    outcome = run(ti=RETRY, not_found_grace=0.2)

    assert outcome.error is None
    retrieves = {path: count for path, count in service.requests.items() if path.startswith("GET /api/v1/batches/b")}
    assert set(retrieves.values()) == {1}


def test_foreign_batches_whose_metadata_is_null_are_not_retrieved(service: OddService) -> None:
    for _ in range(30):
        service.add(metadata=None)

    assert run(ti=RETRY).error is None
    assert [path for path in service.requests if path.startswith("GET /api/v1/batches/b")] == []


@pytest.mark.parametrize("by", ["argument", "connection"])
def test_another_provider_is_a_changed_input(
    service: OddService, connect: Callable[..., None], tmp_path: Path, by: str
) -> None:
    store = Store(tmp_path / "store.json")
    first = run(store).value
    changed: dict[str, Any] = {"provider_id": "openai"} if by == "argument" else {}
    if by == "connection":
        connect(host=service.url, password="key", extra={"provider_id": "openai"})

    outcome = run(store, ti=RETRY, **changed)

    assert isinstance(outcome.error, RespanInputChangedError)
    assert f"made batch {first}, which is in_progress, of another input" in str(outcome.error)
    assert service.posted() == 1


def test_nothing_is_created_beside_a_batch_that_could_not_be_cancelled(service: OddService) -> None:
    first = run().value
    service.cancel_status = 503

    outcome = run(ti=RETRY, requests=[request(7)], on_changed_input="resubmit")

    assert str(outcome.error).startswith("503 Service Unavailable: ")
    assert str(outcome.error).endswith(
        f" (cancel {first}, connection respan_default at {service.url}). This may be temporary. So batch {first} of "
        "another input is still running, and no other batch was created."
    )
    assert service.posted() == 1


def test_of_batches_of_one_second_the_usable_one_counts(service: OddService) -> None:
    run()
    service.batches[-1]["status"] = "in_progress"
    twin = {**service.batches[-1], "id": "batch_9999", "status": "cancelled"}
    service.batches.append(twin)

    assert run(ti=RETRY).value == service.batches[0]["id"]


def test_fewer_retries_are_no_clear(service: OddService, tmp_path: Path) -> None:
    store = Store(tmp_path / "store.json")
    first = run(store).value
    service.batches[-1].update(status="completed", request_counts={"total": 1, "completed": 0, "failed": 1})

    outcome = attempt(lambda: create("plain", retries=1), TaskInstance(try_number=2, max_tries=3), store=store)

    assert outcome.value == first
    assert service.posted() == 1


@pytest.mark.parametrize("status", ["error", "uploaded"])
def test_a_file_that_the_service_could_not_process_is_uploaded_again(service: OddService, status: str) -> None:
    run()
    service.batches[-1]["status"] = "failed"
    size = len(json.dumps(request(1), separators=(",", ":"))) + len(json.dumps(request(2), separators=(",", ":"))) + 2
    service.files[-1].update(status=status, bytes=size)

    assert run(ti=RETRY).error is None
    assert len(service.files) == (2 if status == "error" else 1)


@pytest.mark.parametrize("ti", [RETRY, CLEAR])
def test_a_bad_batch_is_not_replaced_while_pages_are_unread(service: OddService, ti: dict[str, Any]) -> None:
    service.page_size = 100
    for _ in range(60):
        service.add()
    run()
    service.batches[-1]["status"] = "failed"
    for number in range(60):
        service.add(created_at=1_500_000_000 if number == 30 else next(service.clock))

    outcome = run(ti=ti, search_pages=1)

    assert "Raise search_pages, so that the search reads further." in str(outcome.error)
    assert service.posted() == 1


def test_a_connection_that_moves_during_the_search_creates_nothing(
    service: OddService, connect: Callable[..., None]
) -> None:
    first = run().value
    for _ in range(15):
        service.add()
    other = OddService()
    answer = service.answer

    def move(method: str, path: str, query: dict[str, list[str]], body: bytes) -> tuple[int, Any]:
        if "after" not in query:
            return answer(method, path, query, body)
        connect(host=other.url, password="another-key")
        return 401, {}

    service.answer = move  # type: ignore[method-assign]  # the service is the test's own
    with running(other):
        outcome = run(ti=RETRY)

        assert isinstance(outcome.error, RespanError)
        assert str(outcome.error) == (
            "Airflow connection 'respan_default' has changed during the search. A retry searches again. No batch was "
            "created, because an earlier attempt of this task may have created one."
        )
        assert (other.posted(), service.posted()) == (0, 1)
        service.answer = answer  # type: ignore[method-assign]  # as above
        connect(host=service.url, password="key")
        assert run(ti=RETRY).value == first
