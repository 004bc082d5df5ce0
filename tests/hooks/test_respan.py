"""The endpoints of the hook on a worker; ``tests/api/test_clients.py`` has what workers and triggerers share."""

from __future__ import annotations

import io
import json
import os
import re
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
    RespanWrongIdError,
)
from airflow_respan.hooks.respan import RespanHook
from airflow_respan.sandbox import Fault, RespanSandbox
from tests.api.hook_calls import call_hook


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


def test_a_batch_from_upload_to_download(connected: RespanSandbox, tmp_path: Path) -> None:
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


def test_create_sends_only_documented_fields(sandbox: RespanSandbox, connect: Callable[..., None]) -> None:
    connect(host=sandbox.url, password=sandbox.api_key, extra={"provider_id": "openai"})
    hook = RespanHook()
    file_id = hook.upload_file(io.BytesIO(jsonl(1))).id

    tracking: Any = {name: f"my {name}" for name in TRACKING_PARAMETERS}
    hook.create_batch(file_id, endpoint="/v1/chat/completions", **tracking)

    assert json.loads(sandbox.requests[-1].body) == {
        "input_file_id": file_id,
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
        **tracking,
        "provider_id": "openai",
    }


MAYBE = "Respan may have carried out the request: check before you send it again."


@pytest.mark.parametrize(
    ("fault", "cause", "advice"),
    [
        (Fault.error(500), "500 Internal Server Error: The sandbox was told to fail", MAYBE),
        (Fault(status=503, headers={"Retry-After": "7"}), "503 Service Unavailable: an empty body", MAYBE),
        (
            Fault.rate_limit(retry_after=7),
            "429 Too Many Requests: Rate limit exceeded",
            "Respan did not carry out the request: send it again after 7 seconds.",
        ),
        (
            Fault.error(429, "Slow down."),
            "429 Too Many Requests: Slow down",
            "Respan did not carry out the request: send it again later.",
        ),
    ],
)
def test_create_is_never_retried(connected: RespanSandbox, fault: Fault, cause: str, advice: str) -> None:
    connected.inject(fault)

    with pytest.raises(RespanTransientError) as failed:
        RespanHook().create_batch("file-1")

    call = f"(create a batch of file-1, connection respan_default at {connected.url})"
    assert str(failed.value) == f"{cause} {call}. {advice}"
    assert len(connected.requests) == 1


def test_batches_are_listed_page_by_page_with_the_newest_first(connected: RespanSandbox) -> None:
    batch_ids = [connected.add_batch() for _ in range(5)]
    hook = RespanHook()

    pages = [hook.list_batches(limit=2)]
    while pages[-1].next_after:
        pages.append(hook.list_batches(limit=2, after=pages[-1].next_after))

    assert [[batch.id for batch in page.batches] for page in pages] == [
        batch_ids[:2:-1],
        batch_ids[2:0:-1],
        batch_ids[:1],
    ]


@pytest.mark.parametrize("limit", [0, 101])
def test_an_invalid_page_size_is_refused(connected: RespanSandbox, limit: int) -> None:
    with pytest.raises(ValueError, match=f"limit is {limit}; a page of the list holds 1 to 100 batches"):
        RespanHook().list_batches(limit=limit)


def test_cancel_returns_the_batch_that_is_being_cancelled(connected: RespanSandbox) -> None:
    assert RespanHook().cancel_batch(connected.add_batch()).status == "cancelling"


