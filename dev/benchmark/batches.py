"""The batches of the benchmark's service, as JSON of OpenAI and Respan, and as JSON of Anthropic."""

from __future__ import annotations

import json
import random
import time
from datetime import UTC, datetime

DAY_SECONDS = 24 * 3600
OLDEST_SECONDS = 20 * 3600
"""The age of the oldest batch."""

UNWATCHED_EVERY = 5
"""After so many watched batches, the list has one that no trigger waits for."""

OPENAI = (
    '{"id":"%s","object":"batch","endpoint":"/v1/chat/completions","errors":null,"input_file_id":"file-in",'
    '"completion_window":"24h","status":"%s","output_file_id":%s,"error_file_id":null,"created_at":%d,'
    '"in_progress_at":%d,"expires_at":%d,"finalizing_at":null,"completed_at":%s,"failed_at":null,"expired_at":null,'
    '"cancelling_at":null,"cancelled_at":null,"request_counts":{"total":1000,"completed":%d,"failed":0},'
    '"metadata":{"team":"data"}}'
)
ANTHROPIC = (
    '{"id":"%s","type":"message_batch","processing_status":"%s","created_at":"%s","expires_at":"%s","ended_at":%s,'
    '"archived_at":null,"cancel_initiated_at":null,"results_url":%s,'
    '"request_counts":{"processing":%d,"succeeded":%d,"errored":0,"canceled":0,"expired":0}}'
)


def is_watched(batch_id: str) -> bool:
    """Return whether a trigger waits for a batch."""
    return batch_id.startswith("batch_")


class Batches:
    """All batches, newest first: which have ended, and which have been checked.

    A check of a batch is a response with this batch, from a retrieve or a page of the list.

    :param watched: the number of batches that triggers wait for
    """

    def __init__(self, *, watched: int) -> None:
        self.order: list[str] = []
        for number in range(watched):
            self.order.append(f"batch_{number:05d}")
            if number % UNWATCHED_EVERY == UNWATCHED_EVERY - 1:
                self.order.append(f"other_{number:05d}")
        self.index = {batch_id: index for index, batch_id in enumerate(self.order)}
        self.ends: dict[str, float] = {}
        self.running = [batch_id for batch_id in self.order if is_watched(batch_id)]
        random.shuffle(self.running)
        self.started_at = time.time()
        self.reset_checks()

    def reset_checks(self) -> None:
        """Forget which batches have been checked."""
        self.unchecked = set(self.running)
        self.all_checked_at: float | None = None

    def end(self, *, number: int, seconds: float) -> dict[str, float]:
        """Choose batches at random that end, evenly spread over the next seconds.

        :return: batch -> when it ends (seconds of ``time.monotonic``)
        """
        now = time.monotonic()
        chosen = [self.running.pop() for _ in range(min(number, len(self.running)))]
        self.ends.update({batch_id: now + seconds * (i + 0.5) / number for i, batch_id in enumerate(chosen)})
        return self.ends

    def has_ended(self, batch_id: str) -> bool:
        """Return whether a batch has ended; the batches that no trigger waits for have."""
        return not is_watched(batch_id) or self.ends.get(batch_id, float("inf")) <= time.monotonic()

    def openai(self, batch_id: str) -> str:
        """Return a batch as OpenAI and Respan describe it."""
        self._record_checks(batch_id)
        ended, created, now = self.has_ended(batch_id), self._created_at(batch_id), time.time()
        output = f'"file-{batch_id}"' if ended else "null"
        completed = 1000 if ended else int((now - created) / DAY_SECONDS * 1000)
        return OPENAI % (
            batch_id,
            "completed" if ended else "in_progress",
            output,
            created,
            created + 60,
            created + DAY_SECONDS,
            int(now) if ended else "null",
            completed,
        )

    def anthropic(self, batch_id: str) -> str:
        """Return a batch as Anthropic describes it."""
        self._record_checks(batch_id)
        ended, created = self.has_ended(batch_id), self._created_at(batch_id)
        moments = [datetime.fromtimestamp(at, tz=UTC).isoformat() for at in (created, created + DAY_SECONDS)]
        return ANTHROPIC % (
            batch_id,
            "ended" if ended else "in_progress",
            *moments,
            f'"{moments[0]}"' if ended else "null",
            f'"https://example.org/{batch_id}"' if ended else "null",
            0 if ended else 1000,
            1000 if ended else 0,
        )

    def ids_on_page(self, query: dict[str, list[str]]) -> list[str]:
        """Return the ids of the batches on a page of the list."""
        limit = int(query.get("limit", ["20"])[0])
        start = self.index[query["after"][0]] + 1 if "after" in query else 0
        return self.order[start : start + limit]

    def page(self, query: dict[str, list[str]]) -> str:
        """Return a page of the list."""
        ids = self.ids_on_page(query)
        items = ",".join(map(self.openai, ids))
        more = json.dumps(ids[-1] != self.order[-1])
        return f'{{"object":"list","data":[{items}],"first_id":"{ids[0]}","last_id":"{ids[-1]}","has_more":{more}}}'

    def _record_checks(self, *batch_ids: str) -> None:
        self.unchecked.difference_update(batch_ids)
        if not self.unchecked and self.all_checked_at is None:
            self.all_checked_at = time.monotonic()

    def _created_at(self, batch_id: str) -> int:
        return int(self.started_at - 60 - OLDEST_SECONDS * self.index.get(batch_id, 0) / len(self.order))
