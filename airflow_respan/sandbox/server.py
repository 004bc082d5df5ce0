"""The sandbox as an object: the methods by which a test controls it."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from airflow_respan.sandbox.app import Service
from airflow_respan.sandbox.batches import Batches
from airflow_respan.sandbox.control import InjectedFault
from airflow_respan.sandbox.faults import Fault
from airflow_respan.sandbox.files import Files
from airflow_respan.sandbox.listener import Listener
from airflow_respan.sandbox.outcomes import Outcomes, read_outcomes
from airflow_respan.sandbox.received import ReceivedRequest

DEFAULT_KEY = "sandbox-key"


class RespanSandbox:
    """A local Respan: a context manager that serves until the end of its block.

    :param pace: seconds that a batch stays in each status; with None only :meth:`advance` moves batches
    :param not_found_for: seconds during which a new batch is not found; this was seen at the service
    :param not_listed_for: seconds during which a new batch is not in the list, because the service's list can be stale
    :param list_lacks: the fields that the batches in a list do not have, such as ``metadata``
    :param unfinished_rows: whether requests that a batch has not run, because it expired or was cancelled, have rows in
        its error file (``batch_expired``, ``batch_cancelled``), as at OpenAI; other services write no such rows
    :param max_active_batches: while so many batches have not ended, each new one fails with ``token_limit_exceeded``,
        because the queue is full; None is no limit
    :param one_model_per_batch: whether a batch fails if its requests name several models, as at OpenAI
    :param outcomes: how single requests end, such as ``"20% 429, ok"``; see :meth:`set_outcomes`
    :param api_key: the key to accept
    :param host: the address to listen on; with another one than loopback, other machines can reach the sandbox
    :param port: the port; 0 chooses a free one, which stays the same after :meth:`stop` and :meth:`start`
    """

    def __init__(
        self,
        *,
        pace: float | None = 1.0,
        not_found_for: float = 0.0,
        not_listed_for: float = 0.0,
        list_lacks: Collection[str] = (),
        unfinished_rows: bool = False,
        max_active_batches: int | None = None,
        one_model_per_batch: bool = False,
        outcomes: Outcomes = "ok",
        api_key: str = DEFAULT_KEY,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self._listener = Listener(host=host, port=port)
        self._batch_options: dict[str, Any] = {
            "pace": pace,
            "not_found_for": not_found_for,
            "not_listed_for": not_listed_for,
            "list_lacks": list_lacks,
            "unfinished_rows": unfinished_rows,
            "max_active_batches": max_active_batches,
            "one_model_per_batch": one_model_per_batch,
            "outcomes": read_outcomes(outcomes),
        }
        self._keys = {api_key}
        self._directory: tempfile.TemporaryDirectory[str] | None = None
        self._service: Service | None = None

    @property
    def host(self) -> str:
        """The address to listen on."""
        return self._listener.host

    @property
    def port(self) -> int:
        """The port; 0 before the start if a free one is to be chosen."""
        return self._listener.port

    @property
    def url(self) -> str:
        """The base URL, for a connection's host."""
        return f"http://{self.host}:{self.port}"

    @property
    def api_key(self) -> str:
        """The key that is accepted. If you set another key, the old one is refused from then on."""
        return next(iter(self._keys))

    @api_key.setter
    def api_key(self, key: str) -> None:
        self._keys.clear()
        self._keys.add(key)

    @property
    def requests(self) -> list[ReceivedRequest]:
        """The requests so far, oldest first, without those to ``/_sandbox/``."""
        return list(self.service.requests)

    @property
    def batches(self) -> list[dict[str, Any]]:
        """All batches, oldest first, each as a retrieve returns it."""
        return self.service.batches.all()

    @property
    def runs(self) -> Counter[str]:
        """How often each request was run and paid for, by its ``custom_id``, whether it succeeded or failed.

        A request of a batch counts as soon as the batch has run it. It does not count if the batch then fails, or if it
        expires or is cancelled before this request.
        """
        return self.service.batches.runs.by_request()

    @property
    def runs_by_batch(self) -> dict[str, list[str]]:
        """The ``custom_id`` of each request that a batch has run, by the id of the batch."""
        return self.service.batches.runs.by_batch()

    @property
    def service(self) -> Service:
        """The state behind the server."""
        if self._service is None:
            raise RuntimeError("The sandbox has not been started: use it in a with statement.")
        return self._service

    def __enter__(self) -> Self:
        """Start the server."""
        self._directory = tempfile.TemporaryDirectory(prefix="respan-sandbox-")
        files = Files(Path(self._directory.name))
        batches = Batches(files=files, **self._batch_options)
        self._service = Service(api_keys=self._keys, files=files, batches=batches)
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop the server, and delete all batches and files."""
        self._listener.close()
        if self._service is not None:
            self._service.batches.close()
        if self._directory is not None:
            self._directory.cleanup()

    def start(self) -> None:
        """Start listening; after :meth:`stop` on the same port and with the same batches.

        :raises OSError: if the address is in use or does not exist
        :raises OverflowError: if the port is beyond 65535
        """
        self._listener.start(self.service.app)

    def stop(self) -> None:
        """Stop listening, as during an outage: connections are refused."""
        self._listener.stop()

    def add_batch(self, **fields: Any) -> str:
        """Create a batch without an input file; it stays as it is until you change it.

        :param fields: the fields that the API returns: ``status`` (``in_progress`` by default), ``output_file_id``,
            ``request_counts`` ...
        :return: its id
        """
        return self.service.batches.add(**fields)

    def change_batch(self, batch_id: str, **fields: Any) -> None:
        """Change the fields that the API returns for a batch; from then on its status does not change with ``pace``."""
        self.service.batches.change(batch_id, **fields)

    def advance(self, batch_id: str) -> str:
        """Move a batch to its next status.

        :return: that status
        """
        return self.service.batches.advance(batch_id)

    def set_outcomes(self, outcomes: Outcomes) -> None:
        """Choose how single requests end, in the batches that are created from now on.

        A request that chooses its outcome itself, by its model or by its prompt, is not affected.

        :param outcomes: one of three forms. A text is for all requests: ``"429, ok"`` fails each the first time, and
            ``"20% 429, ok"`` a fifth of them. A mapping is for single requests: ``{"r-7": "429, ok", "r-9": "400"}``.
            A function gets the ``custom_id`` and the attempt, counted from 1, and returns an ``Outcome``, or None for
            a request that is answered. The attempt is the number of times that batches of this sandbox have run a
            request of this ``custom_id``, and one more.
        :raises ValueError: if a text is not in the short form; the message says which word is wrong
        """
        self.service.batches.outcomes = read_outcomes(outcomes)

    def inject(self, fault: Fault, *, times: int | None = 1, path: str = "", method: str | None = None) -> None:
        """Inject a fault into the next matching requests.

        :param times: how many requests get it; with None all do until :meth:`heal`
        :param path: only requests with this in their path, or at its end if this ends with ``$``
        :param method: only requests with this method; None for every method
        """
        self.service.faults.append(InjectedFault(fault=fault, times=times, path=path, method=method))

    def heal(self) -> None:
        """Remove all faults."""
        self.service.faults.clear()