def test_files_are_listed_described_downloaded_and_deleted(connected: RespanSandbox) -> None:
    hook = RespanHook()
    uploaded = hook.upload_file(io.BytesIO(b"{}\n"), filename='odd "name"\r\n.jsonl')

    assert hook.list_files() == (uploaded,)
    assert hook.get_file(uploaded.id) == uploaded
    assert uploaded.filename == "odd _name___.jsonl"
    assert b"".join(hook.iter_file_content(uploaded.id)) == b"{}\n"
    hook.delete_file(uploaded.id)
    with pytest.raises(RespanNotFoundError):
        hook.get_file(uploaded.id)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"id": "file-1", "deleted": False}, "'deleted' is not true for 'file-1'"),
        ({"id": "file-2", "deleted": True}, "'deleted' is not true for 'file-1'"),
        ({}, "'deleted' is not true for 'file-1'"),
        ("<h1>Log in</h1>", "not JSON but '<h1>Log in</h1>'"),
        ("null", "not JSON but 'null'"),
    ],
)
def test_a_deletion_that_the_response_does_not_confirm_is_an_error(
    connected: RespanSandbox, body: Any, reason: str
) -> None:
    connected.inject(Fault(status=200, body=body), times=None)

    with pytest.raises(RespanTransientError, match=re.escape(f"with an unexpected body: {reason}")):
        RespanHook().delete_file("file-1")

    assert len(connected.requests) == 1


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=204),
        Fault(status=200),
        Fault(status=202, body=" \r\n"),
        Fault(status=200, body={"deleted": True}),
        Fault(status=200, body={"id": "file-1", "deleted": True}),
    ],
    ids=["204", "200 without body", "202 with blanks", "without id", "as documented"],
)
def test_a_deletion_is_confirmed_by_its_status_or_its_body(connected: RespanSandbox, fault: Fault) -> None:
    connected.inject(fault)

    RespanHook().delete_file("file-1")

    assert [request.method for request in connected.requests] == ["DELETE"]


@pytest.mark.parametrize("status", [200, 202, 204])
@pytest.mark.parametrize("method", ["cancel_batch", "acancel_batch"])
def test_a_cancel_that_is_answered_without_a_body_returns_the_batch(
    connected: RespanSandbox, method: str, status: int
) -> None:
    batch_id = connected.add_batch(status="cancelling")
    connected.inject(Fault(status=status), path="cancel")

    batch = call_hook(method, batch_id)

    assert (batch.id, batch.status) == (batch_id, "cancelling")
    assert [request.method for request in connected.requests] == ["POST", "GET"]


def test_an_invalid_item_of_a_list_does_not_hide_the_others(connected: RespanSandbox) -> None:
    items = [{"id": "batch_1", "status": "completed"}, {"id": "batch_2"}]
    connected.inject(Fault(status=200, body={"object": "list", "data": items, "has_more": True}))

    page = RespanHook().list_batches()

    assert [batch.id for batch in page.batches] == ["batch_1"]
    assert (page.next_after, page.unreadable_ids) == ("batch_2", ("batch_2",))


def test_a_file_without_a_valid_id_does_not_hide_the_other_files(connected: RespanSandbox) -> None:
    items = [{"id": "file-1"}, {"id": None}, {"id": "two\nlines"}, 7, {"id": f"file-{'x' * 300}"}]
    connected.inject(Fault(status=200, body={"object": "list", "data": items}))

    assert [file.id for file in RespanHook().list_files()] == ["file-1", f"file-{'x' * 300}"]


@pytest.mark.parametrize("last", ["", " ", None, 7])
def test_a_page_whose_last_item_has_no_id_is_the_last_page(connected: RespanSandbox, last: object) -> None:
    connected.inject(Fault(status=200, body={"object": "list", "data": [{"id": last}], "has_more": True}))

    assert RespanHook().list_batches().next_after is None


def test_a_response_with_another_id_is_refused(connected: RespanSandbox) -> None:
    hook = RespanHook()
    connected.inject(Fault(status=200, body={"id": "batch_9", "status": "cancelling"}), times=2)
    with pytest.raises(RespanWrongIdError, match="'id' is 'batch_9', which is not the requested id"):
        hook.cancel_batch("batch_1")
    connected.inject(Fault(status=200, body={"id": "file-9"}), times=2)
    with pytest.raises(RespanWrongIdError, match="'id' is 'file-9', which is not the requested id"):
        hook.get_file("file-1")


