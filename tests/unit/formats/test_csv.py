"""CSV: the same rows however the bytes arrive, and a bad row is named by its place."""

import csv
import io
import re
from collections.abc import Generator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from time import process_time
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pyarrow.csv import write_csv

from actors.formats.block import BadRowError, Block
from actors.formats.csv import read
from actors.formats.input import Input, on_grid
from actors.formats.limits import Limits
from actors.formats.registry import read as read_format
from actors.formats.types import arrow_type
from events.batch import FileFault, Position
from rota.errors import TooLargeError
from rota.options import CsvOptions
from tests.contract.formats.case import Body

START = Position()
PLAIN = CsvOptions()


class Pieces(Input):
    """A file whose bytes are cut at the multiples of a few bytes instead of a few megabytes."""

    def __init__(self, body: bytes, grid: int = 16, limits: Limits | None = None) -> None:
        super().__init__(Body(body, "people.csv"), "none", limits)
        self._body = body
        self._grid = grid

    def chunks(self, offset: int = 0) -> Generator[bytes, None, None]:
        yield from on_grid(iter([self._body[offset:]]), offset, self._grid)


def rows(
    text: str | bytes, options: CsvOptions = PLAIN, start: Position = START, *, chunk_bytes: int = 16
) -> list[dict[str, Any]]:
    body = text.encode() if isinstance(text, str) else text
    blocks = read_format("csv", Pieces(body, chunk_bytes), options, start)
    return [row for block in blocks for row in block.table.to_pylist()]


def blocks_of(body: bytes, options: CsvOptions = PLAIN, *, chunk_bytes: int = 1000) -> list[Block]:
    return list(read(Pieces(body, chunk_bytes), options, START, None))


def faults(body: bytes, options: CsvOptions = PLAIN, *, chunk_bytes: int = 1000) -> list[FileFault]:
    return [fault for block in blocks_of(body, options, chunk_bytes=chunk_bytes) for fault in block.bad]


def fault(text: str, options: CsvOptions = PLAIN, *, chunk_bytes: int = 16) -> FileFault:
    with pytest.raises(BadRowError) as caught:
        rows(text, options, chunk_bytes=chunk_bytes)
    return caught.value.fault


def test_the_header_names_the_columns_and_the_values_have_types() -> None:
    text = "id,name,price,on,at\n1,Ann,2.5,2026-03-01,2026-03-01 12:30:00\n"

    assert rows(text, chunk_bytes=1000) == [
        {"id": 1, "name": "Ann", "price": 2.5, "on": date(2026, 3, 1), "at": datetime(2026, 3, 1, 12, 30)}  # noqa: DTZ001 - the file names no zone
    ]


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

    assert [row["b"] for row in rows(text, chunk_bytes=9)] == [None, None, "7", "x"]


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
    assert found == FileFault(f"people.csv, line 4: {columns} columns, not 2: '{bad}'", line=4, text=bad, row=1)


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


def test_a_value_that_is_no_utf_8_is_a_bad_row_and_the_column_stays_text() -> None:
    body = "a,b\nM\u00fcller,1\nMeier,2\n".encode("latin-1")

    [block] = blocks_of(body)

    assert block.table.to_pylist() == [{"a": "Meier", "b": 2}]
    assert [fault.message for fault in block.bad] == [
        "people.csv, line 2, column a: 'M\ufffdller' is no UTF-8; the option encoding says how the file is written"
    ]
    assert rows(body, CsvOptions(encoding="latin-1")) == [{"a": "M\u00fcller", "b": 1}, {"a": "Meier", "b": 2}]


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
    blocks = list(read(Pieces(body, chunk_bytes), AS_TEXT, START, None))
    whole = [row for block in blocks for row in block.table.to_pylist()]

    for block in blocks:
        # A position is stored between two readers.
        start = msgspec.msgpack.decode(msgspec.msgpack.encode(block.start), type=Position)
        assert rows(body, AS_TEXT, start, chunk_bytes=chunk_bytes) == whole[start.row :]
        assert start.line == len(re.findall(rb"\r\n|\r|\n", body[: start.offset])) + 1


