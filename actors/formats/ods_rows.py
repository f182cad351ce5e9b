"""The rows of a sheet in ODS: its XML in pieces, each read by pyexcel-ods3 as a small document of its own.

That library builds all of a file in memory, writes out what is repeated (or, from 32 times on, forgets that it is),
and does not tell an error from a text. So repetitions are counted here, and what it reads are plain cells.
"""

from collections.abc import Iterator
from io import BytesIO
from typing import Any

from lxml import etree
from msgspec import Struct
from pyexcel_ods3 import get_data

from actors.formats.ods_cells import AS_READ, OFFICE, TABLE, value_of
from actors.formats.sheet import MAX_CELLS, Row, too_many_cells
from actors.formats.zip_parts import Parts, archive
from rota.errors import TooLargeError

CELL_TAGS = frozenset((f"{{{TABLE}}}table-cell", f"{{{TABLE}}}covered-table-cell"))
ROW_TAG = f"{{{TABLE}}}table-row"
COLUMNS_REPEATED, ROWS_REPEATED = f"{{{TABLE}}}number-columns-repeated", f"{{{TABLE}}}number-rows-repeated"
MAX_ROWS = 1 << 24
PIECE_ROWS = 2_000
PIECE_CELLS = 20_000
MEDIA_TYPE = "application/vnd.oasis.opendocument.spreadsheet"


class Raw(Struct):
    """A row before its plain cells are read."""

    number: int
    repeated: int
    others: list[tuple[int, int, Any]]
    """Column, how often it is repeated, value."""
    plain: list[tuple[int, int]]
    """Column, and how often it is repeated, of the cells in `element`."""
    element: etree._Element
    width: int


def rows_of(parts: Parts, sheet: str, elements: Iterator[etree._Element], max_columns: int) -> Iterator[Row]:
    """Yield the rows that are not empty, with their numbers."""
    number, size = 1, 0
    piece: list[Raw] = []
    widest = 0
    for element in elements:
        repeated = _count(element, ROWS_REPEATED)
        raw = _raw(number, repeated, element)
        number += repeated
        if not raw.width:
            continue
        if raw.width > max_columns:
            raise TooLargeError(f"{parts.path}, sheet {sheet} has more than {max_columns} columns")
        if number > MAX_ROWS:
            raise TooLargeError(f"{parts.path}, sheet {sheet} has more than {MAX_ROWS} rows")
        size += repeated * raw.width
        if size > MAX_CELLS:
            raise too_many_cells(parts.path, sheet, size)
        piece.append(raw)
        widest = max(widest, len(raw.plain))
        if len(piece) >= PIECE_ROWS or len(piece) * widest >= PIECE_CELLS:
            yield from _read(parts, sheet, piece)
            piece, widest = [], 0
    if piece:
        yield from _read(parts, sheet, piece)


def _raw(number: int, repeated: int, element: etree._Element) -> Raw:
    row = Raw(number, repeated, [], [], etree.Element(ROW_TAG), 0)
    column = 0
    for cell in list(element):
        if cell.tag not in CELL_TAGS:
            continue
        count = _count(cell, COLUMNS_REPEATED)
        value = value_of(cell)
        if value is AS_READ:
            cell.attrib.pop(COLUMNS_REPEATED, "")
            row.element.append(cell)
            row.plain.append((column, count))
        elif value is not None:
            row.others.append((column, count, value))
        column += count
        if value is not None:
            row.width = column
    return row


def _read(parts: Parts, sheet: str, piece: list[Raw]) -> Iterator[Row]:
    """Read the plain cells of some rows, and put all cells in their places."""
    root = etree.Element(f"{{{OFFICE}}}document-content")
    body = etree.SubElement(etree.SubElement(root, f"{{{OFFICE}}}body"), f"{{{OFFICE}}}spreadsheet")
    table = etree.SubElement(body, f"{{{TABLE}}}table", {f"{{{TABLE}}}name": "rows"})
    table.extend([raw.element for raw in piece])
    document = archive({"mimetype": MEDIA_TYPE.encode(), "content.xml": etree.tostring(root)})
    try:
        [found] = get_data(BytesIO(document), auto_detect_int=False, skip_empty_rows=False).values()
    except Exception as error:  # the library raises Exception itself, and what its parts raise
        raise parts.fault(f"sheet {sheet}, rows {piece[0].number} to {piece[-1].number}: {error}") from error
    for raw, values in zip(piece, found, strict=True):
        cells: list[Any] = [None] * raw.width
        for (column, count), value in zip(raw.plain, values, strict=False):  # cells that only align it follow
            cells[column : column + count] = [value] * count
        for column, count, value in raw.others:
            cells[column : column + count] = [value] * count
        for again in range(raw.repeated):
            yield raw.number + again, cells


def _count(element: etree._Element, name: str) -> int:
    """Return how often a row or cell is repeated."""
    text = element.get(name)
    if text is None:
        return 1
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and int(text)):  # noqa: PLR2004 - any count is shorter
        raise ValueError(f"{text[:20]!r} is no number of repetitions")
    return int(text)
