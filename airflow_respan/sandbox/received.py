"""What the sandbox has seen of a request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(kw_only=True)
class ReceivedRequest:
    """A request that the sandbox has seen, its key aside.

    :param params: what ``X-Data-Respan-Params`` held, whichever way it was encoded
    :param body: what was sent as JSON; empty for everything else
    :param peer: the connection that it came over
    :param at: when it came (seconds of ``time.monotonic``)
    :param status: the HTTP status that it was answered; None before that, and if the connection was cut
    """

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    params: Mapping[str, Any]
    body: bytes
    peer: str
    at: float
    status: int | None = None