def test_types_stay_those_of_the_first_block_when_reading_goes_on_later() -> None:
    body = b"a,b\n1,2.5\n2,3\n3,4\n"
    first, *later = read(Pieces(body, 10), PLAIN, START, None)

    for block in later:
        resumed = next(read(Pieces(body, 10), PLAIN, block.start, block.table.schema))
        assert resumed.table.schema == first.table.schema


def test_a_bad_row_has_its_line_when_reading_goes_on_later() -> None:
    body = b"a,b\n1,2\n3,4\n5,6\n7\n"
    blocks = read(Pieces(body, 8), PLAIN, START, None)
    next(blocks)
    later = next(blocks)

    *_, last = read(Pieces(body, 8), PLAIN, later.start, later.table.schema)

    assert [fault.message for fault in last.bad] == ["people.csv, line 5: 1 columns, not 2: '7'"]


def test_a_quote_that_is_never_closed_is_a_bad_row() -> None:
    found = fault('a,b\n1,x\n2,"y\n3,z\n')

    assert found.line == 3
    assert found.message.startswith("people.csv, line 3: a quote is opened and never closed")


def test_a_quote_that_is_never_closed_is_found_in_one_pass_over_the_lines() -> None:
    text = 'a,b\n1,"5 pipe\n' + "2,x\n" * 500_000
    started = process_time()

    assert fault(text, chunk_bytes=4 * 1024 * 1024).line == 2

    assert process_time() - started < 10


@pytest.mark.parametrize("chunk_bytes", [1, 5, 1000])
def test_a_quote_inside_a_value_that_is_not_quoted_is_a_quote(chunk_bytes: int) -> None:
    text = 'a,b\n1,5" pipe\n2,3" x 4"\n3,"say ""x"""\n4,"x\n,"\n'

    assert [row["b"] for row in rows(text, chunk_bytes=chunk_bytes)] == ['5" pipe', '3" x 4"', 'say "x"', "x\n,"]


def test_text_behind_a_closing_quote_is_a_bad_row_since_it_may_be_two() -> None:
    [found] = faults(b'a,b\n1,"x\n2,"y"\n3,z\n')

    assert (found.line, found.row) == (2, 0)
    assert 'text stands behind a closing quote: \'1,"x\\n2,"y"\'' in found.message


@pytest.mark.parametrize("chunk_bytes", [1, 2, 7, 1000])
def test_lines_may_end_with_a_carriage_return_alone(chunk_bytes: int) -> None:
    body = b'a,b\r1,x\r2,"y\rz"\r\r3,q'

    assert rows(body, chunk_bytes=chunk_bytes) == [{"a": 1, "b": "x"}, {"a": 2, "b": "y\rz"}, {"a": 3, "b": "q"}]


def test_nothing_is_no_value_and_quotes_with_nothing_are_an_empty_text() -> None:
    assert rows(b'a,b\n1,\n,""\n"",x\n', chunk_bytes=1000) == [
        {"a": 1, "b": None},
        {"a": None, "b": ""},
        {"a": None, "b": "x"},
    ]


def test_a_text_that_looks_like_no_value_is_kept_in_a_column_of_texts_but_not_in_one_of_numbers() -> None:
    assert rows(b"a,b\nNA,NA\nx,1\n", chunk_bytes=1000) == [{"a": "NA", "b": None}, {"a": "x", "b": 1}]


def test_null_values_are_no_values_wherever_they_are_not_quoted_text() -> None:
    options = CsvOptions(null_values=["0", "-"])

    assert rows(b'a,b\n0,-\n"0","-"\n1,x\n', options, chunk_bytes=1000) == [
        {"a": None, "b": None},
        {"a": None, "b": "-"},
        {"a": 1, "b": "x"},
    ]


