"""A web server in a thread of its own, which keeps its port while it is stopped."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from contextlib import suppress

from aiohttp import web


class Listener:
    """The server.

    :param host: the address to listen on
    :param port: the port; 0 chooses a free one at the first start
    """

    def __init__(self, *, host: str, port: int) -> None:
        self.host = host
        self.port = port
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._reserved: socket.socket | None = None
        """Keeps the port while the server is stopped, so that no other server gets it and its requests."""

    def start(self, make_app: Callable[[], web.Application]) -> None:
        """Start listening, after :meth:`stop` on the same port.

        :param make_app: makes the application to serve, which belongs to one start
        :raises OSError: if the address is in use or does not exist
        :raises OverflowError: if the port is beyond 65535
        """
        self._release_port()
        ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        failure: list[BaseException] = []
        arguments = (self._loop, make_app(), ready, failure)
        self._thread = threading.Thread(target=self._serve, args=arguments, name="respan-sandbox", daemon=True)
        self._thread.start()
        ready.wait()
        if failure:
            self._thread.join()
            self._thread = None
            raise failure[0]

    def stop(self) -> None:
        """Stop listening: connections are refused, and responses under way are cut off."""
        if self._loop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._thread = None
            self._reserved = socket.socket(socket.AF_INET6 if ":" in self.host else socket.AF_INET)
            self._reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with suppress(OSError):  # another server was faster
                self._reserved.bind((self.host, self.port))

    def close(self) -> None:
        """Stop listening, and leave the port to others."""
        self.stop()
        self._release_port()

    def _release_port(self) -> None:
        if self._reserved is not None:
            self._reserved.close()
            self._reserved = None

    def _serve(
        self,
        loop: asyncio.AbstractEventLoop,
        app: web.Application,
        ready: threading.Event,
        failure: list[BaseException],
    ) -> None:
        asyncio.set_event_loop(loop)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
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
            # Responses under way are cut off, as when a service goes down.
            for task in asyncio.all_tasks(loop):
                task.cancel()
            loop.run_until_complete(runner.cleanup())
            loop.close()
            ready.set()
