"""Makes JSON from outside safe to store in XCom, in a trigger's event, and in every database. No I/O."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

MAX_INT = 2**63
MAX_DEPTH = 20
MAX_CACHED_KEY_LENGTH = 100
TOO_DEEP = f"(nested more than {MAX_DEPTH} deep)"


def sanitize_json(value: Any, *, depth: int = 0) -> Any:
    """Return a decoded JSON value without the values that Airflow or a database cannot store.

    On Airflow 3.3.2, a lone surrogate, an integer beyond 64 bits, NaN, or a key that starts with two underscores
    fails the task, and in a trigger's event it ends the whole triggerer. PostgreSQL cannot store a NUL character.

    :param value: a value that ``json.loads`` returned
    :param depth: how deep the value is nested; for the recursion
    :return: the same value, except: lone surrogates and NULs are replaced by ``?``, larger integers become hexadecimal
        text, NaN and infinity become None, ``__key`` becomes ``_key``, and values below :data:`MAX_DEPTH` become a text
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        is_safe = value.isascii() and "\0" not in value  # a fast check, true for nearly all texts
        return value if is_safe else value.encode("utf-8", "replace").decode().replace("\0", "?")
    if isinstance(value, int):
        # hex(), because str() raises ValueError for more than 4,300 decimal digits.
        return value if -MAX_INT <= value < MAX_INT else hex(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict) and depth < MAX_DEPTH:
        return {_safe_key(str(key)): sanitize_json(item, depth=depth + 1) for key, item in value.items()}
    return [sanitize_json(item, depth=depth + 1) for item in value] if depth < MAX_DEPTH else TOO_DEEP


def _safe_key(key: str) -> str:
    # Many objects have the same few keys. Long ones are not kept: a response may have thousands of them.
    return _cached_safe_key(key) if len(key) <= MAX_CACHED_KEY_LENGTH else _make_safe_key(key)


def _make_safe_key(key: str) -> str:
    text: str = sanitize_json(key)
    return f"_{text.lstrip('_')}" if text.startswith("__") else text


_cached_safe_key = lru_cache(maxsize=1024)(_make_safe_key)