@pytest.mark.parametrize(
    ("values", "type_"),
    [
        (["18446744073709551615", "0"], "uint64"),
        (["18446744073709551616", "0"], "string"),
        (["9223372036854775808", "-1"], "string"),
        (["9007199254740993", "1.5"], "string"),
        (["100000000000000000000", "1.5"], "double"),
        (["nan", "1.5"], "double"),
        (["2026-01-01 10:00", "2026-01-01 10:00:00.5"], "timestamp[us]"),
        (["2026-01-01 10:00", "2026-01-01 10:00:00.123456789"], "timestamp[ns]"),
        (["2026-01-01 10:00Z", ""], "timestamp[us, tz=UTC]"),
        (["10:00", "10:00:01"], "time64[us]"),
        (["true", "False"], "bool"),
    ],
)
def test_the_types_that_are_seen(values: list[str], type_: str) -> None:
    [block] = blocks_of("".join(f"{value},1\n" for value in ["x", *values]).encode())

    assert str(block.table.schema.field("x").type) == type_
    assert not block.bad


def test_a_whole_number_that_a_later_block_would_round_is_a_bad_row() -> None:
    [found] = faults(b"a\n1.5\n2.5\n9007199254740993\n9007199254740992\n", chunk_bytes=10)

    assert found.message.startswith("people.csv, line 4, column a: '9007199254740993' is not exact as float64")


TYPED = [
    ("binary", b"\xff\x00", b"\xff\x00"),
    ("decimal(10,2)", b"1.50", Decimal("1.50")),
    ("decimal(60,2)", b"1.50", Decimal("1.50")),
    ("duration", b"5", timedelta(microseconds=5)),
    ("json", b'"{""a"": 1}"', '{"a": 1}'),
    ("time", b"10:00:00.5", time(10, 0, 0, 500000)),
    ("timestamp[UTC]", b"2026-01-01T12:00:00+02:00", datetime(2026, 1, 1, 10, tzinfo=UTC)),
    ("uint8", b"255", 255),
]


@pytest.mark.parametrize(("type_", "text", "value"), TYPED, ids=[type_ for type_, *_ in TYPED])
def test_the_types_that_can_be_asked_for(type_: str, text: bytes, value: object) -> None:
    options = CsvOptions(column_types={"a": type_})

    assert rows(b"a,b\n" + text + b",1\n,2\n", options, chunk_bytes=1000) == [
        {"a": value, "b": 1},
        {"a": None, "b": 2},
    ]


NO_VALUES = [
    ("bool", "yes"),
    ("date", "2026-02-29"),
    ("date", "2026-13-01"),
    ("decimal(4,2)", "1.234"),
    ("decimal(4,2)", "123"),
    ("decimal(60,2)", "x"),
    ("duration", "1s"),
    ("float64", "1,5x"),
    ("int64", "9223372036854775808"),
    ("int8", "-129"),
    ("json", "{"),
    ("time", "25:00"),
    ("timestamp", "2026-01-01T10:00Z"),
    ("timestamp[UTC]", "2026-01-01T10:00"),
    ("uint64", "18446744073709551616"),
    ("uint64", "-1"),
]


@pytest.mark.parametrize(("type_", "text"), NO_VALUES)
def test_a_value_that_is_none_of_its_type_is_a_bad_row_and_the_others_stay(type_: str, text: str) -> None:
    body = f'n,a\n1,\n2,"{text}"\n3,\n'.encode() if "," in text else f"n,a\n1,\n2,{text}\n3,\n".encode()
    [block] = blocks_of(body, CsvOptions(column_types={"a": type_}))

    assert block.table["n"].to_pylist() == [1, 3]
    [found] = block.bad
    assert (found.line, found.column, found.text, found.row) == (3, "a", text, 1)


