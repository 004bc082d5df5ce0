"""The batches that the service has, and what it says of them: as OpenAI and Respan, and as Anthropic."""

from __future__ import annotations

import json
import random
import time
from datetime import UTC, datetime

DAY = 24 * 3600
OLDEST = 20 * 3600
"""Seconds since the oldest batch was created."""

OTHERS_EVERY = 5
"""Each fifth batch in the list is one that nobody watches."""

OPENAI = (
    '{"id":"%s","object":"batch","endpoint":"/v1/chat/completions","errors":null,"input_file_id":"file-in",'
    '"completion_window":"24h","status":"%s","output_file_id":%s,"error_file_id":null,"created_at":%d,'
    '"in_progress_at":%d,"expires_at":%d,"finalizing_at":null,"completed_at":%s,"failed_at":null,"expired_at":null,'
    '"cancelling_at":null,"cancelled_at":null,"request_counts":{"total":1000,"completed":%d,"failed":0},'
    '"metadata":{"team":"data"}}'
)
LACKING = '{"id":"%s","object":"batch","status":"%s","created_at":%d}'
ANTHROPIC = (
    '{"id":"%s","type":"message_batch","processing_status":"%s","created_at":"%s","expires_at":"%s","ended_at":%s,'
    '"archived_at":null,"cancel_initiated_at":null,"results_url":%s,'
    '"request_counts":{"processing":%d,"succeeded":%d,"errored":0,"canceled":0,"expired":0}}'
)


def is_watched(batch_id: str) -> bool:
    """Say whether somebody waits for a batch."""
    return batch_id.startswith("batch_")


class Batches:
    """All batches, newest first; which have ended, and of which somebody has been told.

    :param watched: how many batches there are to wait for
    :param lacking: whether the items of a list have but few fields
    :param stale: seconds by which a list lags behind
    """

    def __init__(self, *, watched: int, lacking: bool, stale: float) -> None:
        self.lacking = lacking
        self.stale = stale
        self.order: list[str] = []
        for number in range(watched):
            self.order.append(f"batch_{number:05d}")
            if number % OTHERS_EVERY == OTHERS_EVERY - 1:
                self.order.append(f"other_{number:05d}")
        self.index = {batch_id: index for index, batch_id in enumerate(self.order)}
        self.ends: dict[str, float] = {}
        self.unended = [batch_id for batch_id in self.order if is_watched(batch_id)]
        random.shuffle(self.unended)
        self.began = time.time()
        self.begin()

    def begin(self) -> None:
        """Forget who was told of what."""
        self.untold = set(self.unended)
        self.all_told_at: float | None = None

    def end(self, *, number: int, seconds: float) -> dict[str, float]:
        """Choose batches that end, evenly spread from now on."""
        now = time.monotonic()
        chosen = [self.unended.pop() for _ in range(min(number, len(self.unended)))]
        self.ends.update({batch_id: now + seconds * (i + 0.5) / number for i, batch_id in enumerate(chosen)})
        return self.ends

    def has_ended(self, batch_id: str, *, lag: float = 0.0) -> bool:
        """Say whether a batch has; those that nobody waits for did long ago."""
        return not is_watched(batch_id) or self.ends.get(batch_id, float("inf")) <= time.monotonic() - lag

    def openai(self, batch_id: str, *, lag: float = 0.0) -> str:
        """Describe a batch as OpenAI and Respan do."""
        self._tell(batch_id)
        ended = self.has_ended(batch_id, lag=lag)
        created, now = self._created(batch_id), time.time()
        output = f'"file-{batch_id}"' if ended else "null"
        completed = 1000 if ended else int((now - created) / DAY * 1000)
        return OPENAI % (
            batch_id,
            "completed" if ended else "in_progress",
            output,
            created,
            created + 60,
            created + DAY,
            int(now) if ended else "null",
            completed,
        )

    def anthropic(self, batch_id: str) -> str:
        """Describe a batch as Anthropic does."""
        self._tell(batch_id)
        ended, created = self.has_ended(batch_id), self._created(batch_id)
        moments = [datetime.fromtimestamp(at, tz=UTC).isoformat() for at in (created, created + DAY)]
        return ANTHROPIC % (
            batch_id,
            "ended" if ended else "in_progress",
            *moments,
            f'"{moments[0]}"' if ended else "null",
            f'"https://example.org/{batch_id}"' if ended else "null",
            0 if ended else 1000,
            1000 if ended else 0,
        )

    def shown(self, query: dict[str, list[str]]) -> list[str]:
        """Say which batches are on a page of the list."""
        limit = int(query.get("limit", ["20"])[0])
        start = self.index[query["after"][0]] + 1 if "after" in query else 0
        return self.order[start : start + limit]

    def page(self, query: dict[str, list[str]]) -> str:
        """Describe a page of the list."""
        shown = self.shown(query)
        self._tell(*shown)
        items = ",".join(
            LACKING % (x, "completed" if self.has_ended(x, lag=self.stale) else "in_progress", self._created(x))
            if self.lacking
            else self.openai(x, lag=self.stale)
            for x in shown
        )
        more = json.dumps(shown[-1] != self.order[-1])
        return f'{{"object":"list","data":[{items}],"first_id":"{shown[0]}","last_id":"{shown[-1]}","has_more":{more}}}'

    def _tell(self, *batch_ids: str) -> None:
        self.untold.difference_update(batch_ids)
        if not self.untold and self.all_told_at is None:
            self.all_told_at = time.monotonic()

    def _created(self, batch_id: str) -> int:
        return int(self.began - 60 - OLDEST * self.index.get(batch_id, 0) / len(self.order))
