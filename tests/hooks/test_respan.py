"""The hook's endpoints on a worker; what both sides do alike is in ``test_clients.py``."""

from __future__ import annotations

import io
import json
import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_respan.api.tracking import TRACKING_PARAMETERS
from airflow_respan.exceptions import (
    RespanAPIError,
    RespanAuthenticationError,
    RespanConfigurationError,
    RespanNotFoundError,
    RespanTransientError,
)
from airflow_respan.hooks.respan import RespanHook
from airflow_respan.sandbox import Fault, RespanSandbox


def jsonl(count: int, **body: Any) -> bytes:
    message = {"role": "user", "content": "Hello"}
    lines = [
        {
            "custom_id": f"request-{number}",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {"model": "gpt-4o-mini", "messages": [message], **body},
        }
        for number in range(count)
    ]
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


def test_a_batch_goes_through_its_whole_life(connected: RespanSandbox, tmp_path: Path) -> None:
    hook = RespanHook()
    source = tmp_path / "questions.jsonl"
    source.write_bytes(jsonl(3))

    uploaded = hook.upload_file(source)
    created = hook.create_batch(uploaded.id, metadata={"team": "data"})
    while not (batch := hook.get_batch(created.id)).is_terminal:
        connected.advance(created.id)
    target = hook.download_file(batch.output_file_id, tmp_path / "answers.jsonl")

    assert (uploaded.filename, uploaded.purpose, uploaded.size) == ("questions.jsonl", "batch", len(jsonl(3)))
    assert (created.status, created.metadata) == ("validating", {"team": "data"})
    assert batch.request_counts.to_dict() == {"total": 3, "completed": 3, "failed": 0}
    rows = [json.loads(line) for line in target.read_text().splitlines()]
    assert [row["custom_id"] for row in rows] == ["request-0", "request-1", "request-2"]
    assert {path.name for path in tmp_path.iterdir()} == {"questions.jsonl", "answers.jsonl"}


def test_creating_sends_what_the_api_knows_and_nothing_else(
    sandbox: RespanSandbox, connect: Callable[..., None]
) -> None:
    connect(host=sandbox.url, password=sandbox.api_key, extra={"provider_id": "openai"})
    hook = RespanHook()
    file_id = hook.upload_file(io.BytesIO(jsonl(1))).id

    tracking: Any = {name: f"{name} of mine" for name in TRACKING_PARAMETERS}
    hook.create_batch(file_id, endpoint="/v1/chat/completions", **tracking)

    assert json.loads(sandbox.requests[-1].body) == {
        "input_file_id": file_id,
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
        **tracking,
        "provider_id": "openai",
    }


@pytest.mark.parametrize("fault", [Fault.error(500), Fault.cut(), Fault.html(200), Fault.rate_limit(retry_after=0.1)])
def test_creating_is_never_tried_twice(connected: RespanSandbox, fault: Fault) -> None:
    connected.inject(fault)

    with pytest.raises(RespanTransientError) as failed:
        RespanHook().create_batch("file-1")

    assert str(failed.value).endswith("The service may have done it all the same: look there before you send it again.")
    assert len(connected.requests) == 1


def test_all_batches_are_listed_page_by_page_newest_first(connected: RespanSandbox) -> None:
    made = [connected.add_batch() for _ in range(5)]
    hook = RespanHook()

    pages = [hook.list_batches(limit=2)]
    while pages[-1].next_after:
        pages.append(hook.list_batches(limit=2, after=pages[-1].next_after))

    assert [[batch.id for batch in page.batches] for page in pages] == [made[:2:-1], made[2:0:-1], made[:1]]


@pytest.mark.parametrize("limit", [0, 101])
def test_a_page_that_the_service_does_not_give_is_not_asked_for(connected: RespanSandbox, limit: int) -> None:
    with pytest.raises(ValueError, match=f"limit is {limit}; a page of the list holds 1 to 100 batches"):
        RespanHook().list_batches(limit=limit)


def test_cancelling_gives_the_batch_on_its_way_out(connected: RespanSandbox) -> None:
    assert RespanHook().cancel_batch(connected.add_batch()).status == "cancelling"


def test_files_are_listed_found_and_deleted(connected: RespanSandbox) -> None:
    hook = RespanHook()
    uploaded = hook.upload_file(io.BytesIO(b"{}\n"), filename='odd "name"\r\n.jsonl')

    assert hook.list_files() == (uploaded,)
    assert hook.get_file(uploaded.id) == uploaded
    assert uploaded.filename == "odd _name___.jsonl"
    assert b"".join(hook.iter_file_content(uploaded.id)) == b"{}\n"
    hook.delete_file(uploaded.id)
    with pytest.raises(RespanNotFoundError):
        hook.get_file(uploaded.id)


def test_deleting_is_not_believed_without_the_services_word(connected: RespanSandbox) -> None:
    connected.inject(Fault(status=200, body={"id": "file-1", "deleted": False}), times=None)

    with pytest.raises(RespanTransientError, match="'deleted' is not true of 'file-1'"):
        RespanHook().delete_file("file-1")

    assert len(connected.requests) == 1


