"""ODS: what a cell is, repetitions, sheets, and that no file costs more than its limits."""

from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.formats.block import BadRowError, Block
from actors.formats.input import Input
from actors.formats.limits import Limits
from actors.formats.ods import read
from events.batch import FileFault, Position
from rota.errors import TooLargeError
from rota.options import OdsOptions
from tests.contract.formats.case import Body
from tests.contract.formats.ods import ERROR, content, document, of_cells, table
from tests.unit.formats.test_xlsx import ROWS

START = Position()
ONE = 'office:value-type="float" office:value="1"'
STRING = 'office:value-type="string"'
DATA = Path(__file__).parents[2] / "data" / "ods"


def blocks(body: bytes, *, limits: Limits | None = None, start: Position = START, **options: Any) -> list[Block]:
    return list(read(Input(Body(body, "o.ods"), limits=limits), OdsOptions(**options), start))


def rows(body: bytes, **options: Any) -> list[dict[str, Any]]:
    found = blocks(body, **options)
    assert not [fault for block in found for fault in block.bad]
    return [row for block in found for row in block.table.to_pylist()]


def faults(body: bytes) -> list[FileFault]:
    return [fault for block in blocks(body) for fault in block.bad]


def cell(attributes: str = "", inner: str = "", *, times: int = 1) -> str:
    return f'<table:table-cell table:number-columns-repeated="{times}" {attributes}>{inner}</table:table-cell>'


def row(*cells: str, times: int = 1) -> str:
    return f'<table:table-row table:number-rows-repeated="{times}">{"".join(cells)}</table:table-row>'


def value(attributes: str, inner: str = "") -> Any:
    """Return what is read from one cell."""
    [found] = rows(of_cells(["a", "n"], [cell(attributes, inner), 1]))
    return found["a"]


@pytest.mark.parametrize("name", ["libreoffice.ods", "odfpy.ods"])
def test_files_of_other_programs_have_the_same_rows(name: str) -> None:
    assert rows((DATA / name).read_bytes()) == ROWS


@pytest.mark.parametrize(
    ("attributes", "inner", "expected"),
    [
        ('office:value-type="float" office:value="1"', "", 1),
        ('office:value-type="float" office:value="1234567890123456789"', "", 1234567890123456789),
        ('office:value-type="currency" office:currency="EUR" office:value="1.5"', "<text:p>1,50 €</text:p>", 1.5),
        ('office:value-type="percentage" office:value="0.25"', "<text:p>25 %</text:p>", 0.25),
        ('office:value-type="date" office:date-value="2026-05-01T09:30"', "", datetime(2026, 5, 1, 9, 30)),  # noqa: DTZ001 - a local one
        (
            'office:value-type="date" office:date-value="2026-05-01T09:30:00Z"',
            "",
            datetime(2026, 5, 1, 9, 30, tzinfo=UTC),
        ),
        ('office:value-type="time" office:time-value="PT09H30M00.5S"', "", time(9, 30, 0, 500_000)),
        ('office:value-type="time" office:time-value="-PT1H"', "", timedelta(hours=-1)),
        ('office:value-type="time" office:time-value="P2DT1H"', "", timedelta(hours=49)),
        ('office:value-type="string"', "<text:p>a</text:p><text:p>b</text:p>", "a\nb"),
        ('office:value-type="string"', '<text:p>a<text:s text:c="2"/>b<text:tab/>c</text:p>', "a  b\tc"),
        ('office:value-type="string"', "<text:p>x <text:span>y</text:span><text:a>z</text:a></text:p>", "x yz"),
        (
            'office:value-type="string"',
            "<office:annotation><text:p>note</text:p></office:annotation><text:p>a</text:p>",
            "a",
        ),
        ('office:value-type="string" office:string-value="stored"', "<text:p>shown</text:p>", "stored"),
        ('office:value-type="string"', "", ""),
        ("", "<text:p>without a type</text:p>", "without a type"),
        ('table:formula="of:=1+1" office:value-type="float" office:value="2"', "", 2),
    ],
)
def test_a_cell_has_its_value(attributes: str, inner: str, expected: Any) -> None:
    assert value(attributes, inner) == expected


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (ERROR, "'#DIV/0!' is an error value"),
        ('<table:table-cell table:formula="of:=A1"/>', "a formula without a stored value"),
        (
            cell('table:formula="of:=A1" office:value-type="float" office:value="0"', "<text:p>Err:502</text:p>"),
            "'Err:502' is an error value",
        ),
        ('<table:table-cell office:value-type="float" office:value="x"/>', "'x' is no number"),
        ('<table:table-cell office:value-type="date" office:date-value="2026-02-30"/>', "'2026-02-30' is no date"),
        ('<table:table-cell office:value-type="time" office:time-value="noon"/>', "'noon' is no time"),
        ('<table:table-cell office:value-type="boolean" office:boolean-value="maybe"/>', "'maybe' is no bool"),
        ('<table:table-cell office:value-type="complex"/>', "'complex' is a type that ODS does not have"),
    ],
)
def test_a_cell_without_a_value_is_a_bad_row(wrong: str, says: str) -> None:
    [fault] = faults(of_cells(["a", "n"], [wrong, 1]))

    assert fault.message.startswith("o.ods, sheet Orders, row 2, column a (A2): ")
    assert says in fault.message


def test_repeated_cells_and_rows_are_each_a_cell_and_a_row() -> None:
    again = row(cell('office:value-type="float" office:value="7"', times=40), times=40)
    gap = row(cell(times=16_384), times=1000)
    header = [f"c{n}" for n in range(40)]
    found = blocks(document(content(table([header, gap, again, gap]))))

    assert [row for block in found for row in block.table.to_pylist()] == [dict.fromkeys(header, 7)] * 40
    assert found[0].start.line == 1002


