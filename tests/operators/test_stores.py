"""Landing in stores without folders or without a rename: a store in memory, and S3."""

from __future__ import annotations

import io
import json
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import requests
from airflow.providers.common.compat.sdk import ObjectStoragePath
from airflow.sdk.io import attach
from fsspec.implementations.memory import MemoryFileSystem

from airflow_respan.exceptions import RespanResultsError
from airflow_respan.results import answers
from airflow_respan.results.remote_files import MAX_CREATED_BYTES, UPLOAD_BLOCK_BYTES
from airflow_respan.sandbox import RespanSandbox
from tests.operators.landings import add_batch, bad, good, jsonl, land
from tests.operators.modes import attempt, create, request
from tests.rounds.asking import ask

GOOD, BAD = jsonl(good("a"), good("b")), jsonl(bad("c"))
LARGE = jsonl(*(good(f"request-{number}", "word " * 2000) for number in range(2500)))
LONG = jsonl(good("a", "x" * MAX_CREATED_BYTES))
FILES = {"output.jsonl", "errors.jsonl", "manifest.json", "results.parquet"}


class Memory(MemoryFileSystem):
    """A store in memory that is full after so many bytes."""

    max_bytes: int | None = None
    has_conditional_writes = True
    uri: str
    error: Exception | None = None
    held: str = ""
    holding = threading.Event()
    released = threading.Event()

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **options: Any) -> None:
        if mode == "create" and not self.has_conditional_writes:
            raise NotImplementedError
        super().pipe_file(path, value, mode=mode, **options)

    def open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        """Open a file; the first time that the file to be held is written, only when it is released."""
        if self.error:
            raise self.error
        if "w" in mode and self.held and f"/.{self.held}." in path and not self.holding.is_set():
            self.holding.set()
            assert self.released.wait(60)
        file = super().open(path, mode, **options)
        if "w" in mode and self.max_bytes is not None:
            write = file.write

            def write_a_little(piece: bytes) -> int:
                assert self.max_bytes is not None
                if len(piece) > self.max_bytes:
                    write(piece[: self.max_bytes])
                    raise OSError(28, "No space left on device")
                return write(piece)

            file.write = write_a_little
        return file


class Objects(Memory):
    """A store in memory that shows an object when it is closed, like S3; the request to be held is the last one."""

    protocol = "gs"
    lock = threading.Lock()

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **options: Any) -> None:
        if self.error:
            raise self.error
        self.hold(path)
        if self.max_bytes is not None and len(value) > self.max_bytes:
            raise OSError(28, "No space left on device")
        if mode == "create" and not self.has_conditional_writes:
            raise NotImplementedError
        with self.lock:
            super().open(path, "xb" if mode == "create" else "w+b", data=value)

    def open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        if mode != "wb":
            return super().open(path, mode, **options)
        self.hold(path)
        return Object(self, path)

    def hold(self, path: str) -> None:
        if path.rsplit("/", 1)[-1] == self.held and not self.holding.is_set():
            self.holding.set()
            assert self.released.wait(60)


class Object(io.BytesIO):
    """An object that is being written."""

    def __init__(self, store: Objects, path: str) -> None:
        super().__init__()
        self.store, self.path, self.is_discarded = store, path, False

    def discard(self) -> None:
        self.is_discarded = True

    def close(self) -> None:
        if not self.closed and not self.is_discarded:
            self.store.pipe_file(self.path, self.getvalue())
        super().close()


DEFAULTS = dict(vars(Memory))


@pytest.fixture(params=["memory", "gs"])
def memory(request: pytest.FixtureRequest) -> Iterator[Memory]:
    """A store whose files are renamed when they are complete, and one with objects."""
    store = Memory() if request.param == "memory" else Objects(skip_instance_cache=True)
    attach(protocol=request.param, fs=store).fs = store
    store.uri = f"{request.param}://bucket/results"
    yield store
    store.released.set()
    for name in ("max_bytes", "has_conditional_writes", "error", "held", "holding", "released"):
        setattr(Memory, name, DEFAULTS[name])
    Memory.holding.clear()
    Memory.released.clear()
    store.store.clear()
    store.pseudo_dirs[:] = [""]


