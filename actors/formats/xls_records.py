"""The records of a workbook in XLS: which sheets and cells there are, and that none of them is cut off."""

import struct
from collections.abc import Iterator

from msgspec import Struct

from actors.formats.ole_file import BrokenError
from actors.formats.sheet_cells import CellError, Cells

BEGIN, END = 0x0809, 0x000A
OLD_BEGINS = frozenset((0x0009, 0x0209, 0x0409))
BOUND_SHEET, DIMENSIONS, PASSWORD, SHARED_TEXTS = 0x0085, 0x0200, 0x002F, 0x00FC
BOOL_OR_ERROR, FORMULA, LABEL, LABEL_SHARED = 0x0205, 0x0006, 0x0204, 0x00FD
MANY_NUMBERS, NUMBER, ONE_NUMBER, RICH_LABEL = 0x00BD, 0x0203, 0x027E, 0x00D6
CELLS = frozenset((BOOL_OR_ERROR, FORMULA, LABEL, LABEL_SHARED, MANY_NUMBERS, NUMBER, ONE_NUMBER, RICH_LABEL))
MAX_COLUMNS = 256
MULTIPLE = 6
"""Bytes of each cell in a record of several."""
ERRORS = {
    0x00: "#NULL!", 0x07: "#DIV/0!", 0x0F: "#VALUE!", 0x17: "#REF!", 0x1D: "#NAME?", 0x24: "#NUM!", 0x2A: "#N/A",
    0x2B: "#GETTING_DATA",
}  # fmt: skip
SPECIAL = b"\xff\xff"
"""The end of a formula's result that is no number."""


class BoundSheet(Struct):
    """A sheet as the workbook lists it, and what was found in its cells."""

    hidden: bool
    is_table: bool
    cells: Cells


def sheets_of(stream: bytearray) -> list[BoundSheet]:
    """Look through a workbook, and take out of it what it says of its size; PermissionError if it is encrypted."""
    sheets = []
    for kind, at, _, _ in _records(stream, 0):
        if kind == PASSWORD:
            raise PermissionError
        if kind == SHARED_TEXTS and struct.unpack_from("<I", stream, at + 4)[0] > len(stream):
            raise BrokenError("it has fewer shared texts than it says")
        if kind == BOUND_SHEET:
            offset, state, type_ = struct.unpack_from("<IBB", stream, at)
            is_table = type_ & 0x0F == 0
            sheets.append(BoundSheet(bool(state & 3), is_table, _cells(stream, offset)))
    return sheets


def _cells(stream: bytearray, offset: int) -> Cells:
    """Look through the records of a sheet."""
    cells = Cells({}, {}, set())
    top = left = 1 << 16
    bottom = right = -1
    had_inner = False
    for kind, at, length, depth in _records(stream, offset):
        had_inner = had_inner or depth > 1
        if kind == DIMENSIONS:
            stream[at : at + length] = bytes(length)  # room would be made for what it says
        if kind not in CELLS:
            continue
        row, column = place = struct.unpack_from("<HH", stream, at)
        last = column + (length - 6) // MULTIPLE - 1 if kind == MANY_NUMBERS else column
        if last >= MAX_COLUMNS:
            raise BrokenError("it has a cell beyond the last column")
        top, bottom = min(top, row), max(bottom, row)
        left, right = min(left, column), max(right, last)
        if depth > 1:
            continue
        if had_inner:
            raise BrokenError("its cells are interrupted by a chart")  # only those before would be read
        if kind in {LABEL, LABEL_SHARED, RICH_LABEL}:
            cells.texts.add(place)
        elif kind == BOOL_OR_ERROR and stream[at + 7]:
            cells.others[place] = _error(stream[at + 6])
        elif kind == FORMULA and stream[at + 12 : at + 14] == SPECIAL:
            if stream[at + 6] == 2:  # noqa: PLR2004 - the mark of an error
                cells.others[place] = _error(stream[at + 8])
            elif stream[at + 6] in {0, 3}:
                cells.texts.add(place)
    if bottom >= 0:
        cells.size = (bottom - top + 1) * (right - left + 1)
    return cells


def _records(stream: bytearray, offset: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield kind, place, length and depth of the records from a beginning to its end; a chart's are deeper."""
    depth = 0
    while True:
        if offset + 4 > len(stream):
            raise BrokenError("it is cut")
        kind, length = struct.unpack_from("<HH", stream, offset)
        offset += 4
        if offset + length > len(stream):
            raise BrokenError("it is cut")
        if not depth and kind != BEGIN:
            raise BrokenError(
                "it is older than Excel 5" if kind in OLD_BEGINS else "a sheet does not begin where it should"
            )
        if kind == BEGIN:
            depth += 1
        elif kind == END:
            depth -= 1
            if not depth:
                return
        else:
            if length < _LEAST.get(kind, 0):
                raise BrokenError("a record is too short")
            yield kind, offset, length, depth
        offset += length


def _error(code: int) -> CellError:
    return CellError(ERRORS.get(code, f"error {code}"))


_LEAST = {
    BOOL_OR_ERROR: 8, BOUND_SHEET: 7, DIMENSIONS: 8, FORMULA: 20, LABEL: 8, LABEL_SHARED: 10, MANY_NUMBERS: 12,
    NUMBER: 14, ONE_NUMBER: 10, RICH_LABEL: 8, SHARED_TEXTS: 8,
}  # fmt: skip
"""Least bytes of the records that are looked into."""
