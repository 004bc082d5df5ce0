"""Foreign JSON, made into what XCom, a trigger's event and every database can keep. No I/O, no Airflow."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

MAX_INT = 2**63
MAX_DEPTH = 20
TOO_DEEP = f"(nested more than {MAX_DEPTH} deep)"


def sanitize_json(value: Any, *, depth: int = 0) -> Any:
    """Give a decoded JSON value without what would break its way through Airflow.

    Seen on 3.3.2: a lone surrogate, an integer beyond 64 bits, NaN, or a key that Airflow's serialisation has
    reserved fails the task, and in the event of a trigger ends the whole triggerer. PostgreSQL keeps no NUL.

    :param value: anything that ``json.loads`` gives
    :return: the same, but for: lone surrogates and NULs replaced, wide integers as text, NaN and infinity as None,
        ``__key`` as ``_safe_key``, and what is nested too deeply as text
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        is_plain = value.isascii() and "\0" not in value  # as nearly all is, and there may be much
        return value if is_plain else value.encode("utf-8", "replace").decode().replace("\0", "?")
    if isinstance(value, int):
        # hex() and not str(): Python refuses to write more than 4,300 decimal digits.
        return value if -MAX_INT <= value < MAX_INT else hex(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict) and depth < MAX_DEPTH:
        return {_safe_key(str(key)): sanitize_json(item, depth=depth + 1) for key, item in value.items()}
    return [sanitize_json(item, depth=depth + 1) for item in value] if depth < MAX_DEPTH else TOO_DEEP


@lru_cache(maxsize=1024)  # there are many objects, with the same few keys
def _safe_key(key: str) -> str:
    text: str = sanitize_json(key)
    return f"_{text.lstrip('_')}" if text.startswith("__") else text