def test_results_are_landed_in_a_store_without_folders(connected: RespanSandbox, memory: Memory) -> None:
    if not isinstance(memory, Objects):  # a killed process leaves no object
        memory.pipe_file(f"/bucket/results/.output.jsonl.{'0' * 32}.part", b"left by a killed process")
    memory.pipe_file("/bucket/results/notes.part", b"not of this package")
    batch_id = add_batch(connected, GOOD, BAD)

    manifest = land(memory.uri, batch_id=batch_id, parquet=True)["return_value"]

    assert {path.rsplit("/", 1)[-1] for path in memory.store} == FILES | {"notes.part"}
    assert memory.cat_file("/bucket/results/output.jsonl") == GOOD
    assert json.loads(memory.cat_file(ObjectStoragePath(manifest["manifest_path"]).path)) == manifest
    land(memory.uri, batch_id=batch_id)
    assert "/bucket/results/results.parquet" not in memory.store


def test_a_full_store_has_no_incomplete_file(connected: RespanSandbox, memory: Memory) -> None:
    Memory.max_bytes = 500

    with pytest.raises(RespanResultsError, match=re.escape(f" (could not write {memory.uri}/output.jsonl). ")):
        land(memory.uri, batch_id=add_batch(connected, GOOD))

    assert list(memory.store) == []


def test_a_store_without_conditional_writes_can_be_landed_in(connected: RespanSandbox, memory: Memory) -> None:
    Memory.has_conditional_writes = False

    land(memory.uri, batch_id=add_batch(connected, GOOD))

    assert set(memory.store) == {"/bucket/results/output.jsonl", "/bucket/results/manifest.json"}


def test_a_file_that_takes_several_requests_is_landed(connected: RespanSandbox, memory: Memory) -> None:
    batch_id = add_batch(connected, LONG)

    manifest = land(memory.uri, batch_id=batch_id)["return_value"]

    assert manifest["bytes"] == {"output": len(LONG)}
    assert memory.cat_file("/bucket/results/output.jsonl") == LONG


def test_a_row_of_40_mebibytes_is_landed(connected: RespanSandbox, memory: Memory) -> None:
    """So long is the answer to a request for 2,048 embeddings."""
    content = GOOD + jsonl(good("c", "x" * 40 * 2**20))

    manifest = land(memory.uri, batch_id=add_batch(connected, content), parquet=True)["return_value"]

    assert manifest["counts"]["succeeded"] == 3
    assert memory.cat_file("/bucket/results/output.jsonl") == content
    lengths = pc.utf8_length(pq.read_table(memory.open("/bucket/results/results.parquet"))["content"])
    assert lengths.to_pylist() == [5, 5, 40 * 2**20]


@pytest.mark.parametrize("on_bad_rows", ["warn", "drop"])
def test_bad_lines_are_kept_in_any_store(connected: RespanSandbox, memory: Memory, on_bad_rows: str) -> None:
    batch_id = add_batch(connected, GOOD + b"{\n", BAD)

    first, second = (land(memory.uri, batch_id=batch_id, on_bad_rows=on_bad_rows)["return_value"] for _ in range(2))

    assert first == second
    assert memory.cat_file("/bucket/results/rejected.jsonl") == b"{\n"
    assert memory.cat_file("/bucket/results/output.jsonl") == (GOOD if on_bad_rows == "drop" else GOOD + b"{\n")
    assert ObjectStoragePath(first["rejected_path"]).path.endswith("/results/rejected.jsonl")


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_long_file_of_a_landing_that_was_taken_over_is_not_written(
    connected: RespanSandbox, memory: Memory, overwrite: bool
) -> None:
    Memory.held = "output.jsonl"
    first = add_batch(connected, LONG)
    second = add_batch(connected, GOOD) if overwrite else first
    with ThreadPoolExecutor() as threads:
        landing = threads.submit(land, memory.uri, batch_id=first)
        assert Memory.holding.wait(60)
        manifest = land(memory.uri, batch_id=second, overwrite=overwrite)
        Memory.released.set()

        if overwrite:
            with pytest.raises(RespanResultsError, match=f"^The folder has the results of batch {second}: "):
                landing.result(60)
        else:
            assert landing.result(60) == manifest
    assert memory.cat_file("/bucket/results/output.jsonl") == (GOOD if overwrite else LONG)


@pytest.fixture(params=["output.jsonl", "errors.jsonl", "manifest.json"])
def held(request: pytest.FixtureRequest, connected: RespanSandbox, memory: Memory) -> Iterator[tuple[str, Future[Any]]]:
    """A batch whose landing is held while it writes a file, and that landing."""
    Memory.held = request.param
    batch_id = add_batch(connected, GOOD, BAD)
    with ThreadPoolExecutor() as threads:
        landing = threads.submit(land, memory.uri, batch_id=batch_id)
        assert Memory.holding.wait(60)
        yield batch_id, landing
        Memory.released.set()


