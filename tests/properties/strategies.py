"""Random data that a service might send, valid or not: JSON, batches, headers, bytes."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from airflow_respan.api.statuses import TERMINAL_STATUSES

KEY = "key/that+nobody_may-see=="
"""An API key with all the special characters that services use in their keys."""

BATCH_ID = "batch_abc123"

SEED: dict[str, Any] = {
    "id": BATCH_ID,
    "object": "batch",
    "endpoint": "/v1/chat/completions",
    "errors": {"object": "list", "data": [{"code": "invalid", "line": 3, "message": "Not JSON.", "param": None}]},
    "input_file_id": "file-abc123",
    "completion_window": "24h",
    "status": "completed",
    "output_file_id": "file-xyz789",
    "error_file_id": None,
    "created_at": 1711471533,
    "in_progress_at": 1711471538,
    "expires_at": 1711557933,
    "completed_at": 1711493163,
    "request_counts": {"total": 100, "completed": 95, "failed": 5},
    "metadata": {"description": "Customer analysis batch"},
}

texts = st.one_of(
    st.text(max_size=30),
    st.text(st.characters(categories=("Cc", "Cs", "Cf", "Zl", "Zp")), max_size=5),
    st.sampled_from(["", " ", "\0", "\ud83d", "two\nlines", "\x1b[31m", "batch_abc123", "completed", "NaN", "٣", KEY]),
)
numbers = st.one_of(
    st.integers(),
    st.floats(),
    st.sampled_from([0, -1, 2**31, 2**63, -(2**63) - 1, 10**400, 1e300, 0.5, 253402300800, 1711471533.9]),
)
scalars = st.one_of(st.none(), st.booleans(), numbers, texts)
keys = st.one_of(st.sampled_from([*SEED, "__classname__", "__data__", "__type", "__", "data", "error"]), texts)
json_values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(keys, inner, max_size=4)),
    max_leaves=12,
)


def deep(value: Any, depth: int) -> Any:
    """Return a value nested in so many lists and objects."""
    for level in range(depth):
        value = [value] if level % 2 else {"a": value}
    return value


anything = st.one_of(json_values, st.builds(deep, json_values, st.integers(15, 30)))
statuses = st.one_of(st.sampled_from([*sorted(TERMINAL_STATUSES), "in_progress", "queued"]), texts)


@st.composite
def batch_objects(draw: st.DrawFn) -> dict[str, Any]:
    """Build a batch object with fields removed, replaced and added."""
    batch = dict(SEED)
    for name in draw(st.lists(st.sampled_from([*SEED]), max_size=5)):
        batch.pop(name, None)
    batch.update(draw(st.dictionaries(keys, anything, max_size=4)))
    if draw(st.booleans()):
        batch |= {"id": BATCH_ID, "status": draw(statuses), "object": "batch"}
    return batch


pages = st.fixed_dictionaries(
    {"data": st.lists(st.one_of(batch_objects(), json_values), max_size=4)}, optional={"has_more": scalars}
)


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode()


NESTED = b'{"errors": {"x": ' + b"[" * 990 + b"]" * 990 + b"}}"
ECHO = as_json({**SEED, "error": f"You sent {KEY}", "errors": KEY, "metadata": {KEY: KEY}}).replace(b"/", b"\\/")
"""A batch, or an error, that repeats the API key, with slashes escaped as PHP writes them."""


@st.composite
def mutated(draw: st.DrawFn, of: st.SearchStrategy[bytes]) -> bytes:
    """Build bytes with some of them removed, replaced, repeated or inserted."""
    data = draw(of)
    for _ in range(draw(st.integers(0, 3))):
        begin, end = sorted((draw(st.integers(0, len(data))), draw(st.integers(0, len(data)))))
        data = (
            data[:begin]
            + draw(st.one_of(st.just(b""), st.binary(max_size=8), st.just(data[begin:end] * 2)))
            + data[end:]
        )
    return data


bodies = st.one_of(
    st.binary(max_size=60),
    st.sampled_from(
        [
            b"",
            b"null",
            b"\xef\xbb\xbf" + as_json(SEED),
            json.dumps(SEED).encode("utf-16"),
            b"[" * 5000,
            b"[" * 900 + b"]" * 900,
            b'{"detail": ' * 900 + b"1" + b"}" * 900,
            NESTED,
            b'{"retry_after": 1' + b"0" * 5000 + b"}",
            b'{"detail": 1e999, "retry_after": NaN}',
            b'{"id": "a", "id": "batch_abc123", "status": "failed", "status": "completed"}',
            b"<html>" + KEY.encode() * 50,
            ECHO,
        ]
    ),
    json_values.map(as_json),
    batch_objects().map(as_json),
    st.builds(lambda shape, inner: as_json({shape: inner}), st.sampled_from(["error", "detail", "errors"]), anything),
    mutated(batch_objects().map(as_json)),
)
http_statuses = st.one_of(
    st.sampled_from([200, 201, 301, 302, 307, 400, 401, 403, 404, 422, 424, 429, 500, 503]), st.integers(100, 999)
)
header_texts = st.one_of(
    st.text(max_size=30),
    numbers.map(str),
    st.datetimes().map(lambda moment: moment.strftime("%a, %d %b %Y %H:%M:%S GMT")),
    mutated(st.just(b"Thu, 01 Jan 2026 12:01:30 GMT")).map(lambda data: data.decode("latin-1")),
    st.sampled_from(
        [
            "Thu Jan  1 12:01:30 2026",
            "Thursday, 01-Jan-26 12:01:30 GMT",
            "Thu, 01 Jan 2026 12:01:30 -0000",
            "Thu, 01 Jan 2026 12:01:30 +9999",
            "Thu, 01 Jan 0001 00:00:00 +1400",
            "Fri, 31 Dec 9999 23:59:59 -1400",
            "1" + "0" * 5000,
            "1e999",
            "-inf",
            "nan",
            "٣٠",
            "/elsewhere",
            "//elsewhere.example/",
            "javascript:alert(1)",
            "https://me:secret@api.respan.ai/",
            "https://api.respan.ai:99999/",
            "http://[",
            "\udcff",
            f"https://{KEY}/",
        ]
    ),
)
headers = st.dictionaries(
    st.sampled_from(["retry-after", "x-ratelimit-reset", "location", "content-type"]), header_texts, max_size=3
)
