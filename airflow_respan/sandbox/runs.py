"""How often each request was run, which is how often it was paid for."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence


class Runs:
    """The requests that each batch has run, whether they succeeded or failed."""

    def __init__(self) -> None:
        self._by_batch: dict[str, list[str]] = {}
        self._by_request: Counter[str] = Counter()
        # Batches run in one thread; the server and a test read the counts in others.
        self._lock = threading.Lock()

    def attempt(self, custom_id: str) -> int:
        """Return the number of the attempt that a request has next, counted from 1."""
        return self._by_request[custom_id] + 1

    def add(self, batch_id: str, custom_ids: Sequence[str]) -> None:
        """Record that a batch has run these requests, in this order."""
        with self._lock:
            self._by_batch[batch_id] = list(custom_ids)
            self._by_request.update(custom_ids)

    def keep_first(self, batch_id: str, count: int) -> list[str]:
        """Record that a batch ended when it had run only so many requests.

        :return: the requests that it has not run
        """
        with self._lock:
            custom_ids = self._by_batch.get(batch_id, [])
            self._by_batch[batch_id] = custom_ids[:count]
            self._by_request.subtract(custom_ids[count:])
            return custom_ids[count:]

    def by_request(self) -> Counter[str]:
        """Return how often each request was run, by its ``custom_id``."""
        with self._lock:
            return +self._by_request

    def by_batch(self) -> dict[str, list[str]]:
        """Return the ``custom_id`` of each request that a batch has run, in the order of the input, by batch."""
        with self._lock:
            return {batch_id: list(custom_ids) for batch_id, custom_ids in self._by_batch.items()}