def test_while_a_batch_is_written_into_a_store_another_one_is_refused(
    connected: RespanSandbox, memory: Memory, held: tuple[str, Future[Any]]
) -> None:
    batch_id, landing = held

    with pytest.raises(RespanResultsError) as refused:
        land(memory.uri, batch_id=add_batch(connected, jsonl(good("z"))))
    Memory.released.set()

    assert str(refused.value) == (
        f"The landing of batch {batch_id} is writing its results into {memory.uri}, or was killed while it "
        "wrote. Give each batch its own folder, for example with {{ run_id }} and {{ ti.map_index }} in the path. To "
        "use this folder nevertheless, set overwrite=True, or clear the task when an hour has passed."
    )
    assert landing.result(60)["return_value"]["batch_id"] == batch_id
    assert memory.cat_file("/bucket/results/output.jsonl") == GOOD


def test_a_landing_that_wakes_up_takes_what_its_successor_wrote_into_a_store(
    connected: RespanSandbox, memory: Memory, held: tuple[str, Future[Any]]
) -> None:
    batch_id, landing = held

    manifest = land(memory.uri, batch_id=batch_id)
    Memory.released.set()

    assert landing.result(60) == manifest
    assert {path.rsplit("/", 1)[-1] for path in memory.store} == {"output.jsonl", "errors.jsonl", "manifest.json"}


def test_a_landing_that_was_taken_over_by_another_batch_fails_and_replaces_none_of_its_files(
    connected: RespanSandbox, memory: Memory, held: tuple[str, Future[Any]]
) -> None:
    _batch_id, landing = held
    other = add_batch(connected, jsonl(good("z")))

    land(memory.uri, batch_id=other, overwrite=True)
    Memory.released.set()

    with pytest.raises(RespanResultsError, match=f"^The folder has the results of batch {other}: "):
        landing.result(60)
    assert memory.cat_file("/bucket/results/output.jsonl") == jsonl(good("z"))
    assert json.loads(memory.cat_file("/bucket/results/manifest.json"))["batch_id"] == other


def test_a_store_that_cannot_be_reached_is_not_taken_for_a_full_disk(connected: RespanSandbox, memory: Memory) -> None:
    Memory.error = ConnectionRefusedError(111, "Connection refused")

    with pytest.raises(RespanResultsError) as failed:
        land(memory.uri, batch_id=add_batch(connected, GOOD))

    assert str(failed.value) == (
        f"ConnectionRefusedError: [Errno 111] Connection refused (could not read {memory.uri}/manifest.json). "
        "The store cannot be reached or is overloaded. Clear the task when the worker can reach it again. Results "
        "without a manifest.json beside them are not complete."
    )


def upload_input_of(path: str, sandbox: RespanSandbox) -> bytes:
    """Create a batch of an input in a store, and return the file that was uploaded."""
    outcome = attempt(lambda: create("plain", input_path=path))
    assert outcome.error is None
    file = sandbox.service.files.get(outcome.ti.xcoms["input_file_id"])
    assert file is not None
    return file.path.read_bytes()


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_an_input_can_be_in_any_store_with_and_without_a_byte_order_mark(
    connected: RespanSandbox, memory: Memory, mark: bytes
) -> None:
    memory.pipe_file("/bucket/questions.jsonl", mark + jsonl(request(1), request(2)))

    assert upload_input_of(f"{memory.uri.removesuffix('results')}questions.jsonl", connected) == jsonl(
        request(1), request(2)
    )