def test_an_item_of_a_list_that_is_no_batch_hides_no_other(connected: RespanSandbox) -> None:
    items = [{"id": "batch_1", "status": "completed"}, {"id": "batch_2"}]
    connected.inject(Fault(status=200, body={"object": "list", "data": items, "has_more": True}))

    page = RespanHook().list_batches()

    assert [batch.id for batch in page.batches] == ["batch_1"]
    assert (page.next_after, page.unreadable) == ("batch_2", 1)


@pytest.mark.parametrize("last", ["", " ", None, 7])
def test_a_page_without_an_id_to_go_on_after_is_the_last(connected: RespanSandbox, last: object) -> None:
    connected.inject(Fault(status=200, body={"object": "list", "data": [{"id": last}], "has_more": True}))

    assert RespanHook().list_batches().next_after is None


def test_an_answer_about_something_else_is_refused(connected: RespanSandbox) -> None:
    hook = RespanHook()
    connected.inject(Fault(status=200, body={"id": "batch_9", "status": "cancelling"}), times=2)
    with pytest.raises(RespanTransientError, match="'id' is 'batch_9', another than was asked for"):
        hook.cancel_batch("batch_1")
    connected.inject(Fault(status=200, body={"id": "file-9"}), times=2)
    with pytest.raises(RespanTransientError, match="'id' is 'file-9', another than was asked for"):
        hook.get_file("file-1")


@pytest.mark.parametrize(
    ("filename", "arrives_as"),
    [
        (os.fsdecode(b"latin-\xe9.jsonl"), "latin-_.jsonl"),
        ('a"; name="purpose', "a_; name=_purpose"),
        ("two\r\n\r\nlines\0\u2028.jsonl", "two____lines__.jsonl"),
        ("../../questions.jsonl", "../../questions.jsonl"),
        ("fran\u00e7ais.jsonl", "fran\u00e7ais.jsonl"),
    ],
)
def test_no_name_of_a_file_spoils_the_form(connected: RespanSandbox, filename: str, arrives_as: str) -> None:
    uploaded = RespanHook().upload_file(io.BytesIO(b"{}\n"), filename=filename)

    assert (uploaded.filename, uploaded.purpose, uploaded.size) == (arrives_as, "batch", 3)


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (
            lambda hook: hook.get_batch("batch_1", respan_params={"a": float("nan")}),
            "respan_params cannot be sent as JSON: Out of range float values are not JSON compliant",
        ),
        (
            lambda hook: hook.create_batch("file-1", metadata={"a": float("nan")}),
            "metadata cannot be sent as JSON: Out of range float values are not JSON compliant",
        ),
        (
            lambda hook: hook.create_batch("file-1", metadata={"a": {1}}),
            "metadata cannot be sent as JSON: Object of type set is not JSON serializable",
        ),
        (
            lambda hook: hook.get_batch("batch_1", provider_id="open\ud83d"),
            "provider_id is 'open\\ud83d', which cannot be sent",
        ),
        (
            lambda hook: hook.list_batches(after="batch_1\r\nX-Evil: 1"),
            "after is 'batch_1\\r\\nX-Evil: 1', which cannot be sent",
        ),
        (
            lambda hook: hook.upload_file(io.BytesIO(b""), purpose="batch\r\n"),
            "purpose is 'batch\\r\\n', which cannot be sent",
        ),
    ],
)
def test_what_cannot_be_sent_is_named_before_anything_is(
    connected: RespanSandbox, call: Callable[[RespanHook], object], complaint: str
) -> None:
    with pytest.raises(ValueError) as refused:
        call(RespanHook())

    assert str(refused.value).startswith(complaint)
    assert connected.requests == []


def test_a_text_file_is_refused_before_anything_is_sent(connected: RespanSandbox) -> None:
    with pytest.raises(ValueError) as refused:
        RespanHook().upload_file(io.StringIO("{}"))  # type: ignore[arg-type]

    assert str(refused.value) == "'batch.jsonl' is open as text; open it in binary mode ('rb') to upload it"
    assert connected.requests == []


class ChangingFile(io.BytesIO):
    """A file that is shorter or longer when it is read than when it was measured."""

    def __init__(self, content: bytes, *, then: bytes) -> None:
        super().__init__(content)
        self.then = then

    def tell(self) -> int:
        return 0

    def read(self, size: int | None = -1) -> bytes:
        if size and self.getvalue() != self.then:
            self.truncate(0)
            super().seek(0)
            self.write(self.then)
            super().seek(0)
        return super().read(size)


def test_a_file_that_grows_is_sent_as_it_was_measured(connected: RespanSandbox) -> None:
    hook = RespanHook()

    uploaded = hook.upload_file(ChangingFile(b"{}\n", then=b"{}\nmore"))

    assert b"".join(hook.iter_file_content(uploaded.id)) == b"{}\n"


