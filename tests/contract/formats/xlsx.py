"""XLSX in the suite: written by hand, cell by cell, with texts in the cells."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, time, timedelta
from io import BytesIO
from typing import Any
from xml.sax.saxutils import escape
from zipfile import ZIP_DEFLATED, ZipFile

import pyarrow as pa

from rota.options import XlsxOptions
from tests.contract.formats.case import BadSample, Case, rows_of

MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006/relationships"
NONE: dict[str, Any] = {}
FORMATS = {date: 14, datetime: 22, time: 21, timedelta: 46}
"""Excel's own numbers of the formats that make numbers of days dates, times and durations."""
EPOCH = datetime(1899, 12, 30)  # noqa: DTZ001 - Excel knows no zones
STYLES = (
    f'<styleSheet xmlns="{MAIN}"><cellXfs count="5"><xf numFmtId="0"/>'
    + "".join(f'<xf numFmtId="{number}" applyNumberFormat="1"/>' for number in FORMATS.values())
    + "</cellXfs></styleSheet>"
)
STYLE_OF = {type_: index for index, type_ in enumerate(FORMATS, 1)}


def days(value: Any) -> float:
    """Return what Excel stores for a date, a time or a duration."""
    match value:
        case datetime():
            return (value - EPOCH) / timedelta(days=1)
        case date():
            return float((datetime(value.year, value.month, value.day) - EPOCH).days)  # noqa: DTZ001 - see EPOCH
        case time():
            return (datetime.combine(EPOCH, value) - EPOCH) / timedelta(days=1)
        case _:
            return float(value / timedelta(days=1))


def cell(value: Any) -> str:
    """Return a cell; null is none, and what begins with `<c` is one already."""
    if value is None:
        return "<c/>"
    if isinstance(value, bool):
        return f'<c t="b"><v>{int(value)}</v></c>'
    if isinstance(value, str):
        return (
            value
            if value.startswith("<c")
            else f'<c t="inlineStr"><is><t xml:space="preserve">{escape(value)}</t></is></c>'
        )
    if style := STYLE_OF.get(type(value)):
        return f'<c s="{style}"><v>{days(value)!r}</v></c>'
    return f"<c><v>{value!r}</v></c>"


def sheet_xml(rows: Sequence[Sequence[Any]]) -> str:
    """Return a sheet."""
    data = "".join(f"<row>{''.join(map(cell, row))}</row>" for row in rows)
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><worksheet xmlns="{MAIN}"><sheetData>{data}</sheetData></worksheet>'
    )


def workbook(
    sheets: dict[str, str], *, states: Mapping[str, str] = NONE, more: Mapping[str, str | bytes] = NONE
) -> bytes:
    """Return a workbook with these sheets, by name; `more` are parts beside them, or in place of them."""
    listed = "".join(
        f'<sheet name="{escape(name)}" sheetId="{n}" r:id="rId{n}" state="{states.get(name, "visible")}"/>'
        for n, name in enumerate(sheets, 1)
    )
    relations = "".join(
        f'<Relationship Id="rId{n}" Type="{OFFICE}/worksheet" Target="worksheets/sheet{n}.xml"/>'
        for n in range(1, len(sheets) + 1)
    )
    relations += f'<Relationship Id="rId0" Type="{OFFICE}/styles" Target="styles.xml"/>'
    shared = "xl/sharedStrings.xml"
    if shared in more:
        relations += f'<Relationship Id="rIdS" Type="{OFFICE}/sharedStrings" Target="sharedStrings.xml"/>'
    parts: dict[str, str | bytes] = {
        "[Content_Types].xml": '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"/>',
        "_rels/.rels": f'<Relationships xmlns="{PACKAGE}"/>',
        "xl/workbook.xml": f'<workbook xmlns="{MAIN}" xmlns:r="{OFFICE}"><sheets>{listed}</sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{PACKAGE}">{relations}</Relationships>',
        "xl/styles.xml": STYLES,
        **{f"xl/worksheets/sheet{n}.xml": body for n, body in enumerate(sheets.values(), 1)},
        **more,
    }
    sink = BytesIO()
    with ZipFile(sink, "w", ZIP_DEFLATED) as file:
        for name, body in parts.items():
            file.writestr(name, body)
    return sink.getvalue()


def of_cells(*rows: Sequence[Any]) -> bytes:
    """Return a workbook with one sheet."""
    return workbook({"Orders": sheet_xml(rows)})


def write(rows: Sequence[dict[str, Any]]) -> bytes:
    return of_cells(list(rows[0]), *(list(row.values()) for row in rows))


def column(*values: Any) -> bytes:
    return of_cells(["x", "n"], *([value, 1] for value in values))


GOOD = write(rows_of(5))
CASE = Case(
    format="xlsx",
    options=XlsxOptions(),
    write=write,
    many=10_500,
    typed={
        "whole numbers": (column(1, 2.0), pa.int64(), [1, 2]),
        "other numbers": (column(1, 2.5), pa.float64(), [1.0, 2.5]),
        "uint64": (column(18446744073709551615), pa.uint64(), [18446744073709551615]),
        "null against empty": (column("", None, "a"), pa.string(), ["", None, "a"]),
        "text that looks like a number": (column("007"), pa.string(), ["007"]),
        "truth values": (column(*[True, False]), pa.bool_(), [True, False]),
        "dates": (column(date(2026, 5, 1)), pa.date32(), [date(2026, 5, 1)]),
        "times": (column(time(9, 30)), pa.time64("us"), [time(9, 30)]),
        "timestamps, at midnight, too": (
            column(datetime(2026, 5, 1, 12, 30), datetime(2026, 5, 2)),  # noqa: DTZ001 - see EPOCH
            pa.timestamp("us"),
            [datetime(2026, 5, 1, 12, 30), datetime(2026, 5, 2)],  # noqa: DTZ001 - see EPOCH
        ),
        "durations": (column(timedelta(hours=30)), pa.duration("us"), [timedelta(hours=30)]),
    },
    bad=[
        BadSample(
            body=of_cells(["id"], [1], [2], ["x"], [4]),
            rows=[{"id": 1}, {"id": 2}, {"id": 4}],
            before=2,
            says=["sheet Orders, row 4", "id", "'x'", "column_types"],
        ),
        BadSample(
            body=of_cells(["id"], [1], ['<c t="e"><v>#DIV/0!</v></c>'], ["<c><f>A1</f></c>"], ["x"], [4]),
            rows=[{"id": 1}, {"id": 4}],
            before=1,
            says=["sheet Orders, row 3", "column id (A3)", "#DIV/0!", "column_types"],
            bad=3,
        ),
    ],
    broken={
        "no zip archive": b"id,name\n1,a\n",
        "a cut archive": GOOD[:-30],
        "a shared text that is not there": of_cells(["id"], ['<c t="s"><v>7</v></c>']),
        "XML that is broken": workbook({"Orders": sheet_xml([["id"], [1]])[:-30]}),
        "a sheet that is not there": workbook({"Orders": ""}),
        "a cell of no known kind": of_cells(["id"], ['<c t="x"><v>7</v></c>']),
    },
    empty=of_cells(["id", "name"]),
)
