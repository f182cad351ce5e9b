"""Avro: the schema is the table's, blocks are checked for what they claim, and a bad value is one bad row."""

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.formats.avro_blocks import CODECS
from actors.formats.block import BadRowError
from actors.formats.input import Input
from actors.formats.limits import Limits
from actors.formats.registry import read
from rota.errors import TooLargeError
from rota.options import AvroOptions
from tests.contract.formats.avro import CASE, SCHEMA, SYNC, record, written
from tests.contract.formats.case import START, Body, blocks_of, rows_in, rows_of


def error_of(body: bytes, options: AvroOptions | None = None, limits: Limits | None = None) -> str:
    with pytest.raises((BadRowError, TooLargeError)) as caught:
        blocks_of(CASE, body, options=options, limits=limits)
    return str(caught.value)


def rows(schema: Any, values: list[Any]) -> list[Any]:
    return [
        row["x"] for row in rows_in(blocks_of(CASE, written(record(x=schema), [{"x": value} for value in values])))
    ]


@pytest.mark.parametrize("codec", CODECS)
def test_every_codec_is_read(codec: str) -> None:
    assert rows_in(blocks_of(CASE, written(SCHEMA, rows_of(100), codec))) == rows_of(100)


@pytest.mark.parametrize("codec", CODECS)
def test_a_block_that_is_cut_at_any_byte_is_an_error_after_the_rows_before(codec: str) -> None:
    body = written(SCHEMA, rows_of(8), codec, sync_interval=60)
    borders = {len(written(SCHEMA, rows_of(count), codec, sync_interval=60)) for count in range(9)}
    for end in range(len(body)):
        found: list[dict[str, Any]] = []
        try:
            for block in read("avro", Input(Body(body[:end])), AvroOptions(), START):
                found += block.table.to_pylist()
        except BadRowError:
            pass
        else:
            assert end in borders
        assert found == rows_of(len(found))


def test_a_large_block_is_read_in_parts_that_reading_goes_on_from() -> None:
    body = written(record(n="long"), [{"n": n} for n in range(40_000)], sync_interval=10_000_000)

    blocks = blocks_of(CASE, body)

    assert [block.table.num_rows for block in blocks] == [16_384, 16_384, 7232]
    for index in (1, 2):
        again = blocks_of(CASE, body, start=blocks[index].start, schema=blocks[index].table.schema)
        assert [(block.start, block.table) for block in again] == [
            (block.start, block.table) for block in blocks[index:]
        ]


def test_unions_are_the_type_that_holds_them_or_a_record_with_a_field_for_each() -> None:
    assert rows(["null", "int", "long"], [1, 2**40, None]) == [1, 2**40, None]
    assert rows(["int", "double"], [1, 2.5]) == [1.0, 2.5]
    assert rows(["string", {"type": "enum", "name": "E", "symbols": ["a"]}], ["x", "a"]) == ["x", "a"]
    assert rows(["null", record("In", a="int")], [{"a": 1}, None]) == [{"a": 1}, None]
    assert rows(["string", record("In", a="int"), record("Out", b="int")], ["s", {"a": 1}, {"b": 2}]) == [
        {"string": "s", "In": None, "Out": None},
        {"string": None, "In": {"a": 1}, "Out": None},
        {"string": None, "In": None, "Out": {"b": 2}},
    ]
    assert rows({"type": "array", "items": ["null", "string", "long"]}, [["a", 1, None]]) == [
        [{"string": "a", "long": None}, {"string": None, "long": 1}, None]
    ]


def test_logical_types_without_an_arrow_type_are_what_people_read() -> None:
    duration = {"type": "fixed", "name": "D", "size": 12, "logicalType": "duration"}
    id_ = UUID("12345678-1234-5678-1234-567812345678")

    assert rows(duration, [bytes([1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0])]) == [
        {"months": 1, "days": 2, "milliseconds": 3}
    ]
    assert rows({"type": "string", "logicalType": "uuid"}, [id_]) == [str(id_)]
    assert rows({"type": "fixed", "name": "U", "size": 16, "logicalType": "uuid"}, [id_.bytes]) == [str(id_)]


def test_a_moment_that_python_cannot_hold_stays_what_it_is() -> None:
    body = written(record(x="long"), [{"x": 10**15}])
    schema = record(x={"type": "long", "logicalType": "timestamp-millis"})
    moved = written(schema, []) + body[len(written(record(x="long"), [])) :]

    [block] = blocks_of(CASE, moved)

    assert block.table["x"].cast(pa.int64()).to_pylist() == [10**15]


