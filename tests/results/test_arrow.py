"""The rows of a landing as an Arrow stream, which is the same as the Parquet file."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_respan.exceptions import RespanStorageError
from airflow_respan.results import to_arrow
from airflow_respan.results.parquet import MAX_GROUP_ROWS, schema
from airflow_respan.sandbox import RespanSandbox
from tests.memory import peak_megabytes, reset_peak
from tests.operators.landings import add_batch, bad, good, jsonl, land


def test_the_table_is_that_of_the_parquet_file(connected: RespanSandbox, tmp_path: Path) -> None:
    output = jsonl(*(good(str(number), "Zoë \ud83d") for number in range(MAX_GROUP_ROWS + 1)))
    manifest = land(tmp_path, batch_id=add_batch(connected, output, jsonl(bad("x"))), parquet=True)["return_value"]

    reader = to_arrow(manifest)

    assert reader.schema.equals(schema())
    batches = list(reader)
    assert [batch.num_rows for batch in batches] == [MAX_GROUP_ROWS, 2]
    assert pa.Table.from_batches(batches).equals(pq.read_table(manifest["parquet_path"]))
    assert to_arrow(tmp_path).read_all().num_rows == MAX_GROUP_ROWS + 2


def test_an_empty_landing_is_an_empty_table(connected: RespanSandbox, tmp_path: Path) -> None:
    land(tmp_path, batch_id=add_batch(connected, b""))

    assert to_arrow(tmp_path).read_all().equals(schema().empty_table())


def test_a_line_that_is_not_a_row_is_a_row_with_an_error(tmp_path: Path) -> None:
    file = tmp_path / "output.jsonl"
    file.write_bytes(b"{no}\n" + jsonl(good("a")))

    odd, row = to_arrow(file).read_all().to_pylist()

    assert (row["custom_id"], row["content"]) == ("a", "Hello")
    assert {name: value for name, value in odd.items() if value is not None} == {
        "custom_id": "",
        "succeeded": False,
        "error_code": "invalid_row",
        "error_message": f"line 1 of {file}: not JSON (Expecting property name enclosed in double quotes, column 2)",
    }


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(RespanStorageError, match=rf"^FileNotFoundError: .* \(could not read {tmp_path}/none.jsonl\)"):
        to_arrow(tmp_path / "none.jsonl").read_all()


def test_the_table_is_read_in_constant_memory(tmp_path: Path) -> None:
    content = jsonl(*(good(str(number), "x" * 20_000) for number in range(100)))
    with (tmp_path / "output.jsonl").open("wb") as rows:
        for _ in range(100):
            rows.write(content)
    to_arrow(tmp_path / "output.jsonl").read_next_batch()

    before = reset_peak()
    count = sum(batch.num_rows for batch in to_arrow(tmp_path / "output.jsonl"))

    assert count == 10_000  # 200 MB
    assert peak_megabytes() - before < 64
