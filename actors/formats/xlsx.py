"""XLSX and XLS by python-calamine: the rows of sheets."""

import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import date, time
from io import BytesIO
from typing import Any

import pyarrow as pa
from python_calamine import CalamineSheet, load_workbook

from actors.formats.block import BadRowError, Block
from actors.formats.input import Input
from actors.formats.ole_file import MAGIC, BrokenError, OleFile, ole_file
from actors.formats.sheet import MAX_CELLS, Row, Sheet, blocks, too_many_cells
from actors.formats.sheet_cells import CellError, Cells
from actors.formats.types import SHOWN_CHARACTERS
from actors.formats.xls_records import BoundSheet, sheets_of
from actors.formats.xlsx_book import Book, BookSheet
from actors.formats.zip_parts import Parts
from events.batch import FileFault, Position
from rota.options import XlsxOptions

STREAMS = ("Workbook", "Book")
PANIC = "PanicException"
"""The name of what is raised where the library's own code has a fault: no Exception, and it cannot be imported."""


def read(file: Input, options: XlsxOptions, start: Position, schema: pa.Schema | None = None) -> Iterator[Block]:
    """Yield the rows from a position on; the workbook is held in memory, and read from its start."""
    is_xls = file.head(len(MAGIC)) == MAGIC
    yield from blocks(file, options, start, schema, _xls_sheets(file) if is_xls else _xlsx_sheets(file))


def _xlsx_sheets(file: Input) -> Iterator[Sheet]:
    book = Book(Parts(file, what="XLSX"))
    for number, sheet in enumerate(book.sheets, 1):

        def rows(sheet: BookSheet = sheet) -> Iterator[Row]:
            body, cells = book.sheet(sheet)
            with _faults(file.path, f"sheet {sheet.name}"):
                found = load_workbook(BytesIO(body)).get_sheet_by_index(0)
            return _rows(file.path, found, cells)

        yield Sheet(number, sheet.name, rows, sheet.hidden, is_table=sheet.kind == "worksheet")


def _xls_sheets(file: Input) -> Iterator[Sheet]:
    try:
        sheets, body = _xls(file.whole())
    except PermissionError as error:
        raise _fault(file.path, "it is protected by a password") from error
    except (BrokenError, struct.error, KeyError) as error:
        raise _fault(file.path, str(error)) from error
    if (size := sum(sheet.cells.size for sheet in sheets)) > MAX_CELLS:
        raise too_many_cells(file.path, f"all of {len(sheets)}", size)  # they are built at once
    with _faults(file.path, "the workbook"):
        book = load_workbook(BytesIO(body))
        names = book.sheet_names
    if len(names) != len(sheets):
        raise _fault(file.path, "its sheets are not the ones that it lists")
    for index, (name, sheet) in enumerate(zip(names, sheets, strict=True)):

        def rows(index: int = index, name: str = name, sheet: BoundSheet = sheet) -> Iterator[Row]:
            with _faults(file.path, f"sheet {name}"):
                found = book.get_sheet_by_index(index)
            return _rows(file.path, found, sheet.cells)

        yield Sheet(index + 1, name, rows, sheet.hidden, sheet.is_table)


def _xls(body: bytes) -> tuple[list[BoundSheet], bytes]:
    """Return the sheets of an XLS file, and its workbook alone as such a file."""
    ole = OleFile(body)
    if "EncryptedPackage" in ole.streams:
        raise PermissionError
    name = next((name for name in STREAMS if name in ole.streams), None)
    if name is None:
        raise BrokenError("it has no workbook")
    stream = bytearray(ole.read(name))
    sheets = sheets_of(stream)
    return sheets, ole_file(name, bytes(stream))


def _rows(path: str, sheet: CalamineSheet, cells: Cells) -> Iterator[Row]:
    """Yield the rows that are not empty, with what is known of the cells beside what calamine gives."""
    others: dict[int, list[tuple[int, Any]]] = {}
    for (number, column), value in cells.others.items():
        others.setdefault(number, []).append((column, value))
    negative: dict[int, list[tuple[int, str]]] = {}
    for (number, column), text in cells.negative.items():
        negative.setdefault(number, []).append((column, text))
    left: list[Any] = [None] * (sheet.start[1] if sheet.start else 0)
    index = -1
    with _faults(path, f"sheet {sheet.name}"):
        given = iter(sheet.iter_rows()) if sheet.start else iter(())
    while True:
        with _faults(path, f"sheet {sheet.name}"):
            values = next(given, None)
        if values is None:
            break
        index += 1
        row: list[Any] = left + [None if value == "" else value for value in values]
        if cells.texts and "" in values:
            for column, value in enumerate(values, len(left)):
                if value == "" and (index, column) in cells.texts:
                    row[column] = ""
        for column, text in negative.get(index, ()):
            if isinstance(row[column], date | time):
                row[column] = CellError(text, "no date or time, although its cell is for one")
        if found := _filled(row, others.pop(index, ())):
            yield index + 1, found
    for index in sorted(others):
        if found := _filled([], others[index]):
            yield index + 1, found


def _filled(row: list[Any], others: Iterable[tuple[int, Any]]) -> list[Any]:
    """Put the other values into a row, and return it up to its last cell that is not empty."""
    for column, value in others:
        if column >= len(row):
            row += [None] * (column + 1 - len(row))
        row[column] = value
    while row and row[-1] is None:
        row.pop()
    return row


@contextmanager
def _faults(path: str, place: str) -> Iterator[None]:
    """Turn what calamine raises into BadRowError, its panics, too."""
    try:
        yield
    except Exception as error:
        raise _fault(path, f"{place}: {str(error)[:SHOWN_CHARACTERS]}") from error
    except BaseException as error:
        if type(error).__name__ != PANIC:
            raise
        raise _fault(path, f"{place}: it is broken") from error


def _fault(path: str, why: str) -> BadRowError:
    return BadRowError(FileFault(f"{path} cannot be read as XLSX or XLS: {why}"))