def test_a_time_zone_that_is_not_there_is_an_error() -> None:
    with pytest.raises(BadRowError, match=r"timestamp\[Mars/Base\], which there is not"):
        rows("a\n1\n", CsvOptions(column_types={"a": "timestamp[Mars/Base]"}))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_very_many_bad_rows_are_in_several_blocks_from_which_reading_goes_on(encoding: str) -> None:
    text = "a,b\n1,1\n" + "".join(f"{n},x\n\n7,{n}\n8,ä,\n" for n in range(25_000))
    options = CsvOptions(column_types={"b": "int64"}, encoding=encoding)

    def blocks(start: Position, schema: pa.Schema | None) -> list[Block]:
        return list(read(Input(Body(text.encode(encoding))), options, start, schema))

    whole = blocks(START, None)

    assert [len(block.bad) for block in whole] == [20_000, 20_000, 10_000]
    assert sum(block.table.num_rows for block in whole) == 25_001
    for number, block in enumerate(whole):
        assert blocks(block.start, block.table.schema) == whole[number:]


def test_many_bad_rows_are_found_quickly() -> None:
    body = b"a,b\n1,1\n" + b"".join(b"%d,x%d\n5,2026\n" % (n, n) for n in range(150_000))
    started = process_time()

    blocks = list(read(Input(Body(body)), CsvOptions(column_types={"b": "int64"}), START, None))

    assert sum(len(block.bad) for block in blocks) == 150_000
    assert sum(block.table.num_rows for block in blocks) == 150_001
    assert process_time() - started < 10


def test_forms_of_dates_and_times_can_be_given() -> None:
    options = CsvOptions(column_types={"a": "date"}, timestamp_formats=["%d.%m.%Y", "%d.%m.%Y %H:%M"])
    [block] = blocks_of(b"a,b\n01.02.2026,01.02.2026 10:30\n01.02.2026 10:30,\n1.13.2026,\n", options)

    assert block.table.to_pylist() == [{"a": date(2026, 2, 1), "b": datetime(2026, 2, 1, 10, 30)}]  # noqa: DTZ001 - no zone
    assert [fault.line for fault in block.bad] == [3, 4]


def test_the_other_options() -> None:
    body = b'made by "x\n\nn;yes;p;z\n1,5;ja;a\\;b;1\n'
    options = CsvOptions(
        delimiter=";",
        escape="\\",
        skip_rows=2,
        decimal_point=",",
        true_values=["ja"],
        false_values=["nein"],
        columns=["p", "n", "yes"],
    )

    assert rows(body, options, chunk_bytes=1000) == [{"p": "a;b", "n": 1.5, "yes": True}]
    assert rows(b"1,x\n", CsvOptions(header=False)) == [{"column_1": 1, "column_2": "x"}]
    assert rows(b'a,b\n1,"x\n', CsvOptions(quote=None)) == [{"a": 1, "b": '"x'}]


@pytest.mark.parametrize(
    "wrong",
    [
        {"delimiter": "\u00a7"},
        {"delimiter": '"'},
        {"quote": "\n"},
        {"escape": ","},
        {"encoding": "no-such"},
        {"encoding": "unicode_escape"},
        {"encoding": "base64"},
        {"decimal_point": "1"},
        {"column_names": ["a", "a"]},
        {"columns": ["a", "a"]},
        {"timestamp_formats": ["d.m.y"]},
    ],
    ids=str,
)
def test_options_with_which_no_file_can_be_read_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(wrong, CsvOptions)


