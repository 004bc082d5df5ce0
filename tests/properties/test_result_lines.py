"""Whatever lines a file of results has, each is a row, or a bad line that is kept; and the rows can be written."""

from __future__ import annotations

import io
import json
from typing import Any

import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st

from airflow_respan.api import failures
from airflow_respan.api.connection import RespanConnection
from airflow_respan.results.downloaded_file import DownloadedFile
from airflow_respan.results.parquet import ParquetRowWriter
from airflow_respan.results.summary import RowSummary
from tests.properties import strategies
from tests.properties.strategies import KEY, as_json

CONNECTION = RespanConnection(conn_id="respan_default", api_key=KEY)


@st.composite
def rows(draw: st.DrawFn) -> bytes:
    """Build a row with some values of its fields, and perhaps other bytes."""
    body = draw(st.one_of(strategies.anything, st.dictionaries(strategies.texts, strategies.anything, max_size=3)))
    response = {"status_code": draw(st.one_of(st.just(200), strategies.scalars)), "body": body}
    row = {"custom_id": draw(st.one_of(st.sampled_from("abc"), strategies.scalars)), "response": response}
    row |= draw(st.dictionaries(st.sampled_from(["error", "response"]), strategies.anything, max_size=1))
    return draw(strategies.mutated(st.just(as_json(row))))


lines = st.one_of(rows(), strategies.bodies, st.sampled_from([b"", b" \r", b"\xef\xbb\xbf"]))


@given(st.lists(lines, max_size=6).map(b"\n".join))
def test_each_line_is_a_row_that_can_be_written_or_a_bad_line(content: bytes) -> None:
    file = DownloadedFile("file 'file-1'", io.BytesIO(content))
    summary = RowSummary(redact=lambda text: failures.redact_for_display(CONNECTION, text))
    parquet, good, bad = io.BytesIO(), io.BytesIO(), io.BytesIO()
    writer = ParquetRowWriter(parquet, CONNECTION.redact)

    count = 0
    for row in summary.read(file):
        writer.add(row)
        count += 1
    writer.close()
    file.copy_good_lines(good)
    file.copy_bad_lines(bad)

    table: list[dict[str, Any]] = pq.read_table(io.BytesIO(parquet.getvalue())).to_pylist()
    assert count == summary.rows == len(table)
    for each in table:
        json.loads(each["response"] or "null", parse_constant=lambda name: 1 / 0)
    assert len(good.getvalue()) + len(bad.getvalue()) - len(content) in (0, 1)  # a line end may have been added
    again = RowSummary(redact=str)
    assert len(list(again.read(DownloadedFile("the good lines", io.BytesIO(good.getvalue()))))) == count
    assert again.bad_rows.count == 0
    report = json.dumps([summary.errors(), summary.bad_rows.to_dict(), summary.unusual(), summary.usage()])
    assert KEY not in report + summary.bad_rows.message()
