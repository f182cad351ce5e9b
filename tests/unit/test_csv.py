"""CSV: the same rows however the bytes arrive, and a bad row is named by its place."""

import csv
import io
import time
from collections.abc import Generator
from datetime import date, datetime
from typing import Any, cast

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from actors.formats.block import BadRowError
from actors.formats.csv import read
from actors.formats.registry import FORMATS
from actors.formats.registry import read as read_format
from actors.sources.file import SourceFile
from events.batch import FileFault, Position
from rota.protocol import CsvOptions

START = Position()
PLAIN = CsvOptions()


class File:
    """Bytes that arrive in small pieces."""

    path = "people.csv"

    def __init__(self, body: bytes, chunk_bytes: int = 16) -> None:
        self._body = body
        self._chunk_bytes = chunk_bytes

    def chunks(self, offset: int = 0) -> Generator[bytes, None, None]:
        for start in range(offset, len(self._body), self._chunk_bytes):
            yield self._body[start : start + self._chunk_bytes]


def as_source(body: bytes, chunk_bytes: int = 16) -> SourceFile:
    return cast("SourceFile", File(body, chunk_bytes))


def rows(
    text: str | bytes, options: CsvOptions = PLAIN, start: Position = START, *, chunk_bytes: int = 16
) -> list[dict[str, Any]]:
    body = text.encode() if isinstance(text, str) else text
    blocks = read(as_source(body, chunk_bytes), options, start)
    return [row for block in blocks for row in block.table.to_pylist()]


def fault(text: str, options: CsvOptions = PLAIN, *, chunk_bytes: int = 16) -> FileFault:
    with pytest.raises(BadRowError) as caught:
        rows(text, options, chunk_bytes=chunk_bytes)
    return caught.value.fault


def test_the_header_names_the_columns_and_the_values_have_types() -> None:
    text = "id,name,price,on,at\n1,Ann,2.5,2026-03-01,2026-03-01 12:30:00\n"

    assert rows(text, chunk_bytes=1000) == [
        {"id": 1, "name": "Ann", "price": 2.5, "on": date(2026, 3, 1), "at": datetime(2026, 3, 1, 12, 30)}  # noqa: DTZ001 - the file names no zone
    ]


def test_the_format_is_found_by_its_name() -> None:
    [block] = read_format("csv", as_source(b"a\n1\n"), PLAIN, START)

    assert list(FORMATS) == ["csv"]
    assert block.table.to_pylist() == [{"a": 1}]


@pytest.mark.parametrize("chunk_bytes", [1, 2, 7, 1000])
def test_a_byte_order_mark_is_dropped(chunk_bytes: int) -> None:
    assert rows("\ufeffa,b\n1,2\n", chunk_bytes=chunk_bytes) == [{"a": 1, "b": 2}]


@pytest.mark.parametrize("chunk_bytes", [1, 3, 8, 1000])
def test_lines_may_end_as_on_windows(chunk_bytes: int) -> None:
    assert rows("a,b\r\n1,x\r\n2,y\r\n", chunk_bytes=chunk_bytes) == [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]


@pytest.mark.parametrize("chunk_bytes", [1, 2, 5, 9, 1000])
def test_quoted_values_may_have_anything_across_the_borders_of_chunks(chunk_bytes: int) -> None:
    text = 'a,b\n"x\ny, ""z""",1\n"\n\n",2\n"""",3\n'

    assert rows(text, chunk_bytes=chunk_bytes) == [
        {"a": 'x\ny, "z"', "b": 1},
        {"a": "\n\n", "b": 2},
        {"a": '"', "b": 3},
    ]


@pytest.mark.parametrize("chunk_bytes", [1, 4, 1000])
def test_the_last_line_needs_no_end(chunk_bytes: int) -> None:
    assert rows("a,b\n1,2\n3,4", chunk_bytes=chunk_bytes) == [{"a": 1, "b": 2}, {"a": 3, "b": 4}]


@pytest.mark.parametrize("text", ["", "a,b\n", "a,b", "\ufeffa,b\r\n"], ids=["empty", "header", "no end", "mark"])
def test_a_file_without_rows_has_none(text: str) -> None:
    assert rows(text) == []