ENCODINGS = [
    "utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1", "cp1252", "shift_jis", "gb18030", "iso2022_jp",
    "utf-7", "cp037", "utf-8-sig",
]  # fmt: skip


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("chunk_bytes", [7, 64, 10_000])
def test_any_encoding_is_read_from_any_position(encoding: str, chunk_bytes: int) -> None:
    word = {"latin-1": "Zo\u00eb", "cp1252": "\u20ac", "cp037": "\u00fc"}.get(encoding, "\u8868\u4e88")
    lines = "".join(f'{n},"{word}\r\n""{n}"""\r\n' for n in range(12))
    body = f"n,{word}\r\n{lines}".encode(encoding)
    options = CsvOptions(encoding=encoding)
    blocks = blocks_of(body, options, chunk_bytes=chunk_bytes)
    whole = [row for block in blocks for row in block.table.to_pylist()]

    assert whole == [{"n": n, word: f'{word}\r\n"{n}"'} for n in range(12)]
    for block in blocks:
        again = read(Pieces(body, chunk_bytes), options, block.start, block.table.schema)
        assert [row for block in again for row in block.table.to_pylist()] == whole[block.start.row :]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_a_byte_order_mark_tells_the_encoding(encoding: str) -> None:
    assert rows("a,b\n1,\u00fc\n".encode(encoding), chunk_bytes=1000) == [{"a": 1, "b": "\u00fc"}]


@pytest.mark.parametrize(("encoding", "bad"), [("ascii", b"\xff"), ("shift_jis", b"\x81"), ("cp1252", b"\x81")])
def test_bytes_that_are_no_text_in_the_encoding_are_a_bad_row(encoding: str, bad: bytes) -> None:
    [block] = blocks_of(b"a,b\n1,x\n2," + bad + b"\n3,z\n", CsvOptions(encoding=encoding))

    assert block.table["a"].to_pylist() == [1, 3]
    assert [(fault.line, fault.column) for fault in block.bad] == [(3, "b")]


def test_zero_bytes_are_part_of_a_text() -> None:
    assert rows(b"a,b\n1,x\0y\n", chunk_bytes=1000) == [{"a": 1, "b": "x\0y"}]


def test_a_quote_that_is_never_closed_is_read_no_further_than_a_row_may_be_long() -> None:
    body = b'a,b\n1,x\n2,"' + b"y\n" * 1000
    taken: list[Block] = []
    with pytest.raises(BadRowError, match="line 3: a quote is opened and not closed within 100 bytes") as caught:
        taken += read(Pieces(body, 20, Limits(row_bytes=100)), PLAIN, START, None)

    assert (caught.value.fault.line, caught.value.fault.row) == (3, 1)


def test_more_columns_than_the_limit_are_an_error() -> None:
    with pytest.raises(TooLargeError, match="has 5 columns, more than 3"):
        list(read(Pieces(b"a,b,c,d,e\n", 1000, Limits(columns=3)), PLAIN, START, None))


def test_columns_that_are_renamed_are_told(caplog: pytest.LogCaptureFixture) -> None:
    rows("a,a,\n1,2,3\n", chunk_bytes=1000)

    assert caplog.messages == ["people.csv: columns with the same name or none are renamed: a_2, column_3"]


