"""How long an event loop keeps others waiting: a coroutine sleeps again and again, and notes by how much longer.

On the wall a busy machine counts too; so each time the processor time that the loop's thread has used is noted as well.
"""

from __future__ import annotations

import asyncio
import time
from array import array

NAP = 0.01
"""Seconds for which the coroutine sleeps."""

LONG_NAP = 0.1
"""The same where what it costs itself would count: it may miss what is shorter."""


class Stalls:
    """What the coroutine has noted since :meth:`forget` (seconds)."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin anew."""
        self.on_the_wall = array("d")
        self.of_processor = array("d")

    async def watch(self, nap: float = NAP) -> None:
        """Note for ever.

        :param nap: seconds
        """
        at, used = time.monotonic(), time.thread_time()
        while True:
            await asyncio.sleep(nap)
            before, before_used = at, used
            at, used = time.monotonic(), time.thread_time()
            self.on_the_wall.append(at - before - nap)
            self.of_processor.append(used - before_used)
