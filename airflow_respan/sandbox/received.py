"""The record of a request that the sandbox received."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(kw_only=True)
class ReceivedRequest:
    """A request that the sandbox received, without its key.

    :param params: the content of ``X-Data-Respan-Params``, decoded from JSON or from Base64
    :param body: the body if it was sent as JSON; empty for everything else
    :param peer: the address and port of the client, which identify the connection
    :param at: when the request arrived (seconds of ``time.monotonic``)
    :param status: the HTTP status of the response; None before the response, and if the connection was cut
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