def test_empty_cells_between_others_keep_their_place() -> None:
    gap = cell(times=50)

    assert rows(of_cells(["a", gap, "b"], [1, gap, 2])) == [{"a": 1, "b": 2}]


def test_a_covered_cell_is_empty() -> None:
    merged = cell(f'table:number-columns-spanned="2" {ONE}')

    assert rows(of_cells(["a", "b"], [merged, "<table:covered-table-cell/>"])) == [{"a": 1, "b": None}]


def test_a_hidden_sheet_is_read_only_if_it_is_named() -> None:
    style = (
        '<office:automatic-styles><style:style style:name="h" style:family="table">'
        '<style:table-properties table:display="false"/></style:style></office:automatic-styles>'
    )
    tables = table([["a"], [1]], "A"), table([["b"], [2]], "B", "h"), table([["a"], [3]], "C")
    body = document(content(*tables, before=style))

    assert rows(body) == [{"a": 1}, {"a": 3}]
    assert rows(body, sheet="B") == rows(body, sheet=2) == [{"b": 2}]


def test_two_sheets_with_one_name_are_both_read() -> None:
    assert rows(document(content(table([["a"], [1]]), table([["a"], [2]])))) == [{"a": 1}, {"a": 2}]


def test_rows_in_groups_are_rows() -> None:
    inner = row(cell(ONE))

    assert rows(document(content(table([["a"], f"<table:table-row-group>{inner}</table:table-row-group>"])))) == [
        {"a": 1}
    ]


def test_reading_goes_on_within_a_sheet_and_in_the_next() -> None:
    two = 'office:value-type="float" office:value="2"'
    data = [row(cell(ONE), times=9_999), row(cell(two), times=2_001)]
    tables = [table([["a"], *data], name) for name in "AB"]
    body = document(content(*tables))
    found = blocks(body)

    assert [block.start for block in found] == [
        Position(line=2), Position(row=10_000, line=10_002), Position(row=12_000, line=2, part=1),
        Position(row=22_000, line=10_002, part=1),
    ]  # fmt: skip
    for index, block in enumerate(found):
        again_read = list(read(Input(Body(body)), OdsOptions(), block.start, block.table.schema))
        assert [one.start for one in again_read] == [one.start for one in found[index:]]
        assert all(one.table.equals(other.table) for one, other in zip(again_read, found[index:], strict=True))


# Hostile files


@pytest.mark.parametrize(
    ("asks", "says"),
    [
        (row(cell(ONE), times=1_000_000_000), "more than 16777216 rows"),
        (row(cell(ONE), times=9_000_000), "at most 8000000"),
        (row(cell(ONE, times=1_000_000_000)), "more than 10000 columns"),
        (row(cell(times=1_000_000_000), cell(ONE)), "more than 10000 columns"),
        (row(cell(ONE), times=-5), "no number of repetitions"),
        (row(cell(STRING, '<text:p><text:s text:c="1000000000"/></text:p>')), "1000000000 spaces"),
        (row(cell("", "<table:table/>")), "a table within a cell"),
        (row(cell("", "<text:span>" * 300 + "</text:span>" * 300)), "depth"),
    ],
)
def test_a_sheet_that_asks_for_much_is_an_error(asks: str, says: str) -> None:
    with pytest.raises((BadRowError, TooLargeError), match=says):
        rows(document(content(table([["a"], asks]))))


def test_entities_are_an_error() -> None:
    xml = content(table([["a"], [1]])).replace("?>", '?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]>', 1)

    with pytest.raises(BadRowError, match="defines entities"):
        rows(document(xml))


def test_a_zip_bomb_is_an_error() -> None:
    with pytest.raises(TooLargeError, match="larger than 1048576 bytes once it is decompressed"):
        rows(document("<a>" + " " * 30_000_000), limits=Limits(whole_bytes=1 << 20))


def test_a_password_is_an_error_that_says_so() -> None:
    with pytest.raises(BadRowError, match="protected by a password"):
        rows(document(b"\x01\x02", {"META-INF/manifest.xml": "<manifest:encryption-data/>"}))


@pytest.mark.parametrize("name", ["libreoffice.ods", "odfpy.ods"])
def test_a_file_that_is_cut_anywhere_is_an_error(name: str) -> None:
    body = (DATA / name).read_bytes()

    for end in range(0, len(body), 7):
        with pytest.raises(BadRowError):
            rows(body[:end])


ODS = content(table([["a", "b"], [1, "x"], [2.5, ERROR]])).encode()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(ODS) - 1), st.integers(32, 126)), min_size=1, max_size=4))
def test_other_xml_is_rows_or_a_clear_error(changes: list[tuple[int, int]]) -> None:
    xml = bytearray(ODS)
    for at, byte in changes:
        xml[at] = byte
    try:
        blocks(document(bytes(xml)))
    except (BadRowError, TooLargeError) as error:
        assert "o.ods" in str(error)  # noqa: PT017 - it need not fail


VALUES = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.datetimes(),
    st.text(st.characters(codec="utf-8", exclude_categories=["C"]), max_size=8),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=20))
def test_values_come_back_or_are_bad_rows(pairs: list[tuple[Any, Any]]) -> None:
    body = of_cells(["a", "b", "c"], *([a, b, n] for n, (a, b) in enumerate(pairs)))

    [block] = blocks(body)

    assert block.table.num_rows + len(block.bad) == len(pairs)
    for row in block.table.to_pylist():
        assert (row["a"], row["b"]) == pairs[row["c"]]
