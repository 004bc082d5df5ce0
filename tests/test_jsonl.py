"""The lines of a file do not depend on the size of the chunks in which it is read."""

from __future__ import annotations

import io

import pytest

from airflow_respan.jsonl import read_lines


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_lines_do_not_depend_on_the_size_of_the_chunks(size: int) -> None:
    file = io.BytesIO(b"\xef\xbb\xbf{1}\r\n\n  \n{2}\n\xef\xbb\xbf\n{3}")

    assert list(read_lines(lambda _max_bytes: file.read(size))) == [
        (1, b"{1}\r"),
        (4, b"{2}"),
        (6, b"{3}"),
    ]
