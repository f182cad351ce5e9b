"""XLSX and XLS: sheets and headers, what a cell is, and that no file costs more than its limits."""

import struct
import zipfile
from datetime import date, datetime, time, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.formats.block import BadRowError, Block
from actors.formats.input import Input
from actors.formats.limits import Limits
from actors.formats.ole_file import OleFile, ole_file
from actors.formats.xlsx import read
from events.batch import FileFault, Position
from rota.errors import TooLargeError
from rota.options import XlsxOptions
from tests.contract.formats.case import Body
from tests.contract.formats.xlsx import MAIN, OFFICE, of_cells, sheet_xml, workbook

START = Position()
DATA = Path(__file__).parents[2] / "data" / "xlsx"
ROWS = [
    {
        "id": n,
        "price": n + 0.5,
        "day": date(2026, 5, 1 + n),
        "at": datetime(2026, 5, 1, 9 * n),  # noqa: DTZ001 - sheets know no zones
        "clock": time(9, 30, n),
        "took": timedelta(hours=20 + 5 * n),
        "paid": n == 1,
        "name": ["Zoë", "007", " x "][n],
    }
    for n in range(3)
]


def blocks(body: bytes, *, limits: Limits | None = None, start: Position = START, **options: Any) -> list[Block]:
    return list(read(Input(Body(body, "o.xlsx"), limits=limits), XlsxOptions(**options), start))


def rows(body: bytes, **options: Any) -> list[dict[str, Any]]:
    found = blocks(body, **options)
    assert not [fault for block in found for fault in block.bad]
    return [row for block in found for row in block.table.to_pylist()]


def faults(body: bytes, **options: Any) -> list[FileFault]:
    return [fault for block in blocks(body, **options) for fault in block.bad]


@pytest.mark.parametrize("name", ["openpyxl.xlsx", "libreoffice.xlsx", "libreoffice.xls", "xlwt.xls"])
def test_files_of_other_programs_have_the_same_rows(name: str) -> None:
    assert rows((DATA / name).read_bytes()) == ROWS


def test_a_file_of_pandas_has_what_pandas_stores() -> None:
    found = rows((DATA / "pandas.xlsx").read_bytes())

    assert [row["at"] for row in found] == [row["at"] for row in ROWS]
    assert found[1]["took"] == pytest.approx(25 / 24)  # a number of days: pandas gives it no format


def test_a_sheet_is_chosen_by_name_or_number() -> None:
    body = workbook({"A": sheet_xml([["a"], [1]]), "B": sheet_xml([["b"], [2]])})

    assert rows(body, sheet="B") == rows(body, sheet=2) == [{"b": 2}]
    with pytest.raises(BadRowError, match=r"o\.xlsx has no sheet C; it has A, B"):
        rows(body, sheet="C")


def test_all_sheets_with_the_same_columns_are_read_in_any_order_of_columns() -> None:
    body = workbook(
        {"A": sheet_xml([["a", "b"], [1, 2]]), "E": sheet_xml([]), "B": sheet_xml([["b", "a"], [3, 4]])}
    )

    assert rows(body) == [{"a": 1, "b": 2}, {"a": 4, "b": 3}]
    assert [block.start for block in blocks(body)] == [Position(line=2), Position(row=1, line=2, part=2)]


def test_a_sheet_with_other_columns_is_an_error_after_the_rows_before_it() -> None:
    body = workbook({"A": sheet_xml([["a"], [1]]), "B": sheet_xml([["b"], [2]])})
    found = read(Input(Body(body)), XlsxOptions(), START)

    assert next(found).table.to_pylist() == [{"a": 1}]
    with pytest.raises(BadRowError, match=r"the sheets A and B have different columns \(a, b\); the option sheet"):
        next(found)


def test_a_hidden_sheet_is_read_only_if_it_is_named() -> None:
    sheets = {"A": sheet_xml([["a"], [1]]), "B": sheet_xml([["b"], [2]])}
    body = workbook(sheets, states={"B": "veryHidden"})

    assert rows(body) == [{"a": 1}]
    assert rows(body, sheet="B") == [{"b": 2}]


def test_the_first_row_that_is_not_empty_has_the_names_and_empty_rows_are_none() -> None:
    assert rows(of_cells([], [None, None], [None, "a"], [], [None, 1], [None], [None, 2])) == [{"a": 1}, {"a": 2}]


def test_the_header_can_be_elsewhere_or_nowhere() -> None:
    body = of_cells(["A title"], ["a", "b"], [1, 2])

    assert rows(body, header_row=2) == [{"a": 1, "b": 2}]
    assert rows(of_cells([1, 2], [3]), header_row=0) == [
        {"column_1": 1, "column_2": 2},
        {"column_1": 3, "column_2": None},
    ]
    assert rows(of_cells([1, 2]), column_names=["x", "y"]) == [{"x": 1, "y": 2}]
    assert rows(body, header_row=2, column_names=["x", "y"]) == [{"x": 1, "y": 2}]
    with pytest.raises(BadRowError, match="row 4 is empty; the option header_row"):
        rows(of_cells(["a"], [1], [2], [], [3]), header_row=4)