def test_a_blank_line_is_no_row() -> None:
    assert rows("a,b\n\n1,2\n\n\n3,4\n\n", chunk_bytes=1000) == [{"a": 1, "b": 2}, {"a": 3, "b": 4}]


@pytest.mark.parametrize(
    ("header", "names"),
    [
        ("a,a,b,a", ["a", "a_2", "b", "a_3"]),
        ("a,a,a_2", ["a", "a_3", "a_2"]),
        ("a_2,a,a", ["a_2", "a", "a_3"]),
        ("a,a_3,a,a", ["a", "a_3", "a_2", "a_4"]),
        ('"a b","a b"', ["a b", "a b_2"]),
        ("a,a_2,a,a_2", ["a", "a_2", "a_3", "a_2_2"]),
    ],
)
def test_a_name_that_comes_twice_is_made_unique(header: str, names: list[str]) -> None:
    [row] = rows(f"{header}\n{','.join('1' for _ in names)}\n", chunk_bytes=1000)

    assert list(row) == names


def test_a_quoted_header_may_have_newlines() -> None:
    assert rows('"first\nname",b\nAnn,1\n', chunk_bytes=3) == [{"first\nname": "Ann", "b": 1}]


def test_the_first_block_decides_the_types() -> None:
    found = fault("id,zip\n1,10115\n2,10117\n3,SW1A 1AA\n", chunk_bytes=18)

    assert (found.line, found.column, found.text) == (4, "zip", "SW1A 1AA")
    assert found.message == (
        "people.csv, line 4, column zip: 'SW1A 1AA' is no int64; "
        "the option column_types can make the column a string"
    )


def test_a_column_that_begins_empty_may_hold_anything_later() -> None:
    text = "a,b\n1,\n2,\n3,7\n4,x\n"

    assert [row["b"] for row in rows(text, chunk_bytes=9)] == ["", "", "7", "x"]


def test_a_type_that_is_asked_for_stands_above_what_is_seen() -> None:
    text = "zip,n\n01234,1\n00001,2\n"
    options = CsvOptions(column_types={"zip": "string", "n": "float64"})

    assert rows(text, options) == [{"zip": "01234", "n": 1.0}, {"zip": "00001", "n": 2.0}]


def test_a_value_that_does_not_fit_the_type_that_is_asked_for_is_a_bad_row() -> None:
    found = fault("a,b\n1,2\n3,x\n", CsvOptions(column_types={"b": "int64"}), chunk_bytes=1000)

    assert (found.line, found.column, found.text) == (3, "b", "x")


def test_a_type_for_a_column_that_is_not_there_names_the_columns_that_are() -> None:
    found = fault("a,b\n1,2\n", CsvOptions(column_types={"c": "int64"}))

    assert found.message == "people.csv: column_types names c; it has a, b"


@pytest.mark.parametrize("chunk_bytes", [4, 16, 1000])
@pytest.mark.parametrize(("bad", "columns"), [("3", 1), ("3,4,5", 3)], ids=["too few", "too many"])
def test_a_row_with_another_number_of_columns_is_named_by_line_and_text(
    chunk_bytes: int, bad: str, columns: int
) -> None:
    found = fault(f'a,b\n"1\n1",2\n{bad}\n5,6\n', chunk_bytes=chunk_bytes)

    # The quoted newline makes the bad row stand in line 4.
    assert found == FileFault(f"people.csv, line 4: {columns} columns, not 2: '{bad}'", line=4, text=bad)


def test_a_long_bad_value_is_shown_in_part() -> None:
    found = fault("a\n1\n" + "x" * 5000 + "\n", chunk_bytes=4)

    assert found.line == 3
    assert found.text == "x" * 200


def test_a_quote_that_is_not_closed_is_a_bad_row() -> None:
    assert fault('a,b\n1,2\n"3,4\n5,6\n', chunk_bytes=1000).line is not None


def test_what_separates_and_quotes_can_be_chosen() -> None:
    assert rows("a;b\n'x;y';1,5\n", CsvOptions(delimiter=";", quote="'")) == [{"a": "x;y", "b": "1,5"}]
    assert rows("a\tb\n1\t2\n", CsvOptions(delimiter="\t")) == [{"a": 1, "b": 2}]


