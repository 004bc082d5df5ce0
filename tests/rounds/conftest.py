"""A local Respan whose batches move by themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from airflow_respan.sandbox import RespanSandbox


@pytest.fixture
def moving(connect: Callable[..., None]) -> Iterator[RespanSandbox]:
    """A local Respan whose batches move at each look, with ``respan_default`` pointing at it."""
    with RespanSandbox(pace=0.0) as running:
        connect(host=running.url, password=running.api_key)
        yield running
