"""A file's content as a good service sends it: from disk, by the kernel, whole or the ``Range`` that was asked for."""

from __future__ import annotations

from pathlib import Path

from aiohttp import web

from airflow_respan.sandbox.received import ReceivedRequest


class Content(web.FileResponse):
    """A file's content.

    :param path: where it is
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.path = path
        self.received: ReceivedRequest | None = None

    def note(self, status: int) -> None:
        """Note what the request is answered, before the first byte: whoever has the last one may look at once."""
        if self.received is not None:
            self.received.status = status