@pytest.mark.parametrize(
    ("filename", "stored_name"),
    [
        (os.fsdecode(b"latin-\xe9.jsonl"), "latin-_.jsonl"),
        ('a"; name="purpose', "a_; name=_purpose"),
        ("two\r\n\r\nlines\0\u2028.jsonl", "two____lines__.jsonl"),
        ("../../questions.jsonl", "../../questions.jsonl"),
        ("fran\u00e7ais.jsonl", "fran\u00e7ais.jsonl"),
    ],
)
def test_a_file_name_cannot_break_the_form(connected: RespanSandbox, filename: str, stored_name: str) -> None:
    uploaded = RespanHook().upload_file(io.BytesIO(b"{}\n"), filename=filename)

    assert (uploaded.filename, uploaded.purpose, uploaded.size) == (stored_name, "batch", 3)


@pytest.mark.parametrize(
    ("call", "message"),
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
def test_an_argument_that_cannot_be_sent_is_refused_before_anything_is_sent(
    connected: RespanSandbox, call: Callable[[RespanHook], object], message: str
) -> None:
    with pytest.raises(ValueError) as refused:
        call(RespanHook())

    assert str(refused.value).startswith(message)
    assert connected.requests == []


def test_a_text_file_is_refused_before_anything_is_sent(connected: RespanSandbox) -> None:
    with pytest.raises(ValueError) as refused:
        RespanHook().upload_file(io.StringIO("{}"))  # type: ignore[arg-type]

    assert str(refused.value) == "'batch.jsonl' is open as text; open it in binary mode ('rb') to upload it"
    assert connected.requests == []


class ChangingFile(io.BytesIO):
    """A file whose content changes after its size was measured."""

    def __init__(self, content: bytes, *, later: bytes) -> None:
        super().__init__(content)
        self.later = later

    def tell(self) -> int:
        return 0

    def read(self, size: int | None = -1) -> bytes:
        if size and self.getvalue() != self.later:
            self.truncate(0)
            super().seek(0)
            self.write(self.later)
            super().seek(0)
        return super().read(size)


def test_a_file_that_grows_is_sent_with_its_old_size(connected: RespanSandbox) -> None:
    hook = RespanHook()

    uploaded = hook.upload_file(ChangingFile(b"{}\n", later=b"{}\nmore"))

    assert b"".join(hook.iter_file_content(uploaded.id)) == b"{}\n"


def test_a_file_that_shrinks_is_an_error(connected: RespanSandbox) -> None:
    with pytest.raises(ValueError, match="The file became 3 bytes shorter while it was uploaded"):
        RespanHook().upload_file(ChangingFile(b"{}\nmore", later=b"{}\nm"))


def test_a_content_in_an_encoding_that_was_not_requested_is_an_error(connected: RespanSandbox, tmp_path: Path) -> None:
    connected.inject(Fault(status=200, body="half a zip", headers={"Content-Encoding": "br"}), times=None)

    with pytest.raises(RespanTransientError, match="sent the content in the encoding br, which was not requested"):
        RespanHook().download_file("file-1", tmp_path / "out")

    assert list(tmp_path.iterdir()) == []


def test_an_upload_starts_at_the_position_of_the_file_and_restores_it(connected: RespanSandbox) -> None:
    hook = RespanHook()
    file = io.BytesIO(b"header\n{}\n")
    file.seek(7)

    uploaded = hook.upload_file(file)

    assert b"".join(hook.iter_file_content(uploaded.id)) == b"{}\n"
    assert file.tell() == 7


def test_an_upload_is_sent_again_with_a_replaced_key(connected: RespanSandbox, connect: Callable[..., None]) -> None:
    hook = RespanHook()
    hook.test_connection()
    connected.api_key = "another-key"
    connect(host=connected.url, password="another-key")

    assert hook.upload_file(io.BytesIO(b"{}\n")).size == 3


@pytest.mark.parametrize("fault", [Fault.cut(5), Fault.error(503)])
def test_a_download_that_fails_is_retried(connected: RespanSandbox, tmp_path: Path, fault: Fault) -> None:
    hook = RespanHook()
    file_id = hook.upload_file(io.BytesIO(jsonl(2))).id
    connected.inject(fault)

    assert hook.download_file(file_id, tmp_path / "out").read_bytes() == jsonl(2)


def test_a_download_that_fails_again_and_again_leaves_no_file_behind(connected: RespanSandbox, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("an older content")
    connected.inject(Fault.cut(5), times=None)

    with pytest.raises(RespanTransientError):
        RespanHook().download_file("file-1", tmp_path / "out")

    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out").read_text() == "an older content"


def test_iterating_over_a_content_that_is_cut_off_is_an_error(connected: RespanSandbox) -> None:
    connected.inject(Fault.cut(5), times=None)

    with pytest.raises(RespanTransientError):
        list(RespanHook().iter_file_content("file-1"))


def test_large_files_are_uploaded_and_downloaded_in_constant_memory(connected: RespanSandbox, tmp_path: Path) -> None:
    source = tmp_path / "large.jsonl"
    with source.open("wb") as file:
        file.truncate(200 * 2**20)
    hook = RespanHook()
    hook.download_file(hook.upload_file(io.BytesIO(b"warm up")).id, tmp_path / "small")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    uploaded = hook.upload_file(source)
    hook.download_file(uploaded.id, tmp_path / "copy")

    increase_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert (tmp_path / "copy").stat().st_size == uploaded.size == 200 * 2**20
    assert increase_mb < 64  # the sandbox runs in this process, so its memory is counted too


def test_the_connection_test_succeeds_if_respan_accepts_the_key(connected: RespanSandbox) -> None:
    assert RespanHook().test_connection() == (True, "Respan accepted the API key.")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"password": "a-wrong-key"}, "401 Unauthorized: Invalid API key (list batches, connection under test at http"),
        ({"password": None}, "Airflow connection under test has no API key. Put one in its password field"),
        ({"host": "http://example.org"}, "Airflow connection under test would send the API key unencrypted"),
        ({"host": "http://127.0.0.1:1"}, "(list batches, connection under test at http"),
        ({"extra": {"timeout": "soon"}}, "Airflow connection under test has"),
    ],
)
def test_the_connection_test_returns_the_error_without_key_and_without_the_random_id(
    connected: RespanSandbox, connect: Callable[..., None], fields: dict[str, Any], expected: str
) -> None:
    connect(conn_id="kqzwvbtx", **{"host": connected.url, "password": connected.api_key, **fields})

    works, message = RespanHook("kqzwvbtx").test_connection()

    assert not works
    assert expected in message
    assert "kqzwvbtx" not in message
    assert "a-wrong-key" not in message


