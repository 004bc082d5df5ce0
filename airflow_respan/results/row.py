"""One line of a batch's output or error file: the result of one request. No I/O, no Airflow.

Endpoints name and nest things differently; here they have one name and one place.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from airflow_respan.api.counts import read_count
from airflow_respan.jsonl import TOO_DEEP, TOO_LONG, get_custom_id
from airflow_respan.results.lenient_json import decode_leniently
from airflow_respan.results.row_error import RowError, find_error

__all__ = ["Row", "RowError", "RowLine", "Usage", "parse_row", "read_row"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    """The tokens of one request, under the names of chat completions for every endpoint."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """The result of one request.

    :param custom_id: the id of the request
    :param error: why it failed; None if it succeeded
    :param status_code: the HTTP status of its response, or None
    :param request_id: the provider's id of the request, or None
    :param body: the body of the response, or None
    :param usage: its tokens, or None if the row does not have them
    :param response: the field ``response`` of the row, as it came
    """

    custom_id: str
    error: RowError | None
    status_code: int | None
    request_id: str | None
    body: Mapping[str, Any] | None
    usage: Usage | None
    response: Any

    @property
    def succeeded(self) -> bool:
        """Whether the request has a response and no error."""
        return self.error is None

    @property
    def answered(self) -> bool:
        """Whether the service may count the request as completed: it succeeded, or its HTTP status is 2xx."""
        return self.succeeded or (self.status_code is not None and 200 <= self.status_code < 300)

    @property
    def model(self) -> str | None:
        """The model that answered."""
        return _text((self.body or {}).get("model"))

    @property
    def content(self) -> str | None:
        """The text of the first choice (chat, completions), or all output text (Responses API); None without text.

        What a model was thinking is no part of it. The measure is ``output_text`` of the official client.
        """
        body = self.body or {}
        for choice in _items(body.get("choices")):
            message = choice.get("message")
            content = message.get("content") if isinstance(message, Mapping) else choice.get("text")
            return _text(content) or _join_texts(_items(content))
        messages = (item for item in _items(body.get("output")) if item.get("type") == "message")
        return _join_texts(part for message in messages for part in _items(message.get("content")))


class RowLine(NamedTuple):
    """A line of results that is a row.

    :param row: the row
    :param data: the decoded line
    :param unusual: what is unusual about the line; each text completes "3 rows have ..."
    """

    row: Row
    data: dict[str, Any]
    unusual: tuple[str, ...]


def read_row(line: bytes | None) -> RowLine:
    """Read a row from its line, also if only a lenient reader of JSON can read it.

    :param line: the line; None if it is too long to be read
    :raises ValueError: if it is no usable row. The message completes "line 3: ...", and quotes nothing of the line
    """
    if line is None:
        raise ValueError(TOO_LONG)
    data, unusual = decode_leniently(line)
    try:
        row = parse_row(data)
    except RecursionError:
        raise ValueError(TOO_DEEP) from None
    if not isinstance(data["custom_id"], str):
        unusual = (*unusual, "a custom_id that is a number")
    return RowLine(row, data, unusual)


def parse_row(data: Mapping[str, Any]) -> Row:
    """Parse a row, and decide whether its request succeeded; this is decided nowhere else.

    :param data: the decoded line; a ``custom_id`` that is a number is read as a text
    :raises ValueError: if it has no ``custom_id``
    """
    answer, decoded = _split_response(data.get("response"))
    body = decoded if isinstance(decoded, Mapping) else None
    return Row(
        custom_id=get_custom_id(data, accept_numbers=True),
        error=find_error(data.get("error"), status_code=answer.get("status_code"), body=decoded),
        status_code=read_count(answer.get("status_code")),
        request_id=_text(answer.get("request_id")),
        body=body,
        usage=_usage((body or {}).get("usage")),
        response=data.get("response"),
    )


def _split_response(response: object) -> tuple[Mapping[str, Any], object]:
    """Return a response and its decoded body. A text in its place may be the JSON of the response, or of the body."""
    decoded = _decode(response)
    if not isinstance(decoded, Mapping) or (decoded is not response and not decoded.keys() & {"body", "status_code"}):
        return {}, decoded
    return decoded, _decode(decoded.get("body"))


def _decode(value: object) -> object:
    """Return a value that is JSON in a text, as the batches provider of llama-stack writes a body, decoded."""
    if isinstance(value, str):
        with suppress(ValueError, RecursionError):
            return json.loads(value, strict=False)
    return value


def _usage(data: object) -> Usage | None:
    if not isinstance(data, Mapping):
        return None
    # The second name of each is that of the Responses API.
    prompt = _first_count(data, "prompt_tokens", "input_tokens")
    completion = _first_count(data, "completion_tokens", "output_tokens")
    total = read_count(data.get("total_tokens"))
    usage = Usage(
        prompt_tokens=prompt or 0,
        completion_tokens=completion or 0,
        total_tokens=(prompt or 0) + (completion or 0) if total is None else total,
        cached_tokens=_detail_count(data, "cached_tokens", "prompt_tokens_details", "input_tokens_details"),
        reasoning_tokens=_detail_count(data, "reasoning_tokens", "completion_tokens_details", "output_tokens_details"),
    )
    return usage if any(getattr(usage, f.name) for f in fields(usage)) else None


def _first_count(data: Mapping[str, Any], *names: str) -> int | None:
    return next((count for name in names if (count := read_count(data.get(name))) is not None), None)


def _detail_count(data: Mapping[str, Any], key: str, *names: str) -> int:
    details = (data.get(name) for name in names)
    return next((read_count(detail.get(key)) or 0 for detail in details if isinstance(detail, Mapping)), 0)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _items(value: object) -> Iterator[Mapping[str, Any]]:
    return (item for item in value if isinstance(item, Mapping)) if isinstance(value, list) else iter(())


def _join_texts(parts: Iterator[Mapping[str, Any]]) -> str | None:
    """Return the texts of the parts that are the answer. Other parts have what the model was thinking, or a refusal."""
    answers = (part for part in parts if part.get("type") in (None, "text", "output_text"))
    return "".join(text for part in answers if (text := _text(part.get("text")))) or None