def test_a_file_that_shrinks_is_an_error(connected: RespanSandbox) -> None:
    with pytest.raises(ValueError, match="The file became 3 bytes shorter while it was uploaded"):
        RespanHook().upload_file(ChangingFile(b"{}\nmore", then=b"{}\nm"))


def test_a_content_in_an_encoding_that_was_not_asked_for_is_not_believed(
    connected: RespanSandbox, tmp_path: Path
) -> None:
    connected.inject(Fault(status=200, body="half a zip", headers={"Content-Encoding": "gzip"}), times=None)

    with pytest.raises(RespanTransientError, match="an encoding that was not asked for"):
        RespanHook().download_file("file-1", tmp_path / "out")

    assert list(tmp_path.iterdir()) == []


def test_an_upload_starts_where_the_file_stands_and_leaves_it_there(connected: RespanSandbox) -> None:
    hook = RespanHook()
    file = io.BytesIO(b"header\n{}\n")
    file.seek(7)

    uploaded = hook.upload_file(file)

    assert b"".join(hook.iter_file_content(uploaded.id)) == b"{}\n"
    assert file.tell() == 7


def test_an_upload_is_sent_again_with_a_key_that_was_replaced(
    connected: RespanSandbox, connect: Callable[..., None]
) -> None:
    hook = RespanHook()
    hook.test_connection()
    connected.api_key = "another-key"
    connect(host=connected.url, password="another-key")

    assert hook.upload_file(io.BytesIO(b"{}\n")).size == 3


@pytest.mark.parametrize("fault", [Fault.cut(5), Fault.error(503)])
def test_a_download_that_breaks_is_tried_once_more(connected: RespanSandbox, tmp_path: Path, fault: Fault) -> None:
    hook = RespanHook()
    file_id = hook.upload_file(io.BytesIO(jsonl(2))).id
    connected.inject(fault)

    assert hook.download_file(file_id, tmp_path / "out").read_bytes() == jsonl(2)


def test_a_download_that_stays_broken_leaves_nothing_behind(connected: RespanSandbox, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("what was there before")
    connected.inject(Fault.cut(5), times=None)

    with pytest.raises(RespanTransientError):
        RespanHook().download_file("file-1", tmp_path / "out")

    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out").read_text() == "what was there before"


def test_a_content_that_is_cut_off_is_no_content(connected: RespanSandbox) -> None:
    connected.inject(Fault.cut(5), times=None)

    with pytest.raises(RespanTransientError):
        list(RespanHook().iter_file_content("file-1"))


def test_large_files_pass_through_in_constant_memory(connected: RespanSandbox, tmp_path: Path) -> None:
    source = tmp_path / "large.jsonl"
    with source.open("wb") as file:
        file.truncate(200 * 2**20)
    hook = RespanHook()
    hook.download_file(hook.upload_file(io.BytesIO(b"warm up")).id, tmp_path / "small")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    uploaded = hook.upload_file(source)
    hook.download_file(uploaded.id, tmp_path / "copy")

    grown_by = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert (tmp_path / "copy").stat().st_size == uploaded.size == 200 * 2**20
    assert grown_by < 64  # MB, and the sandbox, which runs in this process, is counted too


def test_the_test_button_is_green_if_the_service_accepts_the_key(connected: RespanSandbox) -> None:
    assert RespanHook().test_connection() == (True, "Respan answered, and accepted the API key.")


def test_the_test_button_says_what_is_wrong(connected: RespanSandbox, connect: Callable[..., None]) -> None:
    connect(host=connected.url, password="a-wrong-key")

    works, message = RespanHook().test_connection()

    assert not works
    assert message.startswith(
        f"Asked to list batches, Respan ({connected.url}, connection 'respan_default') answered 401 Unauthorized: "
        "Invalid API key. Check the API key in the connection's password."
    )
    assert "a-wrong-key" not in message


def test_a_connection_without_key_is_an_error_that_says_so(
    connected: RespanSandbox, connect: Callable[..., None]
) -> None:
    connect(host=connected.url)

    with pytest.raises(RespanConfigurationError, match="Airflow connection 'respan_default' has no API key"):
        RespanHook().get_batch("batch_1")


def test_a_connection_that_cannot_be_read_is_none_and_not_quoted(
    airflow_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_RESPAN_DEFAULT", '{"password": "nobody-may-see"')

    with pytest.raises(RespanConfigurationError, match="a value that cannot be read counts as none") as refused:
        RespanHook().get_batch("batch_1")

    assert "nobody-may-see" not in str(refused.value)


def test_a_wrong_key_stays_wrong(connected: RespanSandbox, connect: Callable[..., None]) -> None:
    connect(host=connected.url, password="a-wrong-key")

    with pytest.raises(RespanAuthenticationError):
        RespanHook().get_batch("batch_1")

    assert len(connected.requests) == 1


def test_every_refusal_is_an_api_error() -> None:
    assert issubclass(RespanAuthenticationError, RespanAPIError)
    assert issubclass(RespanNotFoundError, RespanAPIError)