def test_names_are_unique_and_cells_without_one_are_kept() -> None:
    assert rows(of_cells(["a", "a", None, 2026.0], [1, 2, None, 4], [1, 2, None, 4, "x"])) == [
        {"a": 1, "a_2": 2, "2026": 4, "column_5": None},
        {"a": 1, "a_2": 2, "2026": 4, "column_5": "x"},
    ]
    assert rows(of_cells(["a", None], [1, 2])) == [{"a": 1, "column_2": 2}]


def test_columns_can_be_chosen() -> None:
    assert rows(of_cells(["a", "b"], [1, '<c t="e"><v>#N/A</v></c>']), columns=["a"]) == [{"a": 1}]


def test_an_error_is_a_bad_row_or_text() -> None:
    body = of_cells(["a", "b"], [1, 2], [3, '<c t="e"><v>#DIV/0!</v></c>'], [5, 6])

    [block] = blocks(body)
    assert block.table.to_pylist() == [{"a": 1, "b": 2}, {"a": 5, "b": 6}]
    [fault] = block.bad
    assert fault.message == (
        "o.xlsx, sheet Orders, row 3, column b (B3): '#DIV/0!' is an error value; "
        "the option column_types can make the column a string, which has this text"
    )
    assert (fault.line, fault.column, fault.text, fault.row) == (3, "b", "#DIV/0!", 1)
    assert [row["b"] for row in rows(body, column_types={"b": "string"})] == ["2", "#DIV/0!", "6"]
    assert [row["b"] for row in rows(body, column_types={"b": "json"})] == ["2", '"#DIV/0!"', "6"]


def test_bad_rows_of_all_kinds_are_in_order() -> None:
    body = of_cells(["a"], ["<c><f>B1</f></c>"], [1], ["x"], ['<c t="e"><v>#N/A</v></c>'], [2], ["y"])

    assert [(fault.line, fault.row, fault.text) for fault in faults(body)] == [
        (2, 0, ""), (4, 1, "x"), (5, 1, "#N/A"), (7, 2, "y"),
    ]  # fmt: skip


def test_a_formula_counts_by_its_stored_value() -> None:
    assert rows(of_cells(["a", "b"], ["<c><f>1+1</f><v>2</v></c>", '<c t="str"><f>A1</f><v/></c>'])) == [
        {"a": 2, "b": ""}
    ]
    [fault] = faults(of_cells(["a"], ["<c><f>1+1</f></c>"]))
    assert "a formula without a stored value" in fault.message


def test_a_merged_cell_has_its_value_at_the_top_left() -> None:
    xml = sheet_xml([["a", "b"], [1, None]]).replace(
        "</sheetData>", '</sheetData><mergeCells><mergeCell ref="A2:B2"/></mergeCells>'
    )

    assert rows(workbook({"S": xml})) == [{"a": 1, "b": None}]


def test_numbers_are_exact_or_bad_rows() -> None:
    assert rows(of_cells(["a"], [1234567890123456789])) == [{"a": 1234567890123456789}]
    assert rows(of_cells(["a"], [0.5], [2**60])) == [{"a": 0.5}, {"a": float(2**60)}]
    assert rows(of_cells(["a"], [1], [2.5]), column_types={"a": "decimal(5,2)"})[1]["a"].as_tuple().digits == (
        2,
        5,
        0,
    )
    [fault] = faults(of_cells(["a"], *([n] for n in range(10_000)), [2.5]))
    assert fault.message.endswith(
        "row 10002, column a: 2.5 is no int64; the option column_types can make the column a float64"
    )


def test_a_number_below_zero_is_no_date() -> None:
    [fault] = faults(of_cells(["a"], [date(2026, 5, 1)], ['<c s="1"><v>-5</v></c>']))

    assert "'-5' is no date or time" in fault.message


def test_text_is_read_whatever_the_xml_is_written_like() -> None:
    cells = [
        '<c t="str"><v><![CDATA[x<y]]></v></c>',
        "<c><v>1<!-- or -->2</v></c>",
        '<c t="inlineStr"><is><r><t>a</t></r><r><t>b</t></r></is></c>',
    ]
    body = of_cells(["a", "b", "c"], cells)

    assert rows(body) == [{"a": "x<y", "b": 12, "c": "ab"}]
    xml = sheet_xml([["a"], ["Zoë"]]).replace("UTF-8", "UTF-16").encode("utf-16")
    assert rows(workbook({"S": xml.decode("latin-1")}, more={"xl/worksheets/sheet1.xml": xml})) == [{"a": "Zoë"}]


def test_dates_may_count_from_1904() -> None:
    book = (
        f'<workbook xmlns="{MAIN}" xmlns:r="{OFFICE}"><workbookPr date1904="1"/>'
        '<sheets><sheet name="S" r:id="rId1"/></sheets></workbook>'
    )

    assert rows(workbook({"S": sheet_xml([["a"], ['<c s="1"><v>1</v></c>']])}, more={"xl/workbook.xml": book})) == [
        {"a": date(1904, 1, 2)}
    ]


