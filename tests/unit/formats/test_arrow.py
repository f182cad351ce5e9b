"""Arrow: files and streams, whose rows stand by themselves, and whose lies are found before they are believed."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.formats.block import BadRowError
from actors.formats.input import Input
from actors.formats.limits import Limits
from actors.formats.registry import read
from rota.errors import TooLargeError
from rota.options import ArrowOptions
from tests.contract.formats.arrow import CASE
from tests.contract.formats.case import START, Body, blocks_of, rows_in, rows_of

TABLE = pa.Table.from_pylist(rows_of(12))


def stream(table: pa.Table, rows: int | None = None, **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table, rows)
    return bytes(sink.getvalue())


def file(table: pa.Table, rows: int | None = None, **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table, rows)
    return bytes(sink.getvalue())


def error_of(body: bytes, options: ArrowOptions | None = None, limits: Limits | None = None) -> str:
    with pytest.raises((BadRowError, TooLargeError)) as caught:
        blocks_of(CASE, body, options=options, limits=limits)
    return str(caught.value)


@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
@pytest.mark.parametrize("write", [stream, file])
def test_files_and_streams_are_told_apart_and_may_be_compressed(write: Any, compression: str | None) -> None:
    assert rows_in(blocks_of(CASE, write(TABLE, 5, compression=compression))) == TABLE.to_pylist()


@pytest.mark.parametrize("write", [stream, file])
def test_a_dictionary_is_decoded_wherever_it_is(write: Any) -> None:
    letters = pa.array(["x", "y", None, "x"]).dictionary_encode()
    table = pa.table(
        {
            "plain": letters,
            "list": pa.ListArray.from_arrays([0, 2, 2, 3, 4], letters),
            "record": pa.StructArray.from_arrays([letters], ["a"]),
            "view": pa.array(["long enough to be out of line", "b", None, ""], pa.string_view()),
            "run": pa.RunEndEncodedArray.from_arrays([3, 4], ["p", "q"]),
        }
    )
    if write is file:
        table = table.drop_columns(["run"])

    [block] = blocks_of(CASE, write(table))

    assert block.table.to_pylist() == table.to_pylist()
    assert block.table.schema.field("plain").type == pa.string()
    assert block.table.schema.field("list").type == pa.list_(pa.string())
    assert block.table.schema.field("record").type == pa.struct([("a", pa.string())])
    assert block.table.schema.field("view").type == pa.string()


@pytest.mark.parametrize("deltas", [False, True], ids=["replaced", "grown"])
def test_dictionaries_that_change_hold_from_each_checkpoint(deltas: bool) -> None:  # noqa: FBT001 - a parameter
    words = [["a", "b"], ["a", "b", "c"], ["a", "b", "c", "d"]]
    tables = [pa.table({"x": pa.DictionaryArray.from_arrays([0, 1, len(some) - 1], some)}) for some in words]
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(emit_dictionary_deltas=deltas)
    with pa.ipc.new_stream(sink, tables[0].schema, options=options) as writer:
        for table in tables:
            writer.write_table(table)
    body = bytes(sink.getvalue())

    blocks = blocks_of(CASE, body)

    assert [row["x"] for row in rows_in(blocks)] == ["a", "b", "b", "a", "b", "c", "a", "b", "d"]
    for index, block in enumerate(blocks):
        assert rows_in(blocks_of(CASE, body, start=block.start)) == rows_in(blocks[index:])


@pytest.mark.parametrize("write", [stream, file])
def test_a_large_record_batch_becomes_blocks_that_reading_goes_on_from(write: Any) -> None:
    table = pa.table({"n": range(200_000), "text": ["x" * 20] * 200_000})
    body = write(table, 150_000)

    blocks = blocks_of(CASE, body)

    assert len(blocks) == 4
    assert pa.concat_tables([block.table for block in blocks]).equals(table)
    for index in (1, 2, 3):
        again = blocks_of(CASE, body, start=blocks[index].start, schema=blocks[index].table.schema)
        assert [(block.start, block.table) for block in again] == [
            (block.start, block.table) for block in blocks[index:]
        ]


def test_a_dictionary_of_large_values_becomes_small_blocks() -> None:
    table = pa.table({"x": pa.DictionaryArray.from_arrays(pa.array([0] * 1000, pa.int32()), ["v" * 1_000_000])})

    blocks = blocks_of(CASE, stream(table))

    assert sum(block.table.num_rows for block in blocks) == 1000
    assert max(block.table.nbytes for block in blocks) <= 33_000_000


def test_columns_are_chosen_in_the_order_of_the_option() -> None:
    for write in (stream, file):
        [block] = blocks_of(CASE, write(TABLE), options=ArrowOptions(columns=["paid", "id"]))

        assert block.table.column_names == ["paid", "id"]
        assert block.table.equals(TABLE.select(["paid", "id"]))
    assert "names nothing; it has id, name, price, paid" in error_of(file(TABLE), ArrowOptions(columns=["nothing"]))


def test_names_that_come_twice_are_made_unique() -> None:
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2]), pa.array([3])], names=["a", "a", "a_2"])

    assert rows_in(blocks_of(CASE, stream(table))) == [{"a": 1, "a_3": 2, "a_2": 3}]
    assert rows_in(blocks_of(CASE, file(table), options=ArrowOptions(columns=["a_3"]))) == [{"a_3": 2}]


@pytest.mark.parametrize("write", [stream, file])
def test_a_file_that_is_cut_at_any_byte_gives_the_rows_before_and_an_error(write: Any) -> None:
    body = write(TABLE, 5)
    whole = TABLE.to_pylist()
    for end in range(len(body)):
        rows: list[dict[str, Any]] = []
        blocks = read("arrow", Input(Body(body[:end])), ArrowOptions(), START)
        with pytest.raises((BadRowError, TooLargeError)):
            rows.extend(row for block in blocks for row in block.table.to_pylist())
        assert rows == whole[: len(rows)]


def test_a_stream_without_the_marker_of_its_end_is_an_error_after_its_rows() -> None:
    assert "without the marker of its end" in error_of(stream(TABLE)[:-8])


def test_bytes_behind_the_end_are_an_error() -> None:
    assert "bytes follow the marker of the stream's end" in error_of(stream(TABLE) * 2)


def test_feather_1_is_an_error_that_says_what_to_do() -> None:
    assert "write it as version 2" in error_of(b"FEA1" + bytes(100) + b"FEA1")


def test_a_footer_that_leaves_record_batches_out_is_an_error() -> None:
    long, short = file(TABLE, 3), file(TABLE.slice(0, 9), 3)
    size = int.from_bytes(short[-10:-6], "little")

    assert "the footer does not list" in error_of(long[: long.rindex(b"ARROW1") - 4] + short[-10 - size :])


def test_lies_about_lengths_are_errors() -> None:
    body = stream(TABLE)
    assert "metadata claims 2147483647 bytes" in error_of(body[:4] + b"\xff\xff\xff\x7f" + body[8:])
    assert "deep" in error_of(stream(pa.table({"x": pa.array([], nested(70))})))
    assert "at most 3 are read" in error_of(stream(TABLE), limits=Limits(columns=3))
    assert "at most 100 are read" in error_of(stream(TABLE), limits=Limits(batch_bytes=100))


def test_a_bomb_is_found_before_it_is_decompressed() -> None:
    bomb = stream(pa.table({"x": pa.array([0] * 20_000_000, pa.int64())}), compression="zstd")

    assert "times of what it has compressed" in error_of(bomb)


def nested(depth: int) -> pa.DataType:
    type_ = pa.int8()
    for _ in range(depth):
        type_ = pa.list_(type_)
    return type_


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 2**64 - 1), st.none() | st.text(), st.lists(st.floats(width=32)), st.binary())
    ),
    st.integers(1, 7),
    st.booleans(),
)
def test_rows_come_out_as_they_were_written(rows: list[Any], batch: int, as_file: bool) -> None:  # noqa: FBT001 - drawn
    schema = pa.schema([("a", pa.uint64()), ("b", pa.string()), ("c", pa.list_(pa.float32())), ("d", pa.binary())])
    table = pa.Table.from_arrays(
        [pa.array([row[index] for row in rows], field.type) for index, field in enumerate(schema)], schema=schema
    )

    blocks = blocks_of(CASE, (file if as_file else stream)(table, batch))

    assert repr(rows_in(blocks)) == repr(table.to_pylist())


@pytest.mark.parametrize("write", [stream, file])
def test_changed_bytes_never_end_the_process(write: Any, tmp_path: Path) -> None:
    letters = pa.array(["x", "y", None, "x"])
    table = pa.table(
        {
            "a": letters.dictionary_encode(),
            "b": letters.cast(pa.string_view()),
            "c": [[1, 2], None, [], [3]],
            "d": [{"x": 1, "y": "z"}] * 4,
        }
    )
    path = tmp_path / "rows.arrow"
    path.write_bytes(write(table, 2) if write is stream else write(table))

    done = subprocess.run(
        [sys.executable, "-m", "tests.unit.formats.mutations", "arrow", str(path), "400"],
        check=False,
        capture_output=True,
        timeout=60,
        text=True,
    )

    assert done.returncode == 0, done.stderr[-2000:]
