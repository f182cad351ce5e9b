"""ODS in the suite: written by hand, cell by cell."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, time, timedelta
from io import BytesIO
from typing import Any
from xml.sax.saxutils import escape
from zipfile import ZIP_DEFLATED, ZipFile

import pyarrow as pa

from rota.options import OdsOptions
from tests.contract.formats.case import BadSample, Case, rows_of

NONE: dict[str, str | bytes] = {}
NAMES = {
    "office": "urn:oasis:names:tc:opendocument:xmlns:office:1.0",
    "style": "urn:oasis:names:tc:opendocument:xmlns:style:1.0",
    "table": "urn:oasis:names:tc:opendocument:xmlns:table:1.0",
    "text": "urn:oasis:names:tc:opendocument:xmlns:text:1.0",
    "calcext": "urn:org:documentfoundation:names:experimental:calc:xmlns:calcext:1.0",
}
MIMETYPE = "application/vnd.oasis.opendocument.spreadsheet"
ERROR = (
    '<table:table-cell office:value-type="string" office:string-value="" calcext:value-type="error">'
    "<text:p>#DIV/0!</text:p></table:table-cell>"
)


def cell(value: Any) -> str:
    """Return a cell; null is none, and what begins with `<table` is one already."""
    match value:
        case None:
            return "<table:table-cell/>"
        case bool():
            kind, attribute = "boolean", f'office:boolean-value="{str(value).lower()}"'
        case datetime() | date():
            kind, attribute = "date", f'office:date-value="{value.isoformat()}"'
        case time():
            kind, attribute = "time", value.strftime('office:time-value="PT%HH%MM%SS"')
        case timedelta():
            kind, attribute = "time", f'office:time-value="PT{value // timedelta(hours=1)}H00M00S"'
        case str():
            if value.startswith("<table"):
                return value
            return (
                f'<table:table-cell office:value-type="string"><text:p>{escape(value)}</text:p></table:table-cell>'
            )
        case _:
            kind, attribute = "float", f'office:value="{value!r}"'
    return f'<table:table-cell office:value-type="{kind}" {attribute}><text:p>shown</text:p></table:table-cell>'


def table(rows: Sequence[Sequence[Any]], name: str = "Orders", style: str = "") -> str:
    """Return a sheet; a row that is a text is one already."""
    data = "".join(
        row if isinstance(row, str) else f"<table:table-row>{''.join(map(cell, row))}</table:table-row>"
        for row in rows
    )
    return f'<table:table table:name="{name}" table:style-name="{style}">{data}</table:table>'


def content(*tables: str, before: str = "") -> str:
    """Return the XML of a document."""
    names = " ".join(f'xmlns:{prefix}="{name}"' for prefix, name in NAMES.items())
    root = f"<office:document-content {names}>"
    body = f"<office:body><office:spreadsheet>{''.join(tables)}</office:spreadsheet></office:body>"
    return f'<?xml version="1.0" encoding="UTF-8"?>{root}{before}{body}</office:document-content>'


def document(xml: str | bytes, more: Mapping[str, str | bytes] = NONE) -> bytes:
    """Return a file with this content; `more` are parts beside it."""
    sink = BytesIO()
    with ZipFile(sink, "w", ZIP_DEFLATED) as file:
        for name, body in {"mimetype": MIMETYPE, "content.xml": xml, **more}.items():
            file.writestr(name, body)
    return sink.getvalue()


def of_cells(*rows: Sequence[Any]) -> bytes:
    """Return a file with one sheet."""
    return document(content(table(rows)))


def write(rows: Sequence[dict[str, Any]]) -> bytes:
    return of_cells(list(rows[0]), *(list(row.values()) for row in rows))


def column(*values: Any) -> bytes:
    return of_cells(["x", "n"], *([value, 1] for value in values))


ROWS = rows_of(5)
GOOD = write(ROWS)
CASE = Case(
    format="ods",
    options=OdsOptions(),
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
            column(datetime(2026, 5, 1, 12, 30, 0, 500), date(2026, 5, 2)),  # noqa: DTZ001 - sheets know no zones
            pa.timestamp("us"),
            [datetime(2026, 5, 1, 12, 30, 0, 500), datetime(2026, 5, 2)],  # noqa: DTZ001 - sheets know no zones
        ),
        "durations, of less than a day, too": (
            column(timedelta(hours=30), timedelta(hours=3)),
            pa.duration("us"),
            [timedelta(hours=30), timedelta(hours=3)],
        ),
    },
    bad=[
        BadSample(
            body=of_cells(["id"], [1], [2], ["x"], [4]),
            rows=[{"id": 1}, {"id": 2}, {"id": 4}],
            before=2,
            says=["sheet Orders, row 4", "id", "'x'", "column_types"],
        ),
        BadSample(
            body=of_cells(["id"], [1], [ERROR], ["x"], [4]),
            rows=[{"id": 1}, {"id": 4}],
            before=1,
            says=["sheet Orders, row 3", "column id (A3)", "#DIV/0!", "column_types"],
            bad=2,
        ),
    ],
    broken={
        "no zip archive": b"id,name\n1,a\n",
        "a cut archive": GOOD[:-30],
        "XML that is broken": document(
            content(table([list(ROWS[0]), *(list(row.values()) for row in ROWS)]))[:-30]
        ),
        "no content": document(""),
        "another document": document(
            content(table([["id"], [1]])), {"mimetype": "application/vnd.oasis.opendocument.text"}
        ),
        "a repetition that is no number": of_cells(
            ["id"], ['<table:table-cell table:number-columns-repeated="x"/>']
        ),
    },
    empty=of_cells(["id", "name"]),
)
