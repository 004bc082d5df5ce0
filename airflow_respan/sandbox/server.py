"""The sandbox as an object: a server on loopback in a thread of its own, and all that a test wants to do to it."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections.abc import Collection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from airflow_respan.sandbox.app import Service
from airflow_respan.sandbox.batches import Batches
from airflow_respan.sandbox.control import Injected
from airflow_respan.sandbox.faults import Fault
from airflow_respan.sandbox.files import Files
from airflow_respan.sandbox.received import ReceivedRequest

DEFAULT_KEY = "sandbox-key"


class RespanSandbox:
    """A local Respan; a context manager that serves as long as its block lasts.

    :param pace: seconds that a batch stays in each status; None lets batches move by :meth:`advance` alone
    :param not_found_for: seconds during which a new batch is not found, as the service was seen to do
    :param not_listed_for: seconds during which a new batch is not in the list, which may be stale
    :param list_lacks: the fields that a batch in a list does not have, such as ``metadata``
    :param api_key: the key to accept
    :param host: the address to listen on; loopback, unless you mean it
    :param port: the port; 0 chooses a free one, which is then kept
    """

    def __init__(
        self,
        *,
        pace: float | None = 1.0,
        not_found_for: float = 0.0,
        not_listed_for: float = 0.0,
        list_lacks: Collection[str] = (),
        api_key: str = DEFAULT_KEY,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.host = host
        self.port = port
        self._of_batches: dict[str, Any] = {
            "pace": pace,
            "not_found_for": not_found_for,
            "not_listed_for": not_listed_for,
            "list_lacks": list_lacks,
        }
        self._keys = {api_key}
        self._directory: tempfile.TemporaryDirectory[str] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._service: Service | None = None

    @property
    def url(self) -> str:
        """The base URL, for a connection's host."""
        return f"http://{self.host}:{self.port}"

    @property
    def api_key(self) -> str:
        """The key that is accepted; setting another refuses the old one from then on."""
        return next(iter(self._keys))

    @api_key.setter
    def api_key(self, key: str) -> None:
        self._keys.clear()
        self._keys.add(key)

    @property
    def requests(self) -> list[ReceivedRequest]:
        """What has been asked so far, oldest first, control requests aside."""
        return list(self.service.requests)

    @property
    def batches(self) -> list[dict[str, Any]]:
        """What batches there are, oldest first, as a retrieve would show them."""
        return self.service.batches.all()

    @property
    def service(self) -> Service:
        """The state behind the server."""
        if self._service is None:
            raise RuntimeError("The sandbox has not been started: use it in a with statement.")
        return self._service

    def __enter__(self) -> Self:
        """Start."""
        self._directory = tempfile.TemporaryDirectory(prefix="respan-sandbox-")
        files = Files(Path(self._directory.name))
        batches = Batches(files, **self._of_batches)
        self._service = Service(api_keys=self._keys, files=files, batches=batches)
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop, and forget everything."""
        self.stop()
        if self._service is not None:
            self._service.batches.close()
        if self._directory is not None:
            self._directory.cleanup()

    def start(self) -> None:
        """Listen; after :meth:`stop`, on the same port and with all batches still there."""
        ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        failure: list[BaseException] = []
        self._thread = threading.Thread(target=self._serve, args=(ready, failure), name="respan-sandbox", daemon=True)
        self._thread.start()
        ready.wait()
        if failure:
            self._thread.join()
            self._thread = None
            raise failure[0]

    def stop(self) -> None:
        """Stop listening, as a service that is down: connections are refused."""
        if self._loop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._thread = None

    def add_batch(self, **fields: Any) -> str:
        """Make a batch from nothing, ``in_progress`` unless told otherwise; it stays so until it is changed.

        :param fields: what the API is to say of it: ``status``, ``output_file_id``, ``request_counts`` ...
        :return: its id
        """
        return self.service.batches.add(**fields)

    def change_batch(self, batch_id: str, **fields: Any) -> None:
        """Change what the API says of a batch; one on the clock stays as it is from then on."""
        self.service.batches.change(batch_id, **fields)

    def advance(self, batch_id: str) -> str:
        """Move a batch to its next status; returns that status."""
        return self.service.batches.advance(batch_id)

    def inject(self, fault: Fault, *, times: int | None = 1, path: str = "", method: str | None = None) -> None:
        """Let requests meet a fault.

        :param times: how many requests it hits; None hits until :meth:`heal`
        :param path: only requests with this in their path, at its end if this ends with ``$``
        :param method: only requests with this method
        """
        self.service.faults.append(Injected(fault=fault, times=times, path=path, method=method))

    def heal(self) -> None:
        """Take back all faults."""
        self.service.faults.clear()

    def _serve(self, ready: threading.Event, failure: list[BaseException]) -> None:
        loop = self._loop
        assert loop is not None  # noqa: S101 (for the type checker; start has made it)
        asyncio.set_event_loop(loop)
        runner = web.AppRunner(self.service.app(), access_log=None, shutdown_timeout=0)
        try:
            loop.run_until_complete(runner.setup())
            site = web.TCPSite(runner, self.host, self.port, reuse_address=True)
            loop.run_until_complete(site.start())
            self.port = runner.addresses[0][1]
            ready.set()
            loop.run_forever()
        except (OSError, OverflowError) as error:  # the latter for a port beyond 65535
            failure.append(error)
        finally:
            # What is being answered breaks off, as with a service that goes down.
            for task in asyncio.all_tasks(loop):
                task.cancel()
            loop.run_until_complete(runner.cleanup())
            loop.close()
            ready.set()