def test_reading_goes_on_within_a_sheet_and_in_the_next() -> None:
    body = workbook({"A": sheet_xml([["a"], *([n] for n in range(10_100))]), "B": sheet_xml([["a"], [1]])})
    found = blocks(body)

    assert [block.start for block in found] == [
        Position(line=2), Position(row=10_000, line=10_002), Position(row=10_100, line=2, part=1),
    ]  # fmt: skip
    for index, block in enumerate(found):
        again = list(read(Input(Body(body)), XlsxOptions(), block.start, block.table.schema))
        assert [one.start for one in again] == [one.start for one in found[index:]]
        assert all(one.table.equals(other.table) for one, other in zip(again, found[index:], strict=True))


# Hostile files


@pytest.mark.parametrize(
    ("cells", "says"),
    [
        ('<c r="A1"><v>1</v></c><c r="XFD1048576"><v>1</v></c>', "are 17179869184 cells; at most 8000000"),
        ('<c r="A1"><v>1</v></c><c r="ZZZ1"><v>1</v></c>', "beyond the last row or column"),
        ('<c r="A9999999"><v>1</v></c>', "beyond the last row or column"),
        ('<c r="A99999999999"><v>1</v></c>', "is no cell"),
    ],
)
def test_a_sheet_that_says_that_it_is_huge_is_an_error(cells: str, says: str) -> None:
    body = workbook({"S": f'<worksheet xmlns="{MAIN}"><sheetData><row r="1">{cells}</row></sheetData></worksheet>'})

    with pytest.raises((TooLargeError, BadRowError), match=says):
        rows(body)


def test_a_zip_bomb_is_an_error() -> None:
    body = workbook({"S": "<a>" + " " * 30_000_000})

    assert len(body) < 50_000
    with pytest.raises(TooLargeError, match="larger than 1048576 bytes once it is decompressed"):
        rows(body, limits=Limits(whole_bytes=1 << 20))


def test_lies_about_the_size_of_a_part_are_an_error() -> None:
    body = bytearray(workbook({"S": sheet_xml([["a"], *([n] for n in range(100))])}))
    for entry in zipfile.ZipFile(BytesIO(body)).infolist():
        at = body.index(b"PK\x01\x02")
        while body[at + 46 : at + 46 + len(entry.filename)] != entry.filename.encode():
            at = body.index(b"PK\x01\x02", at + 1)
        struct.pack_into("<I", body, at + 24, 10)

    with pytest.raises(BadRowError, match=r"damaged|cut"):
        rows(bytes(body))


def test_entities_are_an_error() -> None:
    bomb = '<!DOCTYPE a [<!ENTITY b "bb"><!ENTITY c "&b;&b;">]>' + sheet_xml([["a"], ["&c;"]]).partition("?>")[2]

    with pytest.raises(BadRowError, match="defines entities"):
        rows(workbook({"S": bomb}))


def test_too_many_parts_are_an_error() -> None:
    body = workbook({"S": sheet_xml([["a"], [1]])}, more={f"x{n}": "" for n in range(10_001)})

    with pytest.raises(TooLargeError, match="more than 10000 parts"):
        rows(body)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "no zip archive"),
        (b"PK\x03\x04", "no zip archive"),
        (ole_file("EncryptedPackage", b"x"), "protected by a password"),
        (ole_file("Workbook", struct.pack("<HHHHHH", 0x809, 4, 0x600, 5, 0x2F, 0)), "protected by a password"),
        (ole_file("WordDocument", b"x"), "it has no workbook"),
        (ole_file("Workbook", struct.pack("<HHHH", 0x0009, 4, 2, 0x10)), "older than Excel 5"),
    ],
)
def test_what_is_no_workbook_is_an_error_that_says_why(body: bytes, says: str) -> None:
    with pytest.raises(BadRowError, match=says):
        rows(body)


@pytest.mark.parametrize("name", ["libreoffice.xls", "xlwt.xls", "openpyxl.xlsx"])
def test_a_file_that_is_cut_anywhere_is_an_error(name: str) -> None:
    body = (DATA / name).read_bytes()

    for end in range(0, len(body), 7):
        with pytest.raises(BadRowError):
            rows(body[:end])


def test_a_stream_out_of_an_ole_file_is_the_one_put_into_it() -> None:
    stream = OleFile((DATA / "xlwt.xls").read_bytes()).read("Workbook")

    assert OleFile(ole_file("Workbook", stream)).read("Workbook")[: len(stream)] == stream


XLS = (DATA / "libreoffice.xls").read_bytes()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(XLS) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_other_bytes_in_xls_are_rows_or_a_clear_error(changes: list[tuple[int, int]]) -> None:
    body = bytearray(XLS)
    for at, byte in changes:
        body[at] = byte
    try:
        blocks(bytes(body))
    except (BadRowError, TooLargeError) as error:
        assert "o.xlsx" in str(error)  # noqa: PT017 - it need not fail


VALUES = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
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
