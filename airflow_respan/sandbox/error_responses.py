"""The error responses of the service: the shape of each, and the rules for ``metadata``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web

MAX_METADATA_PAIRS, MAX_KEY_CHARACTERS, MAX_VALUE_CHARACTERS = 16, 64, 512
"""OpenAI's limits; Respan passes the metadata on to OpenAI."""


def make_error(status: int, message: str) -> web.Response:
    """Return an error in the shape that the service uses for this status."""
    error: Any = message if status == 401 else {"message": message, "type": "invalid_request_error"}
    return web.json_response({"error": error}, status=status)


def invalid_field(name: str, message: str) -> web.Response:
    """Return the error for a field that is missing or wrong."""
    return web.json_response({"detail": "Validation failed", "errors": {name: [message]}}, status=422)


def file_not_found(file_id: str) -> web.Response:
    """Return the error for a file that does not exist."""
    return make_error(404, f"No such file: {file_id}")


def check_metadata(metadata: object) -> web.Response | None:
    """Return the error for metadata that breaks OpenAI's limits, or None if it keeps them."""
    if metadata is None:
        return None
    if not isinstance(metadata, Mapping) or not all(isinstance(value, str) for value in metadata.values()):
        return make_error(400, "Invalid type for 'metadata': expected an object with strings as its values.")
    if len(metadata) > MAX_METADATA_PAIRS:
        message = f"at most {MAX_METADATA_PAIRS} keys are allowed, got {len(metadata)}."
        return make_error(400, f"Invalid 'metadata': {message}")
    for key, value in metadata.items():
        if len(key) > MAX_KEY_CHARACTERS or len(value) > MAX_VALUE_CHARACTERS:
            message = (
                f"at most {MAX_KEY_CHARACTERS} characters in a key and {MAX_VALUE_CHARACTERS} in a value are allowed."
            )
            return make_error(400, f"Invalid 'metadata.{key[:MAX_KEY_CHARACTERS]}': {message}")
    return None
