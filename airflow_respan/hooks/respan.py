"""The hook: every endpoint of the Respan API, for workers and for triggerers."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from os import PathLike
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, Unpack, cast

from airflow_respan import get_provider_info
from airflow_respan.api import endpoints
from airflow_respan.api.tracking import TrackingParameters
from airflow_respan.compat import BaseHook
from airflow_respan.exceptions import RespanAuthenticationError, RespanError, RespanTransientError
from airflow_respan.hooks import connection_form
from airflow_respan.hooks.current_client import MAX_AGE_SECONDS, CurrentClient
from airflow_respan.hooks.lookup import look_up_settings

if TYPE_CHECKING:
    from airflow_respan.api.async_client import Acquire
    from airflow_respan.api.batch import Batch
    from airflow_respan.api.client import RespanClient
    from airflow_respan.api.connection import RespanConnection
    from airflow_respan.api.file import RespanFile
    from airflow_respan.api.page import BatchPage
    from airflow_respan.api.request import Request

P = ParamSpec("P")
T = TypeVar("T")


class RespanHook(BaseHook):
    """Calls the Respan API with the settings of an Airflow connection.

    The connection is looked up at the first call, after a call that failed, and when its settings are five minutes old.
    If they have changed in any way, the new ones are used, and the call that failed is sent again, unless Respan may
    have carried it out and it must not be sent twice. Every method raises

    * ``RespanConfigurationError`` if the connection does not exist or has an invalid setting,
    * ``RespanAPIError`` (``RespanAuthenticationError``, ``RespanNotFoundError``) if Respan refuses the request,
    * ``RespanTransientError`` if there is no usable response; requests that may be sent twice were retried once before,
    * ``ValueError`` for an argument that cannot be sent.

    Methods whose names start with ``a`` are for triggers; call ``await hook.aclose()`` at the end.

    :param respan_conn_id: the id of the Airflow connection
    :param acquire: awaited before each asynchronous HTTP request, with the settings of the connection; applies a rate
        limit
    """

    conn_name_attr = "respan_conn_id"
    default_conn_name = get_provider_info.DEFAULT_CONN_ID
    conn_type = get_provider_info.CONN_TYPE
    hook_name = get_provider_info.HOOK_NAME

    def __init__(
        self, respan_conn_id: str = default_conn_name, *, acquire: Acquire | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.respan_conn_id = respan_conn_id
        self._acquire = acquire
        self._client: RespanClient | None = None
        self._looked_up_at = 0.0
        self._async_clients: list[CurrentClient] = []

    def get_batch(
        self,
        batch_id: str,
        *,
        respan_params: Mapping[str, Any] | None = None,
        provider_id: str | None = None,
    ) -> Batch:
        """Return a batch: its status, counts and files.

        :param batch_id: ``batch_...``
        :param respan_params: tracking parameters (``customer_identifier`` and the like) of this request, added to the
            connection's
        :param provider_id: the provider that has the batch, instead of the connection's
        """
        return self._send(endpoints.get_batch, batch_id, respan_params=respan_params, provider_id=provider_id)

    async def aget_batch(
        self,
        batch_id: str,
        *,
        respan_params: Mapping[str, Any] | None = None,
        provider_id: str | None = None,
    ) -> Batch:
        """Return a batch, from a trigger; the same as :meth:`get_batch`."""
        return await self._asend(endpoints.get_batch, batch_id, respan_params=respan_params, provider_id=provider_id)

    def list_batches(self, *, limit: int = 20, after: str | None = None, provider_id: str | None = None) -> BatchPage:
        """Return one page of the list of batches, newest first.

        The list can be out of date. Use :meth:`get_batch` before you rely on the status of a batch.

        :param limit: batches on the page, 1 to 100
        :param after: ``next_after`` of the previous page; None for the first page
        :param provider_id: the provider whose batches to list, instead of the connection's
        """
        return self._send(endpoints.list_batches, limit=limit, after=after, provider_id=provider_id)

    async def alist_batches(
        self, *, limit: int = 20, after: str | None = None, provider_id: str | None = None
    ) -> BatchPage:
        """Return one page of the list of batches, from a trigger; the same as :meth:`list_batches`."""
        return await self._asend(endpoints.list_batches, limit=limit, after=after, provider_id=provider_id)

    def create_batch(
        self,
        input_file_id: str,
        *,
        endpoint: str = "/v1/chat/completions",
        completion_window: str = "24h",
        metadata: Mapping[str, str] | None = None,
        respan_params: Mapping[str, Any] | None = None,
        provider_id: str | None = None,
        **tracking: Unpack[TrackingParameters],
    ) -> Batch:
        """Create a batch and return it. The request is not retried, because each batch costs money.

        If there is no usable response, the error says that Respan may have created the batch.

        :param input_file_id: the id of an uploaded JSONL file; see :meth:`upload_file`
        :param endpoint: the endpoint to which the provider sends every line of the file
        :param completion_window: how long the provider may take; Respan documents only ``24h``
        :param metadata: names and texts to store with the batch
        :param respan_params: tracking parameters for the header of this request, added to the connection's
        :param provider_id: the provider to send the batch to, instead of the connection's
        :param tracking: tracking parameters of the batch itself: ``customer_identifier``, ``custom_identifier``,
            ``thread_identifier``, ``environment``
        """
        return self._send(
            endpoints.create_batch,
            input_file_id=input_file_id,
            endpoint=endpoint,
            completion_window=completion_window,
            metadata=metadata,
            respan_params=respan_params,
            provider_id=provider_id,
            **tracking,
        )

    def cancel_batch(self, batch_id: str, *, provider_id: str | None = None) -> Batch:
        """Cancel a batch and return it. It is ``cancelling`` for up to 10 minutes before it is ``cancelled``.

        If the service carries it out without a body in its response, the batch is retrieved.

        :param batch_id: ``batch_...``
        :param provider_id: the provider that has the batch, instead of the connection's
        """
        batch = self._send(endpoints.cancel_batch, batch_id, provider_id=provider_id)
        return batch or self.get_batch(batch_id, provider_id=provider_id)

    async def acancel_batch(self, batch_id: str, *, provider_id: str | None = None) -> Batch:
        """Cancel a batch, from a trigger; the same as :meth:`cancel_batch`."""
        batch = await self._asend(endpoints.cancel_batch, batch_id, provider_id=provider_id)
        return batch or await self.aget_batch(batch_id, provider_id=provider_id)

    def upload_file(
        self,
        file: str | PathLike[str] | IO[bytes],
        *,
        filename: str | None = None,
        purpose: str = "batch",
        provider_id: str | None = None,
    ) -> RespanFile:
        """Upload a file and return its description. The file is read while it is sent, in constant memory.

        The input of a batch is JSONL with one request a line; see :meth:`create_batch`.

        :param file: a path, or a seekable file that is open in binary mode
        :param filename: the name to send; by default the name in the path, or ``batch.jsonl``
        :param purpose: ``batch`` for the input of a batch
        :param provider_id: the provider to upload it to, instead of the connection's
        """
        if isinstance(file, str | PathLike):
            path = Path(file)
            with path.open("rb") as opened:
                return self.upload_file(
                    opened, filename=filename or path.name, purpose=purpose, provider_id=provider_id
                )
        return self._send(
            endpoints.upload_file,
            file,
            filename=filename or "batch.jsonl",
            purpose=purpose,
            provider_id=provider_id,
        )

    def list_files(self, *, provider_id: str | None = None) -> tuple[RespanFile, ...]:
        """Return the files that were uploaded and those that batches wrote.

        :param provider_id: the provider whose files to list, instead of the connection's
        """
        return self._send(endpoints.list_files, provider_id=provider_id)

    def get_file(self, file_id: str, *, provider_id: str | None = None) -> RespanFile:
        """Return the description of a file; for its content see :meth:`download_file`.

        :param file_id: ``file-...``
        :param provider_id: the provider that has the file, instead of the connection's
        """
        return self._send(endpoints.get_file, file_id, provider_id=provider_id)

    def delete_file(self, file_id: str, *, provider_id: str | None = None) -> None:
        """Delete a file. This cannot be undone.

        :param file_id: ``file-...``
        :param provider_id: the provider that has the file, instead of the connection's
        """
        self._send(endpoints.delete_file, file_id, provider_id=provider_id)

    def iter_file_content(self, file_id: str, *, provider_id: str | None = None) -> Iterator[bytes]:
        """Yield the content of a file in chunks, in constant memory.

        If the download is cut off, ``RespanTransientError`` is raised after the chunks that arrived, and these chunks
        are not the complete content. One cut cannot be found out, and is logged as a warning: if neither the response
        nor the description of the file says how long the content is, and the cut is between two lines.

        :param file_id: ``file-...``
        :param provider_id: the provider that has the file, instead of the connection's
        """
        with ExitStack() as stack:
            yield from self._call(
                lambda client: stack.enter_context(
                    client.stream(
                        self._content_request(client, file_id, provider_id),
                        size=self._size_getter(file_id, provider_id),
                    )
                )
            )

    def download_file(self, file_id: str, target: str | PathLike[str], *, provider_id: str | None = None) -> Path:
        """Download the content of a file, in constant memory. The target is written completely or not at all.

        If the download is cut off, it resumes where it was cut, or starts again if the service cannot resume.

        :param file_id: ``file-...``
        :param target: the path to write to; an existing file is replaced
        :param provider_id: the provider that has the file, instead of the connection's
        :return: the target
        """
        return self._call(
            lambda client: client.download(
                self._content_request(client, file_id, provider_id),
                Path(target),
                size=self._size_getter(file_id, provider_id),
            )
        )

    def download_into(self, file_id: str, file: IO[bytes], *, provider_id: str | None = None) -> None:
        """Download the content of a file into an open file. After an error it may hold a part of the content.

        :param file_id: ``file-...``
        :param file: open for writing, and seekable; its old content is overwritten
        :param provider_id: the provider that has the file, instead of the connection's
        """
        self._call(
            lambda client: client.download_into(
                self._content_request(client, file_id, provider_id),
                file,
                size=self._size_getter(file_id, provider_id),
            )
        )

    def test_connection(self) -> tuple[bool, str]:
        """Return whether the connection works, and a message, for Airflow's *Test* button. Lists one batch.

        The message does not name the connection: Airflow tests it under a random id, which its users have not seen.
        """
        try:
            self.list_batches(limit=1)
        except RespanError as error:
            named = rf"\bconnection '?{re.escape(self.respan_conn_id)}'?(?!\w)"
            return False, re.sub(named, "connection under test", str(error))
        return True, "Respan accepted the API key."

    def get_conn(self) -> RespanClient:
        """Return the client of this hook, for the settings that the connection had at most five minutes ago."""
        if self._client is None:
            self._look_up()
        elif time.monotonic() - self._looked_up_at > MAX_AGE_SECONDS:
            with suppress(RespanError):  # the settings that worked until now are better than none
                self._look_up()
        return cast("RespanClient", self._client)

    async def aclose(self) -> None:
        """Close the clients that the asynchronous methods opened."""
        clients, self._async_clients = self._async_clients, []
        for client in clients:
            await client.aclose()

    def _call(self, call: Callable[[RespanClient], T], *, idempotent: bool = True) -> T:
        """Call a client, and call again with a new one if the call failed and the connection has changed.

        :param idempotent: whether a call that failed may have been carried out without harm; if not, it is sent again
            only if the key was refused
        """
        client = self.get_conn()
        try:
            return call(client)
        except RespanError as error:
            if not (idempotent or isinstance(error, RespanAuthenticationError)):
                raise
            newer = self._newer_client(client, error)
            if newer is None:
                raise
        return call(newer)

    def _newer_client(self, client: RespanClient, error: RespanError) -> RespanClient | None:
        """Return the client with which to call again, or None if the connection is still the same."""
        if self._client is client:
            try:
                self._look_up()
            except RespanError:
                if not isinstance(error, RespanTransientError):
                    raise
        return self._client if self._client is not client else None

    def _look_up(self) -> None:
        """Look the connection up, and replace the client if the settings have changed."""
        from airflow_respan.api.client import RespanClient

        self._looked_up_at = time.monotonic()
        settings = look_up_settings(self, self.respan_conn_id)
        if self._client is None or settings != self._client.connection:
            if self._client:
                self.log.info("Connection %s has changed; its new settings are used.", self.respan_conn_id)
            # The old client stays open, because other threads may be using it.
            self._client = RespanClient(settings)

    def _send(
        self, build: Callable[Concatenate[RespanConnection, P], Request[T]], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        def request(client: RespanClient) -> Request[T]:
            return build(client.connection, *args, **kwargs)

        return self._call(lambda client: client.send(request(client)), idempotent=request(self.get_conn()).idempotent)

    async def _asend(
        self, build: Callable[Concatenate[RespanConnection, P], Request[T]], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        return await self._async_client().send(lambda connection: build(connection, *args, **kwargs))

    def _async_client(self) -> CurrentClient:
        """Return the client of this event loop."""
        loop = asyncio.get_running_loop()
        for client in self._async_clients:
            if client.loop is loop:
                return client
        self._async_clients.append(CurrentClient(self, self.respan_conn_id, acquire=self._acquire))
        return self._async_clients[-1]

    @staticmethod
    def _content_request(client: RespanClient, file_id: str, provider_id: str | None) -> Request[None]:
        return endpoints.file_content(client.connection, file_id, provider_id=provider_id)

    def _size_getter(self, file_id: str, provider_id: str | None) -> Callable[[], int | None]:
        def get_size() -> int | None:
            try:
                return self.get_file(file_id, provider_id=provider_id).size
            except RespanError:  # the size is only an extra check: some services cannot describe a file
                return None

        return get_size

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Return the fields of the connection form, for Airflow before 3.2; later versions read the provider info."""
        return connection_form.form_widgets()

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return the labels of the connection form, for Airflow before 3.2; later versions read the provider info."""
        return connection_form.form_behaviour()
