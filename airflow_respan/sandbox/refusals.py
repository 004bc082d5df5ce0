"""How the service says no: the shapes of its errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web

MOST_METADATA, LONGEST_KEY, LONGEST_VALUE = 16, 64, 512
"""What OpenAI, to which metadata is passed on, takes of it."""


def error(status: int, message: str) -> web.Response:
    """Make an error in the shape that the service gives this status."""
    told: Any = message if status == 401 else {"message": message, "type": "invalid_request_error"}
    return web.json_response({"error": told}, status=status)


def invalid(name: str, message: str) -> web.Response:
    """Make the error of a field that is missing or wrong."""
    return web.json_response({"detail": "Validation failed", "errors": {name: [message]}}, status=422)


def no_file(file_id: str) -> web.Response:
    """Make the error of a file that is not there."""
    return error(404, f"No such file: {file_id}")


def of_metadata(metadata: object) -> web.Response | None:
    """Refuse metadata that is not some short texts; None if it is."""
    if metadata is None:
        return None
    if not isinstance(metadata, Mapping) or not all(isinstance(value, str) for value in metadata.values()):
        return error(400, "Invalid type for 'metadata': expected an object with strings as its values.")
    if len(metadata) > MOST_METADATA:
        return error(400, f"Invalid 'metadata': at most {MOST_METADATA} keys are allowed, got {len(metadata)}.")
    for key, value in metadata.items():
        if len(key) > LONGEST_KEY or len(value) > LONGEST_VALUE:
            message = f"at most {LONGEST_KEY} characters in a key and {LONGEST_VALUE} in a value are allowed."
            return error(400, f"Invalid 'metadata.{key[:LONGEST_KEY]}': {message}")
    return None