def test_a_connection_without_key_is_an_error(connected: RespanSandbox, connect: Callable[..., None]) -> None:
    connect(host=connected.url)

    with pytest.raises(RespanConfigurationError, match="Airflow connection 'respan_default' has no API key"):
        RespanHook().get_batch("batch_1")


def test_a_connection_that_cannot_be_read_is_missing_and_not_quoted(
    airflow_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_RESPAN_DEFAULT", '{"password": "secret-key"')

    with pytest.raises(RespanConfigurationError, match="Airflow ignores a value that it cannot read") as refused:
        RespanHook().get_batch("batch_1")

    assert "secret-key" not in str(refused.value)


def test_a_refused_key_that_was_not_replaced_is_not_tried_again(
    connected: RespanSandbox, connect: Callable[..., None]
) -> None:
    connect(host=connected.url, password="a-wrong-key")

    with pytest.raises(RespanAuthenticationError):
        RespanHook().get_batch("batch_1")

    assert len(connected.requests) == 1


def test_authentication_and_not_found_errors_are_api_errors() -> None:
    assert issubclass(RespanAuthenticationError, RespanAPIError)
    assert issubclass(RespanNotFoundError, RespanAPIError)


def test_a_create_may_take_ten_times_the_timeout(connected: RespanSandbox, connect: Callable[..., None]) -> None:
    connect(host=connected.url, password=connected.api_key, extra={"timeout": 0.2})
    file_id = RespanHook().upload_file(io.BytesIO(jsonl(1))).id
    connected.inject(Fault.late_answer(0.6))

    assert RespanHook().create_batch(file_id).status == "validating"

    connected.inject(Fault.late_answer(0.6), times=None)
    with pytest.raises(RespanTransientError):
        RespanHook().get_batch(connected.add_batch())
