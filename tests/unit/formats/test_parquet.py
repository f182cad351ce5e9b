"""Parquet: row groups in parts, columns chosen by name, checksums verified, and footers that lie found out."""

import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.formats.block import BadRowError
from actors.formats.input import Input
from actors.formats.limits import Limits
from actors.formats.registry import read
from rota.errors import TooLargeError
from rota.options import ParquetOptions
from tests.contract.formats.case import START, Body, blocks_of, rows_in, rows_of
from tests.contract.formats.parquet import CASE

TABLE = pa.Table.from_pylist(rows_of(12))


def file(table: pa.Table, rows: int | None = None, **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, row_group_size=rows, **options)
    return bytes(sink.getvalue())


def error_of(body: bytes, options: ParquetOptions | None = None, limits: Limits | None = None) -> str:
    with pytest.raises((BadRowError, TooLargeError)) as caught:
        blocks_of(CASE, body, options=options, limits=limits)
    return str(caught.value)


@pytest.mark.parametrize("compression", ["none", "snappy", "gzip", "brotli", "zstd", "lz4"])
def test_pages_may_be_compressed(compression: str) -> None:
    assert rows_in(blocks_of(CASE, file(TABLE, compression=compression))) == TABLE.to_pylist()


def test_a_large_row_group_becomes_blocks_that_reading_goes_on_from() -> None:
    table = pa.table({"n": range(200_000), "text": ["x" * 20] * 200_000})
    body = file(table, 150_000)

    blocks = blocks_of(CASE, body)

    assert len(blocks) == 4
    assert pa.concat_tables([block.table for block in blocks]).equals(table)
    for index in range(1, len(blocks)):
        again = blocks_of(CASE, body, start=blocks[index].start, schema=blocks[index].table.schema)
        assert [(block.start, block.table) for block in again] == [
            (block.start, block.table) for block in blocks[index:]
        ]


def test_dictionaries_are_decoded() -> None:
    table = pa.table({"x": pa.array(["a", "b", None, "a"]).dictionary_encode()})

    [block] = blocks_of(CASE, file(table))

    assert block.table.schema == pa.schema([("x", pa.string())])
    assert block.table["x"].to_pylist() == ["a", "b", None, "a"]


def test_timestamps_of_96_bits_survive() -> None:
    table = pa.table({"x": pa.array([0, 1_700_000_000_123_456_789], pa.timestamp("ns"))})

    [block] = blocks_of(CASE, file(table, use_deprecated_int96_timestamps=True))

    assert block.table.equals(table)


def test_columns_and_fields_in_them_are_chosen() -> None:
    table = pa.table({"a": [1], "b": [{"c": 2, "d": {"e": 3, "f": 4}}], "g": ["x"], "h.i": [5]})
    body = file(table)

    def rows(*names: str) -> list[dict[str, Any]]:
        return rows_in(blocks_of(CASE, body, options=ParquetOptions(columns=list(names))))

    assert [list(row.items()) for row in rows("g", "a")] == [[("g", "x"), ("a", 1)]]
    assert rows("b.d.e") == [{"b": {"d": {"e": 3}}}]
    assert rows("b.c", "a") == [{"b": {"c": 2}, "a": 1}]
    assert rows("h.i") == [{"h.i": 5}]
    for missing in ("nothing", "b.nothing", "a.b", "b.c.d"):
        assert f"the option columns names {missing}; it has a, b, g, h.i" in error_of(
            body, ParquetOptions(columns=[missing])
        )


def test_names_that_come_twice_are_made_unique() -> None:
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])

    assert rows_in(blocks_of(CASE, file(table))) == [{"a": 1, "a_2": 2}]
    assert rows_in(blocks_of(CASE, file(table), options=ParquetOptions(columns=["a_2"]))) == [{"a_2": 2}]


@pytest.mark.parametrize("rows", [5, None])
def test_a_file_that_is_cut_at_any_byte_is_an_error(rows: int | None) -> None:
    body = file(TABLE, rows)
    for end in range(len(body)):
        with pytest.raises((BadRowError, TooLargeError)):
            blocks_of(CASE, body[:end])


def test_a_page_whose_checksum_is_wrong_is_an_error_after_the_rows_before() -> None:
    table = pa.table({"n": np.arange(2000)})
    body = bytearray(file(table, 1000, write_page_checksum=True, compression="none", use_dictionary=False))
    at = body.index(np.arange(1500, 1510).tobytes())
    body[at] ^= 1
    rows: list[dict[str, Any]] = []

    blocks = read("parquet", Input(Body(bytes(body))), ParquetOptions(), START)
    with pytest.raises(BadRowError, match=r"rows\.file, row group 2: could not verify page integrity") as caught:
        rows.extend(row for block in blocks for row in block.table.to_pylist())

    assert rows == [{"n": n} for n in range(1000)]
    assert caught.value.fault.row == 1000


def test_what_is_no_parquet_file_is_an_error_that_says_so() -> None:
    assert "no Parquet file" in error_of(b"a,b\n1,2\n")
    assert "encrypted" in error_of(b"PARE" + bytes(100) + b"PARE")
    assert "was cut" in error_of(b"PAR1" + bytes(100))
    assert "its footer claims 4294967295 bytes" in error_of(b"PAR1" + bytes(100) + b"\xff\xff\xff\xffPAR1")


def test_limits_hold() -> None:
    assert "at most 3 are read" in error_of(file(TABLE), limits=Limits(columns=3))
    zeros = file(pa.table({"x": np.zeros(20_000_000)}), 20_000_000, compression="zstd", use_dictionary=False)
    assert "by decompression" in error_of(zeros)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 2**64 - 1),
            st.none() | st.text(),
            st.lists(st.floats(width=32)),
            st.decimals(-1000, 1000, places=2),
        ),
    ),
    st.integers(1, 7),
)
def test_rows_come_out_as_they_were_written(
    rows: list[tuple[int, str | None, list[float], Decimal]], group: int
) -> None:
    schema = pa.schema(
        [("a", pa.uint64()), ("b", pa.string()), ("c", pa.list_(pa.float32())), ("d", pa.decimal128(8, 2))]
    )
    table = pa.Table.from_arrays(
        [pa.array([row[index] for row in rows], field.type) for index, field in enumerate(schema)], schema=schema
    )

    assert repr(rows_in(blocks_of(CASE, file(table, group)))) == repr(table.to_pylist())


def test_changed_bytes_never_end_the_process(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    path.write_bytes(file(pa.table({"a": [1, 2, None], "b": ["x", "", "y"], "c": [[1], [], None]}), 2))

    done = subprocess.run(
        [sys.executable, "-m", "tests.unit.formats.mutations", "parquet", str(path), "400"],
        check=False,
        capture_output=True,
        timeout=60,
        text=True,
    )

    assert done.returncode == 0, done.stderr[-2000:]