def test_a_file_without_a_header_is_given_its_names() -> None:
    assert rows("1,x\n2,y\n", CsvOptions(column_names=["n", "s"])) == [{"n": 1, "s": "x"}, {"n": 2, "s": "y"}]
    assert rows("\ufeff1,x\n", CsvOptions(column_names=["n", "s"])) == [{"n": 1, "s": "x"}]


def test_what_stands_for_nothing_can_be_chosen() -> None:
    assert rows("a,b\n1,-\n-,2\n", CsvOptions(null_values=["-"]), chunk_bytes=1000) == [
        {"a": 1, "b": None},
        {"a": None, "b": 2},
    ]


def test_a_value_that_is_no_utf_8_stays_bytes_or_is_a_bad_row_and_is_never_changed() -> None:
    body = "a,b\nM\u00fcller,1\n".encode("latin-1")

    assert rows(body) == [{"a": b"M\xfcller", "b": 1}]
    with pytest.raises(BadRowError, match="invalid UTF8"):
        rows(body, CsvOptions(column_types={"a": "string"}))


text_values = st.text(st.sampled_from("ab,\"\n\r' é;"), max_size=6)
tables = st.lists(st.tuples(text_values, text_values), min_size=1, max_size=12)
AS_TEXT = CsvOptions(column_types={"a": "string", "b": "string"})


def written(some: list[tuple[str, str]]) -> bytes:
    out = io.StringIO(newline="")
    writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerows([("a", "b"), *some])
    return out.getvalue().encode()


@given(tables, st.integers(1, 40))
@example([("\r\n", '"')], 5)
def test_values_come_out_as_they_were_written(some: list[tuple[str, str]], chunk_bytes: int) -> None:
    found = rows(written(some), AS_TEXT, chunk_bytes=chunk_bytes)

    assert [(row["a"], row["b"]) for row in found] == some


@settings(max_examples=40)
@given(tables, st.integers(1, 40))
def test_reading_goes_on_from_every_position_with_the_same_rows(
    some: list[tuple[str, str]], chunk_bytes: int
) -> None:
    body = written(some)
    blocks = list(read(as_source(body, chunk_bytes), AS_TEXT, START))
    whole = [row for block in blocks for row in block.table.to_pylist()]

    for block in blocks:
        # A position is stored between two readers.
        start = msgspec.msgpack.decode(msgspec.msgpack.encode(block.start), type=Position)
        assert rows(body, AS_TEXT, start, chunk_bytes=chunk_bytes) == whole[start.row :]
        assert start.line == body.count(b"\n", 0, start.offset) + 1


def test_types_stay_those_of_the_first_block_when_reading_goes_on_later() -> None:
    body = b"a,b\n1,2.5\n2,3\n3,4\n"
    first, *later = read(as_source(body, 10), PLAIN, START)

    for block in later:
        resumed = next(read(as_source(body, 10), PLAIN, block.start))
        assert resumed.table.schema == first.table.schema


def test_a_bad_row_has_its_line_when_reading_goes_on_later() -> None:
    body = b"a,b\n1,2\n3,4\n5,6\n7\n"
    blocks = read(as_source(body, 8), PLAIN, START)
    next(blocks)
    later = next(blocks).start

    with pytest.raises(BadRowError, match="line 5: 1 columns, not 2: '7'"):
        list(read(as_source(body, 8), PLAIN, later))


def test_a_quote_that_is_never_closed_is_a_bad_row() -> None:
    found = fault('a,b\n1,x\n2,"y\n3,z\n')

    assert (found.line, found.message) == (3, "people.csv, line 3: a quote is opened and never closed")


def test_a_quote_that_is_never_closed_is_found_in_one_pass_over_the_lines() -> None:
    text = 'a,b\n1,5" pipe\n' + "2,x\n" * 500_000
    started = time.perf_counter()

    assert fault(text, chunk_bytes=4 * 1024 * 1024).line == 2

    assert time.perf_counter() - started < 10
