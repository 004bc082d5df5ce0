"""The content of a file as a service without faults sends it: from disk, whole or the ``Range`` that was requested."""

from __future__ import annotations

from pathlib import Path

from aiohttp import web

from airflow_respan.sandbox.received import ReceivedRequest


class Content(web.FileResponse):
    """A response with the content of a file.

    :param path: the path of the file
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.path = path
        self.received: ReceivedRequest | None = None

    def record_status(self, status: int) -> None:
        """Record the status of the response before the first byte: a client with the last byte may read it at once."""
        if self.received is not None:
            self.received.status = status
