"""The hook: an Airflow connection becomes a client, for workers and for triggerers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from os import PathLike
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, Unpack

from airflow_respan import get_provider_info
from airflow_respan.api import endpoints
from airflow_respan.api.tracking import TrackingParameters
from airflow_respan.compat import BaseHook
from airflow_respan.exceptions import RespanAuthenticationError, RespanError
from airflow_respan.hooks import connection_form
from airflow_respan.hooks.lookup import alook_up_settings, look_up_settings

if TYPE_CHECKING:
    from airflow_respan.api.async_client import Acquire, AsyncRespanClient
    from airflow_respan.api.batch import Batch
    from airflow_respan.api.client import RespanClient
    from airflow_respan.api.connection import RespanConnection
    from airflow_respan.api.file import RespanFile
    from airflow_respan.api.page import BatchPage
    from airflow_respan.api.request import Request

P = ParamSpec("P")
T = TypeVar("T")


class RespanHook(BaseHook):
    """Talks to Respan with the credentials of an Airflow connection.

    The connection is looked up at the first call, and once more when the service refuses the key: a key that
    was replaced meanwhile is picked up without a restart. Every method raises

    * ``RespanConfigurationError`` if the connection is missing or cannot work,
    * ``RespanAPIError`` (``RespanAuthenticationError``, ``RespanNotFoundError``) if the service says no,
    * ``RespanTransientError`` if it gives no usable answer; whatever can harmlessly be sent twice has been, then,
    * ``ValueError`` for an argument that cannot be sent.

    The methods whose names begin with ``a`` are for triggers; end with ``await hook.aclose()``.

    :param respan_conn_id: the Airflow connection
    :param acquire: awaited before each asynchronous request that goes out, with the connection's settings
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
        self._async_clients: list[AsyncRespanClient] = []

    def get_batch(
        self,
        batch_id: str,
        *,
        respan_params: Mapping[str, Any] | None = None,
        provider_id: str | None = None,
    ) -> Batch:
        """Retrieve a batch: its status, counts and files.

        :param batch_id: ``batch_...``
        :param respan_params: tracking parameters (``customer_identifier`` and the like), on top of the connection's
        :param provider_id: the provider that the batch went to, instead of the connection's
        """
        return self._send(endpoints.get_batch, batch_id, respan_params=respan_params, provider_id=provider_id)

    async def aget_batch(
        self,
        batch_id: str,
        *,
        respan_params: Mapping[str, Any] | None = None,
        provider_id: str | None = None,
    ) -> Batch:
        """Retrieve a batch from a trigger; the same as :meth:`get_batch`."""
        return await self._asend(endpoints.get_batch, batch_id, respan_params=respan_params, provider_id=provider_id)

    def list_batches(self, *, limit: int = 20, after: str | None = None, provider_id: str | None = None) -> BatchPage:
        """List one page of batches, newest first. Lists can be stale: decide by :meth:`get_batch`.

        :param limit: batches on the page, 1 to 100
        :param after: the id that the page comes after: ``next_after`` of the page before
        :param provider_id: the provider whose batches to list, instead of the connection's
        """
        return self._send(endpoints.list_batches, limit=limit, after=after, provider_id=provider_id)

    async def alist_batches(
        self, *, limit: int = 20, after: str | None = None, provider_id: str | None = None
    ) -> BatchPage:
        """List batches from a trigger; the same as :meth:`list_batches`."""
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
        """Create a batch, which costs money: it is sent once, and an error says if it may have arrived.

        :param input_file_id: an uploaded JSONL file, see :meth:`upload_file`
        :param endpoint: the endpoint that every line of the file is for
        :param completion_window: how long the provider may take; ``24h`` is what Respan documents
        :param metadata: texts to keep with the batch
        :param respan_params: tracking parameters for the header, on top of the connection's
        :param provider_id: the provider to send the batch to, instead of the connection's
        :param tracking: Respan's tracking parameters of the batch itself: ``customer_identifier``,
            ``custom_identifier``, ``thread_identifier``, ``environment``
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
        """Ask for a batch to be cancelled; it is ``cancelling`` for up to 10 minutes before it is ``cancelled``."""
        return self._send(endpoints.cancel_batch, batch_id, provider_id=provider_id)

    async def acancel_batch(self, batch_id: str, *, provider_id: str | None = None) -> Batch:
        """Cancel a batch from a trigger; the same as :meth:`cancel_batch`."""
        return await self._asend(endpoints.cancel_batch, batch_id, provider_id=provider_id)

    def upload_file(
        self,
        file: str | PathLike[str] | IO[bytes],
        *,
        filename: str | None = None,
        purpose: str = "batch",
        provider_id: str | None = None,
    ) -> RespanFile:
        """Upload a file, read as it is sent: JSONL with one request a line, for :meth:`create_batch`.

        :param file: a path, or a binary file that can seek
        :param filename: the name to give it; the path's own by default
        :param purpose: ``batch`` for the input of a batch
        :param provider_id: the provider to keep it at, instead of the connection's
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
        """List the files that were uploaded and that batches left.

        :param provider_id: the provider whose files to list, instead of the connection's
        """
        return self._send(endpoints.list_files, provider_id=provider_id)

    def get_file(self, file_id: str, *, provider_id: str | None = None) -> RespanFile:
        """Retrieve what is known about a file; its content is for :meth:`download_file`."""
        return self._send(endpoints.get_file, file_id, provider_id=provider_id)

    def delete_file(self, file_id: str, *, provider_id: str | None = None) -> None:
        """Delete a file for good."""
        self._send(endpoints.delete_file, file_id, provider_id=provider_id)

    def iter_file_content(self, file_id: str, *, provider_id: str | None = None) -> Iterator[bytes]:
        """Give the content of a file in pieces, in constant memory.

        A download that is cut off raises ``RespanTransientError`` after the pieces that came; what came before
        is no whole file.
        """
        with ExitStack() as stack:
            yield from self._call(
                lambda client: stack.enter_context(client.stream(self._content(client, file_id, provider_id)))
            )

    def download_file(self, file_id: str, target: str | PathLike[str], *, provider_id: str | None = None) -> Path:
        """Download the content of a file, in constant memory; the target is written whole or not at all.

        A download that is cut off goes on where it was, if the service can do that, or begins anew.

        :param target: the path to write to, replaced if it exists
        :return: the target
        """
        return self._call(
            lambda client: client.download(
                self._content(client, file_id, provider_id), Path(target), size=self._size(file_id, provider_id)
            )
        )

    def download_into(self, file_id: str, file: IO[bytes], *, provider_id: str | None = None) -> None:
        """Download the content of a file into an open one; if this raises, it may hold a part.

        :param file: open for writing, able to seek; what is in it is lost
        """
        self._call(
            lambda client: client.download_into(
                self._content(client, file_id, provider_id), file, size=self._size(file_id, provider_id)
            )
        )

    def test_connection(self) -> tuple[bool, str]:
        """Say whether the connection works, for Airflow's *Test* button: lists one batch."""
        try:
            self.list_batches(limit=1)
        except RespanError as error:
            return False, str(error)
        return True, "Respan answered, and accepted the API key."

    def get_conn(self) -> RespanClient:
        """Give the client of this hook, made at the first call."""
        if self._client is None:
            self._client = self._new_client(look_up_settings(self, self.respan_conn_id))
        return self._client

    async def aclose(self) -> None:
        """Close what the asynchronous methods opened."""
        clients, self._async_clients = self._async_clients, []
        for client in clients:
            await client.aclose()

    def _call(self, use: Callable[[RespanClient], T]) -> T:
        client = self.get_conn()
        try:
            return use(client)
        except RespanAuthenticationError:
            settings = look_up_settings(self, self.respan_conn_id)
            if settings == client.connection:
                raise
            self._log_connection_changed()
            # Not closed: other threads may be using it.
            self._client = self._new_client(settings)
            return use(self._client)

    def _send(
        self, make: Callable[Concatenate[RespanConnection, P], Request[T]], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        return self._call(lambda client: client.send(make(client.connection, *args, **kwargs)))

    async def _asend(
        self, make: Callable[Concatenate[RespanConnection, P], Request[T]], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        client = await self._aclient()
        try:
            return await client.send(make(client.connection, *args, **kwargs))
        except RespanAuthenticationError:
            settings = await alook_up_settings(self, self.respan_conn_id)
            if settings == client.connection:
                raise
            self._log_connection_changed()
            client = await self._aclient(settings)
            return await client.send(make(client.connection, *args, **kwargs))

    async def _aclient(self, settings: RespanConnection | None = None) -> AsyncRespanClient:
        """Give the newest client of this event loop; those before it stay open for whoever still uses them."""
        from airflow_respan.api.async_client import AsyncRespanClient

        def usable() -> AsyncRespanClient | None:
            loop = asyncio.get_running_loop()
            here = [client for client in self._async_clients if client.loop is loop]
            return here[-1] if here and settings in (None, here[-1].connection) else None

        if client := usable():
            return client
        opened = await AsyncRespanClient.open(
            settings or await alook_up_settings(self, self.respan_conn_id), acquire=self._acquire
        )
        if client := usable():  # somebody else was faster
            await opened.aclose()
            return client
        self._async_clients.append(opened)
        return opened

    @staticmethod
    def _content(client: RespanClient, file_id: str, provider_id: str | None) -> Request[None]:
        return endpoints.file_content(client.connection, file_id, provider_id=provider_id)

    def _size(self, file_id: str, provider_id: str | None) -> Callable[[], int | None]:
        def ask() -> int | None:
            try:
                return self.get_file(file_id, provider_id=provider_id).size
            except RespanError:  # not every service says, and the content may be whole all the same
                return None

        return ask

    @staticmethod
    def _new_client(settings: RespanConnection) -> RespanClient:
        from airflow_respan.api.client import RespanClient

        return RespanClient(settings)

    def _log_connection_changed(self) -> None:
        self.log.info("Connection %s has changed since it was looked up; using it anew.", self.respan_conn_id)

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Give the form's fields to Airflow before 3.2, which asks the hook; later ones read the provider info."""
        return connection_form.form_widgets()

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Give the form's labels to Airflow before 3.2, which asks the hook; later ones read the provider info."""
        return connection_form.form_behaviour()
