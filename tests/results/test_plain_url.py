"""URLs without the connection, which other programs can open."""

from __future__ import annotations

import pytest

from airflow_respan.results.plain_url import plain_url


@pytest.mark.parametrize(
    ("uri", "url"),
    [
        ("s3://my_conn@bucket/results/output.jsonl", "s3://bucket/results/output.jsonl"),
        ("s3://bucket/results/output.jsonl", "s3://bucket/results/output.jsonl"),
        ("gs://my_conn@bucket/run=a@b/c?d#e%20f", "gs://bucket/run=a@b/c?d#e%20f"),
        ("sftp://user:pass@word@host:22/file", "sftp://host:22/file"),
        ("memory://my_conn@bucket", "memory://bucket"),
        ("/data/results/a@b/output.jsonl", "/data/results/a@b/output.jsonl"),
        ("results/output.jsonl", "results/output.jsonl"),
        ("file:///data/output.jsonl", "/data/output.jsonl"),
        ("file://my_conn@/data/output.jsonl", "/data/output.jsonl"),
    ],
)
def test_a_url_has_neither_a_connection_nor_a_password(uri: str, url: str) -> None:
    assert plain_url(uri) == url
