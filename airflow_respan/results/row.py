"""What a line of a batch's output or error file says about one request. No I/O, no Airflow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

from airflow_respan.jsonl import get_custom_id


@dataclass(frozen=True, kw_only=True, slots=True)
class RowError:
    """Why a request failed.

    :param code: the service's word for it, or the HTTP status
    :param message: the service's own words, perhaps empty
    """

    code: str
    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    """The tokens of one request, under the names of chat completions, whatever its endpoint calls them."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """What came of one request.

    :param custom_id: the request's
    :param error: why it failed; None if it succeeded
    :param status_code: the HTTP status of its answer, or None
    :param request_id: the provider's id of it, or None
    :param body: the answer itself, or None
    :param usage: its tokens, or None if it does not say
    :param response: all that the row has of the answer
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
        """Whether the request has a good answer."""
        return self.error is None

    @property
    def model(self) -> str | None:
        """The model that answered."""
        return _text((self.body or {}).get("model"))

    @property
    def content(self) -> str | None:
        """The text of the answer's first choice, or all that a response puts out; None if there is no text."""
        body = self.body or {}
        for choice in _items(body.get("choices")):
            message = choice.get("message")
            found = message.get("content") if isinstance(message, Mapping) else choice.get("text")
            return _text(found) or _joined(_items(found))
        return _joined(part for item in _items(body.get("output")) for part in _items(item.get("content")))


def parse_row(data: Mapping[str, Any]) -> Row:
    """Read a row: the one place that says which request has succeeded.

    :param data: the decoded line
    :raises ValueError: if it belongs to no request
    """
    response = data.get("response")
    answer = response if isinstance(response, Mapping) else {}
    status, body = _count(answer.get("status_code")), answer.get("body")
    body = body if isinstance(body, Mapping) else None
    return Row(
        custom_id=get_custom_id(data),
        error=_error(data.get("error"), status, body),
        status_code=status,
        request_id=_text(answer.get("request_id")),
        body=body,
        usage=_usage((body or {}).get("usage")),
        response=response,
    )


def _error(error: object, status: int | None, body: Mapping[str, Any] | None) -> RowError | None:
    """Find why a request failed: nothing may speak against it, and there must be an answer, for a success."""
    if error := error or (body or {}).get("error"):
        if not isinstance(error, Mapping):
            return RowError(code=str(status or "error"), message=str(error))
        code = error.get("code") or error.get("type") or status or "error"
        return RowError(code=str(code), message=str(error.get("message") or ""))
    if status is not None and not 200 <= status < 300:
        said = (body or {}).get("message") or (body or {}).get("detail") or ""
        return RowError(code=str(status), message=str(said))
    return None if body else RowError(code="no_response", message="The row has neither an answer nor an error.")


def _usage(data: object) -> Usage | None:
    if not isinstance(data, Mapping):
        return None
    # The Responses API's names come second.
    prompt = _first(data, "prompt_tokens", "input_tokens")
    completion = _first(data, "completion_tokens", "output_tokens")
    total = _count(data.get("total_tokens"))
    usage = Usage(
        prompt_tokens=prompt or 0,
        completion_tokens=completion or 0,
        total_tokens=(prompt or 0) + (completion or 0) if total is None else total,
        cached_tokens=_detail(data, "cached_tokens", "prompt_tokens_details", "input_tokens_details"),
        reasoning_tokens=_detail(data, "reasoning_tokens", "completion_tokens_details", "output_tokens_details"),
    )
    return usage if any(getattr(usage, f.name) for f in fields(usage)) else None


def _first(data: Mapping[str, Any], *names: str) -> int | None:
    return next((count for name in names if (count := _count(data.get(name))) is not None), None)


def _detail(data: Mapping[str, Any], key: str, *names: str) -> int:
    details = (data.get(name) for name in names)
    return next((_count(found.get(key)) or 0 for found in details if isinstance(found, Mapping)), 0)


def _count(value: object) -> int | None:
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53
    return value if is_count else None  # type: ignore[return-value]  # mypy does not see through the name


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _items(value: object) -> Iterator[Mapping[str, Any]]:
    return (item for item in value if isinstance(item, Mapping)) if isinstance(value, list) else iter(())


def _joined(parts: Iterator[Mapping[str, Any]]) -> str | None:
    return "".join(text for part in parts if (text := _text(part.get("text")))) or None