def test_text_that_is_no_utf_8_is_a_bad_row() -> None:
    texts = [b"ok", b"\xff\xfe", b"fine"]
    body = written(record(x="bytes"), [{"x": text} for text in texts])
    moved = written(record(x="string"), []) + body[len(written(record(x="bytes"), [])) :]

    blocks = blocks_of(CASE, moved, bad_rows="skip")

    assert rows_in(blocks) == [{"x": "ok"}, {"x": "fine"}]
    [fault] = blocks[0].bad
    assert (fault.row, fault.column) == (1, "x")


def test_rows_that_are_no_records_have_one_column() -> None:
    assert rows_in(blocks_of(CASE, written("long", [1, 2]))) == [{"value": 1}, {"value": 2}]


def test_columns_are_chosen() -> None:
    body = written(SCHEMA, rows_of(2))

    found = rows_in(blocks_of(CASE, body, options=AvroOptions(columns=["paid", "id"])))

    assert [list(row) for row in found] == [["paid", "id"]] * 2
    assert "names x; it has id, name, price, paid" in error_of(body, AvroOptions(columns=["x"]))


def test_schemas_that_no_table_can_have_are_errors() -> None:
    tree = record("Tree", left=["null", "Tree"])
    assert "holds itself" in error_of(written(tree, []))
    assert "without bytes" in error_of(written(record(x={"type": "array", "items": "null"}), []))
    two = ["string", {"type": "map", "values": "int"}, record("In", a="int")]
    assert "cannot be told apart" in error_of(written(record(x=two), []))


def test_a_schema_that_grows_by_being_named_again_is_an_error() -> None:
    fields = [{"name": "f0", "type": record("R0", a="long", b="long")}]
    for level in range(1, 20):
        inner = f"R{level - 1}"
        fields.append({"name": f"f{level}", "type": record(f"R{level}", a=inner, b=inner)})

    assert "more than 10000 columns" in error_of(written({"type": "record", "name": "Top", "fields": fields}, []))


def test_claims_of_more_rows_than_bytes_are_errors() -> None:
    head = written(record(x="null"), [])
    million = bytes([0x80, 0x89, 0x7A])
    assert "claims 1000000 rows in 0 bytes" in error_of(head + million + b"\x00" + SYNC)
    assert "claims 1000000 rows in 1 bytes" in error_of(written(record(x="int"), []) + million + b"\x02\x02" + SYNC)
    assert "no codec 'none'" in error_of(head.replace(b"\x08null", b"\x08none"))


def test_a_bomb_is_found_while_it_is_decompressed() -> None:
    body = written(record(x="bytes"), [{"x": bytes(100_000_000)}], "deflate")

    assert "by decompression" in error_of(body)


def test_moments_have_their_zone() -> None:
    moment = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)

    assert rows({"type": "long", "logicalType": "timestamp-micros"}, [moment]) == [moment]


RECORD = record(
    a="long",
    b=["null", "string"],
    c={"type": "array", "items": "double"},
    d={"type": "map", "values": "int"},
    e=["string", "boolean", "bytes"],
)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "a": st.integers(-(2**63), 2**63 - 1),
                "b": st.none() | st.text(),
                "c": st.lists(st.floats()),
                "d": st.dictionaries(st.text(), st.integers(-100, 100)),
                "e": st.text() | st.booleans() | st.binary(),
            }
        )
    ),
    st.integers(1, 200),
    st.sampled_from(sorted(CODECS)),
)
def test_rows_come_out_as_they_were_written(values: list[dict[str, Any]], interval: int, codec: str) -> None:
    names = {str: "string", bool: "boolean", bytes: "bytes"}
    empty = {"string": None, "boolean": None, "bytes": None}

    found = rows_in(blocks_of(CASE, written(RECORD, values, codec, sync_interval=interval)))

    assert [[row[name] for name in "abde"] for row in found] == [
        [row["a"], row["b"], list(row["d"].items()), {**empty, names[type(row["e"])]: row["e"]}] for row in values
    ]
    assert repr([row["c"] for row in found]) == repr([row["c"] for row in values])


def test_changed_bytes_never_end_the_process(tmp_path: Path) -> None:
    path = tmp_path / "rows.avro"
    path.write_bytes(written(RECORD, [{"a": 1, "b": "x", "c": [1.5], "d": {"k": 2}, "e": True}] * 3, "snappy"))

    done = subprocess.run(
        [sys.executable, "-m", "tests.unit.formats.mutations", "avro", str(path), "800"],
        check=False,
        capture_output=True,
        timeout=60,
        text=True,
    )

    assert done.returncode == 0, done.stderr[-2000:]
