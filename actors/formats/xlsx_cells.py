"""What python-calamine does not tell of a sheet in XLSX: its size before it is built, errors, and exact numbers."""

import re
from io import BytesIO
from typing import Any

from lxml import etree

from actors.formats.sheet import MAX_CELLS, too_many_cells
from actors.formats.sheet_cells import CellError, Cells
from actors.formats.zip_parts import Parts

MAX_ROWS, MAX_COLUMNS = 1_048_576, 16_384
EXACT_DIGITS = 15
"""Numbers with no more digits are the same as floating-point numbers."""
NO_STORED_VALUE = CellError("", "a formula without a stored value (save the file once with a spreadsheet program)")

_CELL = re.compile(r"([A-Za-z]{1,3})([1-9][0-9]{0,6})")


def cells_of(parts: Parts, name: str, sheet: str, data: bytes, empty_texts: frozenset[str]) -> Cells:
    """Look through a sheet; TooLargeError if it would take too much memory.

    `empty_texts` are the indices of shared texts that are empty.
    """
    cells = Cells()
    row, column = -1, -1
    top = left = MAX_ROWS
    bottom = right = -1
    indices: dict[str, int] = {}
    events = etree.iterparse(
        BytesIO(data),
        events=("start", "end"),
        tag=("{*}row", "{*}c"),
        resolve_entities=False,
        no_network=True,
        huge_tree=False,
    )
    with parts.xml_faults(name):
        for event, element in events:
            is_cell = element.tag.endswith("}c") or element.tag == "c"
            if event == "start":
                if not is_cell:
                    number = element.get("r")
                    row = row + 1 if number is None else int(number) - 1
                    column = -1
                continue
            if not is_cell:
                element.clear()
                parent = element.getparent()
                while parent is not None and element.getprevious() is not None:
                    del parent[0]
                continue
            if (place := element.get("r")) is None:
                column += 1
            else:
                if not (found := _CELL.fullmatch(place)):
                    raise ValueError(f"{place[:20]} is no cell")
                letters, digits = found.groups()
                if (known := indices.get(letters)) is None:
                    known = indices[letters] = _index(letters)
                row, column = int(digits) - 1, known
            if row < top or row > bottom:
                top, bottom = min(top, row), max(bottom, row)
            if column < left or column > right:
                left, right = min(left, column), max(right, column)
            _look(cells, element, (row, column), empty_texts)
    if bottom >= MAX_ROWS or right >= MAX_COLUMNS:
        raise parts.fault(f"its sheet {sheet} has a cell beyond the last row or column")
    if bottom >= 0 and (size := (bottom - top + 1) * (right - left + 1)) > MAX_CELLS:
        raise too_many_cells(parts.path, sheet, size)
    return cells


def empty_texts_of(parts: Parts, name: str, data: bytes) -> frozenset[str]:
    """Return the indices, as text, of the shared texts that are empty."""
    empty = []
    with parts.xml_faults(name):
        events = etree.iterparse(BytesIO(data), tag="{*}si", resolve_entities=False, no_network=True)
        for index, (_, element) in enumerate(events):
            if not any(text.text for text in element.iter("{*}t")):
                empty.append(str(index))
            element.clear()
            parent = element.getparent()
            while parent is not None and element.getprevious() is not None:
                del parent[0]
    return frozenset(empty)


def _look(cells: Cells, cell: Any, place: tuple[int, int], empty_texts: frozenset[str]) -> None:
    kind = cell.get("t", "n")
    value, is_formula = None, False
    for child in cell:
        tag = child.tag
        if tag.endswith("}v"):
            value = child.text
        elif tag.endswith("}f"):
            is_formula = True
    match kind:
        case "n":
            if value is None:
                if is_formula:
                    cells.others[place] = NO_STORED_VALUE
            elif len(value) > EXACT_DIGITS and value.removeprefix("-").isdecimal():
                cells.others[place] = int(value)
            elif value.startswith("-"):
                cells.negative[place] = value
        case "s":
            cells.has_shared = True
            if value in empty_texts:
                cells.others[place] = ""
        case "e":
            cells.others[place] = CellError(value or "")
        case "str":
            if not value:
                cells.others[place] = "" if is_formula or value is not None else None
        case "inlineStr":
            if not any(text.text for text in cell.iter("{*}t")):
                cells.others[place] = ""
        case _:
            pass


def _index(letters: str) -> int:
    index = 0
    for letter in letters.upper():
        index = index * 26 + ord(letter) - ord("A") + 1
    return index - 1
