"""The error in a response, in a row of results, or of a batch, in whichever shape a service sends it. No I/O.

Services nest errors (``{"error": {"error": {"message": ...}}}``), send lists of them, send them as JSON in a text, or
name the fields that are wrong.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from airflow_respan.api.counts import read_count

_NESTED = ("error", "errors", "message", "detail", "data")
_MESSAGES = ("message", "detail", "msg", "error_description", "reason", "description", "title")
_CODES = ("code", "type", "reason", "status", "status_code")
_MAX_DEPTH = 8
"""How deeply errors are nested at most; what is deeper is shown as it is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ServiceError:
    """An error of a service.

    :param code: the code or the type of the error, or None
    :param message: the text for people, perhaps empty
    :param line: the number of the input line that it is about, or None
    """

    code: str | None
    message: str
    line: int | None = None

    def __str__(self) -> str:
        line = "" if self.line is None else f" (line {self.line})"
        if self.code is None:
            return f"{self.message or 'no message'}{line}"
        return f"{self.code}{line}{': ' if self.message else ''}{self.message}"


def read_error(value: object, *, max_depth: int = _MAX_DEPTH) -> ServiceError | None:
    """Return the error in a decoded JSON value.

    :param value: what stands in the place of an error, of any type
    :param max_depth: how many levels are searched for a message
    :return: the error, or None if the value says that there is none: null, false, or empty
    """
    if isinstance(value, str):
        return _read_text(value, max_depth=max_depth)
    if not value:
        return None
    if isinstance(value, list):
        return next(iter(read_errors(value, max_depth=max_depth - 1)), None)
    if isinstance(value, Mapping):
        fields = "; ".join(f"{name}: {_shown(text)}" for name, text in value.items() if text)
        found = _read_mapping(value, max_depth=max_depth)
        return found or (ServiceError(code=None, message=fields) if fields else None)
    return ServiceError(code=None, message=str(value))


def read_body(body: object) -> ServiceError | None:
    """Return the error in a whole response body, or None; fields without a known name are not an error.

    :param body: the decoded body, of any type
    """
    return _read_mapping(body, max_depth=_MAX_DEPTH) if isinstance(body, Mapping) else read_error(body)


def read_errors(values: Iterable[object], *, max_depth: int = _MAX_DEPTH) -> list[ServiceError]:
    """Return the errors in a list of decoded JSON values; those that say that there is no error are left out."""
    return [error for value in values if (error := read_error(value, max_depth=max_depth))]


def _read_text(text: str, *, max_depth: int) -> ServiceError | None:
    if text.lstrip().startswith(("{", "[")) and max_depth > 0:
        try:
            return read_error(json.loads(text), max_depth=max_depth - 1)
        except (ValueError, RecursionError):
            pass
    return ServiceError(code=None, message=text.strip()) if text.strip() else None


def _read_mapping(value: Mapping[str, object], *, max_depth: int) -> ServiceError | None:
    code = next((str(value[name]) for name in _CODES if _is_code(value.get(name))), None)
    outer = ServiceError(code=code, message="", line=read_count(value.get("line")))
    nested = (value[name] for name in _NESTED if isinstance(value.get(name), Mapping | list) and max_depth > 0)
    if found := next(filter(None, (read_error(each, max_depth=max_depth - 1) for each in nested)), None):
        return _within(outer, found)
    message = _message(value)
    if isinstance(text := value.get("error"), str) and text.strip():
        # {"error": "not_found", "message": "No such file."}, or {"error": "No such file."}
        return replace(outer, code=code or (text if message else None), message=message or text.strip())
    if message:
        found = _read_text(message, max_depth=max_depth - 1)
        return _within(outer, found) if found else replace(outer, message=message)
    return outer if code is not None else None


def _within(outer: ServiceError, found: ServiceError) -> ServiceError:
    return replace(found, code=found.code or outer.code, line=outer.line if found.line is None else found.line)


def _message(value: Mapping[str, object]) -> str | None:
    texts = (value.get(name) for name in _MESSAGES)
    return next((text.strip() for text in texts if isinstance(text, str) and text.strip()), None)


def _is_code(value: object) -> bool:
    return (isinstance(value, str) and bool(value.strip())) or (isinstance(value, int) and not isinstance(value, bool))


def _shown(value: object) -> str:
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ", ".join(value)
    try:
        return value if isinstance(value, str) else json.dumps(value, default=str)
    except RecursionError:
        return "(nested too deeply)"
