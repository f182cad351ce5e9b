"""NDJSON: the fast way and the exact way give the same rows, and nothing is changed or lost in silence."""

import json
import time
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.formats import json_rows
from actors.formats.block import BadRowError, Block
from actors.formats.limits import Limits
from events.batch import FileFault
from rota.errors import TooLargeError
from rota.options import NdjsonOptions
from tests.contract.formats.case import blocks_of, rows_in
from tests.contract.formats.ndjson import CASE

DATA = Path(__file__).parents[2] / "data" / "ndjson"
UNIFORM = b"".join(b'{"id":%d,"x":%d.5,"name":"Zo\xc3\xab"}\n' % (n, n) for n in range(1000))

scalars = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
KINDS: list[st.SearchStrategy[Any]] = [
    st.integers(-(2**63), 2**63 - 1),
    st.integers(0, 2**64 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    texts,
    st.booleans(),
    st.lists(texts, max_size=3),
    st.lists(st.lists(st.integers(0, 9), max_size=2), max_size=2),
    st.fixed_dictionaries({"a": st.integers(0, 9)}, optional={"b": st.lists(texts, max_size=1)}),
]


@st.composite
def tables(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Rows whose columns have a type each, with values missing here and there."""
    names = draw(st.lists(texts, unique=True, max_size=4))
    columns = {name: draw(st.sampled_from(KINDS)) for name in names}
    return draw(
        st.lists(st.fixed_dictionaries({}, optional={n: k | st.none() for n, k in columns.items()}), max_size=8)
    )


def read(body: bytes, **how: Any) -> list[Block]:
    return blocks_of(CASE, body, bad_rows="quarantine", **how)


def faults(blocks: list[Block]) -> list[FileFault]:
    return [fault for block in blocks for fault in block.bad]


def without_nulls(value: Any) -> Any:
    """Return rows as JSON cannot tell them apart once they are columns: a missing member is null."""
    if isinstance(value, dict):
        return {name: without_nulls(member) for name, member in value.items() if member is not None}
    return [without_nulls(member) for member in value] if isinstance(value, list) else value


@settings(max_examples=60)
@given(
    tables(),
    st.sampled_from([{}, {"ensure_ascii": False}]),
    st.sampled_from([1, 3, 1 << 20]),
    st.sampled_from([1, 2, 1 << 15]),
)
def test_rows_come_back_however_they_are_written(
    rows: list[dict[str, Any]], form: dict[str, Any], piece: int, block_rows: int
) -> None:
    body = "\r\n".join(json.dumps(row, **form) for row in rows).encode()
    with pytest.MonkeyPatch().context() as patched:
        patched.setattr("actors.formats.ndjson.BLOCK_ROWS", block_rows)
        blocks = read(body, piece=piece)
        # A first block, which ends with a piece, may show a narrower type.
        assert not faults(blocks) or block_rows < len(rows) or piece < len(body)
        if not faults(blocks):
            assert without_nulls(rows_in(blocks)) == without_nulls(rows)
        for index, block in enumerate(blocks):
            again = read(body, piece=piece, start=block.start, schema=block.table.schema)
            assert [(one.start, *one.bad) for one in again] == [(one.start, *one.bad) for one in blocks[index:]]
            assert [one.table for one in again] == [one.table for one in blocks[index:]]


def test_the_fast_way_and_the_exact_way_give_the_same_table(monkeypatch: pytest.MonkeyPatch) -> None:
    [fast] = read(UNIFORM)
    monkeypatch.setattr(json_rows, "_is_native", lambda *_, **__: False)
    [exact] = read(UNIFORM)

    assert fast.table.equals(exact.table)
    assert fast.table.schema == exact.table.schema


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b'{"id":1,"x":9007199254740993,"name":"a"}', "column x"),
        (b'{"id":1,"x":-Infinity,"name":"a"}', "Infinity"),
        (b'{"id":1,"x":NaN,"name":"a"}', "NaN"),
        (b'{"id":1,"x":1e400,"name":"a"}', "infinity"),
        (b'{"id":1,"x":1,"name":"\xff"}', "UTF-8"),
        (b'{"id":1,"x":1,"name":"\\ud800"}', "surrogate"),
        (b'{"id":1,"id":1,"name":"a"}', "'id' comes twice"),
        (b'{"id":1,"\\u0069d":1,"name":"a"}', "'id' comes twice"),
        (b'{"id":1} {"id":2}', "after document"),
        (b'{"id":1},', "after document"),
        (b'{"id":"1"}', "column id"),
        (b'{"name":1}', "column name"),
    ],
)
def test_a_line_that_does_not_fit_among_others_that_do_is_the_only_bad_row(line: bytes, says: str) -> None:
    [block] = read(UNIFORM + line + b"\n" + UNIFORM)

    assert block.table.num_rows == 2000
    [fault] = block.bad
    assert (fault.line, fault.row) == (1001, 1000)
    assert fault.message.startswith("rows.file, line 1001")
    assert says in fault.message


def test_bad_rows_of_both_kinds_are_in_order() -> None:
    [block] = read(b'{"x":1}\nno\n{"x":"a"}\nno\n{"x":2}\n{"x":"b"}\nno\n')

    assert [(fault.line, fault.row) for fault in block.bad] == [(2, 1), (3, 1), (4, 1), (6, 2), (7, 2)]
    assert rows_in([block]) == [{"x": 1}, {"x": 2}]


def test_a_value_that_goes_over_two_lines_is_two_bad_rows() -> None:
    [block] = read(UNIFORM + b'{"id":1\n,"x":2.5}\n{"id":2}{"id":3}\n')

    assert block.table.num_rows == 1000
    assert [fault.line for fault in block.bad] == [1001, 1002, 1003]


def test_columns_and_fields_that_come_later_are_added() -> None:
    [block] = read(UNIFORM + b'{"id":1,"new":{"a":1}}\n')

    assert block.table.schema.names == ["id", "x", "name", "new"]
    assert block.table["new"].to_pylist()[-1] == {"a": 1}


def test_blank_lines_are_no_rows_but_count_as_lines() -> None:
    [block] = read(b'\xef\xbb\xbf\n{"x":1}\r\n  \t\n{"x":2}\nno\n')

    assert rows_in([block]) == [{"x": 1}, {"x": 2}]
    assert [fault.line for fault in block.bad] == [5]


def test_a_line_that_is_no_record_is_a_value() -> None:
    assert rows_in(read(b"1\n2\n")) == [{"value": 1}, {"value": 2}]


def test_chosen_columns_are_read_alone() -> None:
    [block] = read(UNIFORM, options=NdjsonOptions(columns=["name", "id"]))

    assert block.table.schema.names == ["name", "id"]
    assert block.table.num_rows == 1000


def test_no_field_of_a_chosen_record_is_left_out() -> None:
    body = b'{"a":{"b":1},"c":1}\n' * 500 + b'{"a":{"b":1,"d":2},"c":1}\n'
    [block] = read(body, options=NdjsonOptions(columns=["a"]))

    assert block.table["a"].to_pylist()[-1] == {"b": 1, "d": 2}


def test_a_column_can_be_json() -> None:
    [block] = read(b'{"x":1.10}\n{"x":"a"}\n{"x":[{}]}\n', options=NdjsonOptions(column_types={"x": "json"}))

    assert block.table["x"].to_pylist() == ["1.10", '"a"', "[{}]"]


def test_a_number_in_a_column_of_strings_keeps_its_digits() -> None:
    body = b'{"x":1.10,"y":1.5}\n{"x":"a"}\n{"x":12345678901234567890.25}\n'
    [block] = read(body, options=NdjsonOptions(column_types={"x": "string"}))

    assert block.table["x"].to_pylist() == ["1.10", "a", "12345678901234567890.25"]
    assert block.table["y"].to_pylist() == [1.5, None, None]


@pytest.mark.parametrize("end", [b'{"x":', b'{"x":"', b'{"x":"\xc3', b'{"x":tr', b'{"x":1', b'{"x":1.'])
def test_a_file_that_ends_in_a_value_is_an_error_even_if_bad_rows_are_passed_over(end: bytes) -> None:
    with pytest.raises(BadRowError, match=r"line 2: the file ends in the middle of a value") as caught:
        read(b'{"x":1}\n' + end)

    assert caught.value.fault.row == 1


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
def test_another_encoding_is_named(encoding: str) -> None:
    with pytest.raises(BadRowError, match=f"the file is {encoding[:6].upper()}"):
        read('{"x":1}\n'.encode(encoding))


def test_a_line_that_is_too_long_is_an_error_that_names_it() -> None:
    with pytest.raises(TooLargeError, match=r"rows\.file, line 3: it is longer than 100 bytes"):
        read(b'{"x":"a"}\n\n' + b"[" * 101, limits=Limits(row_bytes=100))


def test_deep_nesting_takes_no_time() -> None:
    started = time.monotonic()
    deep = b'{"x":' + b"[" * 200_000 + b"]" * 200_000 + b"}\n"
    blocks = read(UNIFORM + deep + b'{"y":' + b'{"a":' * 100 + b"1" + b"}" * 101 + b"\n")

    assert ["64 deep" in fault.message for fault in faults(blocks)] == [True, True]
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("name", ["pandas", "duckdb"])
def test_files_of_other_programs_are_read(name: str) -> None:
    body = (DATA / f"{name}.ndjson").read_bytes()

    assert rows_in(read(body)) == [orjson.loads(line) for line in body.splitlines()]


def test_the_largest_integer_of_another_program_is_exact() -> None:
    [block] = read((DATA / "duckdb.ndjson").read_bytes())

    assert block.table.schema.field("big").type == pa.uint64()
    assert block.table["big"][0].as_py() == 2**64 - 1