dialects = st.fixed_dictionaries(
    {
        "delimiter": st.sampled_from(",;|\t"),
        "quotechar": st.sampled_from("\"'"),
        "lineterminator": st.sampled_from(["\n", "\r\n", "\r"]),
        "quoting": st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL, csv.QUOTE_NONNUMERIC]),
        "doublequote": st.booleans(),
    }
)
any_text = st.text(st.sampled_from("ab,\"\n\r' \\;|\t\u00e9\0"), max_size=6)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(any_text, any_text), min_size=1, max_size=12), dialects, st.integers(1, 40))
def test_what_pythons_csv_writes_comes_back(
    some: list[tuple[str, str]], dialect: dict[str, Any], chunk_bytes: int
) -> None:
    if dialect["quoting"] != csv.QUOTE_ALL:
        # Before Python 3.13, csv writes a line end that is not the dialect's own without quotes.
        other = {"\n", "\r"} - set(dialect["lineterminator"])
        some = (
            [(re.sub(f"[{''.join(other)}]", "", a), re.sub(f"[{''.join(other)}]", "", b)) for a, b in some]
            if other
            else some
        )
    out = io.StringIO(newline="")
    escape = None if dialect["doublequote"] else "\\"
    csv.writer(out, escapechar=escape, **dialect).writerows([("a", "b"), *some])
    options = CsvOptions(
        delimiter=dialect["delimiter"],
        quote=dialect["quotechar"],
        escape=escape,
        column_types={"a": "string", "b": "string"},
    )
    found = rows(out.getvalue(), options, chunk_bytes=chunk_bytes)

    empty = None if dialect["quoting"] == csv.QUOTE_MINIMAL else ""
    assert [(row["a"], row["b"]) for row in found] == [(a or empty, b or empty) for a, b in some]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(-(2**63), 2**63 - 1), st.floats(), st.none() | any_text), min_size=1, max_size=9
    ),
    st.integers(1, 60),
)
def test_what_arrow_writes_comes_back(some: list[tuple[Any, ...]], chunk_bytes: int) -> None:
    types = {"a": "int64", "b": "float64", "c": "string"}
    table = pa.table(
        {
            name: pa.array([row[at] for row in some], arrow_type(type_))
            for at, (name, type_) in enumerate(types.items())
        }
    )
    out = io.BytesIO()
    write_csv(table, out)
    blocks = blocks_of(out.getvalue(), CsvOptions(column_types=types), chunk_bytes=chunk_bytes)

    assert not [fault for block in blocks for fault in block.bad]
    assert repr(pa.concat_tables([block.table for block in blocks]).to_pylist()) == repr(table.to_pylist())


any_csv = st.text(st.sampled_from('a1,"\n\r'), max_size=30)


@settings(max_examples=150, deadline=None)
@given(any_csv, st.integers(1, 12), st.sampled_from([None, "\\"]))
def test_rows_are_told_apart_as_the_parser_does(text: str, chunk_bytes: int, escape: str | None) -> None:
    options = CsvOptions(
        header=False, column_names=["x", "y"], column_types={"x": "string", "y": "string"}, escape=escape
    )
    body = text.encode()

    def taken(grid: int) -> tuple[list[dict[str, Any]], list[tuple[int | None, str | None]], str]:
        found: list[dict[str, Any]] = []
        bad: list[tuple[int | None, str | None]] = []
        try:
            for block in read(Pieces(body, grid), options, START, None):
                found += block.table.to_pylist()
                bad += [(fault.line, fault.message) for fault in block.bad]
        except BadRowError as error:
            return found, bad, str(error)
        return found, bad, ""

    assert taken(chunk_bytes) == taken(1000)


@pytest.mark.parametrize("chunk_bytes", [4, 7, 16])
def test_blocks_are_the_same_from_every_position_behind_long_rows(chunk_bytes: int) -> None:
    body = b"a,b\n" + b"".join(b'%d,"%s"\n' % (n, b"x\n" * (n * 7 % 40)) for n in range(40))
    blocks = blocks_of(body, chunk_bytes=chunk_bytes)

    for index, block in enumerate(blocks):
        again = read(Pieces(body, chunk_bytes), PLAIN, block.start, block.table.schema)
        assert [(one.start, one.table) for one in again] == [(one.start, one.table) for one in blocks[index:]]


@pytest.mark.parametrize("text", ["id,x\n1,2\n2,abc", "id,x\r1,2\r2,abc\r", "id,x\r\n1,2\r\n2,abc"])
def test_a_last_row_without_a_line_end_counts_when_types_are_seen(text: str) -> None:
    assert rows(text) == [{"id": 1, "x": "2"}, {"id": 2, "x": "abc"}]


def test_text_in_utf_16_without_a_mark_is_no_rows_of_nul_characters() -> None:
    assert "the option encoding may be utf-16-le" in fault("a\0,\0b\n").message
