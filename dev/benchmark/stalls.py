"""How long an event loop keeps others waiting: a coroutine sleeps 10 ms again and again, and notes by how much more.

On the wall a busy machine counts too; so each time the processor time that the loop's thread has used is noted as well.
"""

from __future__ import annotations

import asyncio
import time
from array import array

NAP = 0.01


class Stalls:
    """What the coroutine has noted since :meth:`forget` (seconds)."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin anew."""
        self.on_the_wall = array("d")
        self.of_processor = array("d")

    async def watch(self) -> None:
        """Note for ever."""
        at, used = time.monotonic(), time.thread_time()
        while True:
            await asyncio.sleep(NAP)
            before, before_used = at, used
            at, used = time.monotonic(), time.thread_time()
            self.on_the_wall.append(at - before - NAP)
            self.of_processor.append(used - before_used)