@pytest.mark.store
class TestS3:
    """With a local S3."""

    @pytest.fixture
    def s3(self) -> Iterator[Any]:
        """A store that Airflow opens by ``s3://``, with one bucket."""
        from moto.server import ThreadedMotoServer
        from s3fs import S3FileSystem

        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
        server.start()
        _host, port = server.get_host_and_port()
        url = f"http://127.0.0.1:{port}"
        # All servers of a process share their state.
        requests.post(f"{url}/moto-api/reset", timeout=10).raise_for_status()
        store = S3FileSystem(key="a", secret="b", endpoint_url=url, skip_instance_cache=True, use_listings_cache=False)
        store.mkdir("bucket")
        for conn_id in ("minio", None):  # Airflow keeps the store that was attached first
            attach(protocol="s3", conn_id=conn_id, fs=store).fs = store
        yield store
        server.stop()

    @staticmethod
    def open_uploads(s3: Any) -> list[Any]:
        """Return uploads that were neither completed nor aborted; S3 bills them."""
        return s3.list_multipart_uploads("bucket")

    def test_results_are_landed(self, connected: RespanSandbox, s3: Any) -> None:
        batch_id = add_batch(connected, LARGE, BAD)
        assert len(LARGE) > 3 * UPLOAD_BLOCK_BYTES

        manifest = land("s3://bucket/some/results", batch_id=batch_id, parquet=True)["return_value"]

        assert {path.rsplit("/", 1)[-1] for path in s3.ls("bucket/some/results", detail=False)} == FILES
        assert s3.cat_file("bucket/some/results/output.jsonl") == LARGE
        assert json.loads(s3.cat_file(manifest["manifest_path"])) == manifest
        assert self.open_uploads(s3) == []
        assert land("s3://bucket/some/results", batch_id=batch_id, parquet=True)["return_value"] == manifest

    @pytest.mark.parametrize("when", ["upload_part", "complete_multipart_upload"])
    def test_an_upload_that_fails_keeps_the_earlier_file(self, connected: RespanSandbox, s3: Any, when: str) -> None:
        class FullError(Exception):
            pass

        def refuse(**_event: Any) -> None:
            raise FullError("the store is full")

        land("s3://bucket/results", batch_id=add_batch(connected, GOOD))
        events = s3.s3.meta.events
        events.register(f"before-call.s3.{''.join(word.title() for word in when.split('_'))}", refuse)

        with pytest.raises(RespanResultsError, match=r"is full.* \(could not write s3://bucket/results/output.jsonl\)"):
            land("s3://bucket/results", batch_id=add_batch(connected, LARGE), overwrite=True)

        assert s3.ls("bucket/results", detail=False) == ["bucket/results/output.jsonl"]
        assert s3.cat_file("bucket/results/output.jsonl") == GOOD
        assert self.open_uploads(s3) == []

    @pytest.mark.parametrize("bucket", ["bucket", "minio@bucket"])
    def test_an_input_is_read_with_the_connection_in_its_uri(
        self, connected: RespanSandbox, s3: Any, bucket: str
    ) -> None:
        content = jsonl(*(request(number) for number in range(1000)))
        s3.pipe_file("bucket/in.jsonl", content)

        assert upload_input_of(f"s3://{bucket}/in.jsonl", connected) == content

    def test_uploads_of_a_killed_process_are_aborted(self, connected: RespanSandbox, s3: Any) -> None:
        for key in ("results/output.jsonl", "results/notes.jsonl"):
            s3.call_s3("create_multipart_upload", Bucket="bucket", Key=key)

        land("s3://bucket/results", batch_id=add_batch(connected, GOOD))

        assert [upload["Key"] for upload in self.open_uploads(s3)] == ["results/notes.jsonl"]

    def test_a_missing_bucket_is_not_created(self, connected: RespanSandbox, s3: Any) -> None:
        with pytest.raises(RespanResultsError, match=r"could not write s3://elsewhere/results/"):
            land("s3://elsewhere/results", batch_id=add_batch(connected, GOOD))

        assert s3.ls("", detail=False) == ["bucket"]

    def test_the_whole_job_is_done_in_the_store_and_continues_after_a_clear(
        self, connect: Callable[..., None], s3: Any
    ) -> None:
        with RespanSandbox(pace=0.0, outcomes={"r-2": "429, ok"}) as sandbox:
            connect(host=sandbox.url, password=sandbox.api_key)
            asked = [request(1), request(2)]

            first = ask("deferrable", "s3://minio@bucket/job", requests=asked, max_rounds=1, parquet=True)
            first.ti.try_number, first.ti.max_tries = 2, 1
            second = ask("deferrable", "s3://minio@bucket/job", ti=first.ti, requests=asked, parquet=True)

            assert (first.error, second.error) == (None, None)
            assert sandbox.runs == {"r-1": 1, "r-2": 2}
        assert second.value["counts"]["succeeded"] == 2
        assert second.value["output_url"] == "s3://bucket/job/output.jsonl"
        assert [answer.value for answer in answers(second.value)] == ["echo: What is 1?", "echo: What is 2?"]
        assert {path.rsplit("/", 1)[-1] for path in s3.ls("bucket/job", detail=False)} >= FILES
        assert self.open_uploads(s3) == []
