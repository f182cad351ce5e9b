"""Cells of ODS as they stand in its XML: which of them pyexcel-ods3 reads exactly, and the values of the others."""

import re
from datetime import date, datetime, timedelta
from typing import Any, Final

import msgspec
from lxml import etree

from actors.formats.sheet_cells import CellError

OFFICE = "urn:oasis:names:tc:opendocument:xmlns:office:1.0"
TABLE = "urn:oasis:names:tc:opendocument:xmlns:table:1.0"
TEXT = "urn:oasis:names:tc:opendocument:xmlns:text:1.0"
CALC = "urn:org:documentfoundation:names:experimental:calc:xmlns:calcext:1.0"

TYPE = f"{{{OFFICE}}}value-type"
FORMULA = f"{{{TABLE}}}formula"
PARAGRAPHS = frozenset((f"{{{TEXT}}}p", f"{{{TEXT}}}h"))
SPAN, SPACES = f"{{{TEXT}}}span", f"{{{TEXT}}}s"
BREAKS = {f"{{{TEXT}}}tab": "\t", f"{{{TEXT}}}line-break": "\n"}
NOTES = frozenset(
    (f"{{{OFFICE}}}annotation", f"{{{OFFICE}}}annotation-end", f"{{{TEXT}}}note", f"{{{TEXT}}}ruby-text")
)
SIMPLE = frozenset((SPAN, *BREAKS))
EXACT_DIGITS = 15
"""Numbers with no more digits are the same as floating-point numbers."""
MAX_SPACES = 1_000_000

AS_READ: Final = object()
"""Stands for a value that pyexcel-ods3 reads as it is."""
NO_STORED_VALUE = CellError("", "a formula without a stored value (save the file once with a spreadsheet program)")

_CLOCK = re.compile(r"PT([0-9]{1,6})H([0-5][0-9]?)M([0-5][0-9]?)S")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")
_ERROR = re.compile(r"#(DIV/0!|N/A|NAME\?|NULL!|NUM!|REF!|VALUE!)|Err:[0-9]{3}")


def value_of(cell: etree._Element) -> Any:
    """Return the value of a cell, null if there is none, or AS_READ."""
    kind = cell.get(TYPE)
    if kind is None:
        return _untyped(cell)
    if cell.get(f"{{{CALC}}}value-type") == "error":
        return CellError(_text(cell))
    match kind:
        case "float" | "percentage" | "currency":
            return _number(cell)
        case "string":
            return _string(cell)
        case "date":
            return _date(cell.get(f"{{{OFFICE}}}date-value", ""))
        case "time":
            return _time(cell.get(f"{{{OFFICE}}}time-value", ""))
        case "boolean":
            value = cell.get(f"{{{OFFICE}}}boolean-value", "")
            return AS_READ if value in {"true", "false"} else CellError(value, "no bool")
        case "void":
            return None
        case _:
            return CellError(kind, "a type that ODS does not have")


def _untyped(cell: etree._Element) -> Any:
    if cell.get(FORMULA) is not None:
        return CellError(_text(cell), NO_STORED_VALUE.why)
    return (_text(cell) or None) if len(cell) else None


def _number(cell: etree._Element) -> Any:
    value = cell.get(f"{{{OFFICE}}}value", "")
    if not _NUMBER.fullmatch(value):
        return CellError(value, "no number")
    if cell.get(FORMULA) is not None and _ERROR.fullmatch(text := _text(cell)):
        return CellError(text)  # as LibreOffice wrote errors before version 4
    if len(value) > EXACT_DIGITS and value.lstrip("+-").isdecimal():
        return int(value)
    cell.set(TYPE, "float")  # a currency is read as text with its name
    return AS_READ


def _string(cell: etree._Element) -> Any:
    stored = cell.get(f"{{{OFFICE}}}string-value")
    if stored is not None:
        return stored
    found = False
    for child in cell:
        if child.tag not in PARAGRAPHS:
            if child.tag in NOTES or not str(child.tag).startswith(f"{{{TEXT}}}"):
                continue
            return _text(cell)
        found = found or bool(child.text)
        for inner in child.iterdescendants():
            if inner.tag not in SIMPLE:
                return _text(cell)
            found = True
    return AS_READ if found else _text(cell)


def _date(value: str) -> Any:
    try:
        if len(value) == len("2026-05-01"):
            date.fromisoformat(value)
            return AS_READ
        moment = datetime.fromisoformat(value)
    except ValueError:
        return CellError(value, "no date")
    is_read = (
        moment.tzinfo is None and len(value) >= len("2026-05-01T00:00:00") and value[10] == "T" and "," not in value
    )
    return AS_READ if is_read and value[4] == "-" else moment


def _time(value: str) -> Any:
    if _CLOCK.fullmatch(value):
        return AS_READ
    try:
        took = msgspec.convert(value, timedelta)
    except (msgspec.ValidationError, OverflowError):
        return CellError(value, "no time")
    if timedelta() <= took < timedelta(days=1):
        return (datetime(1, 1, 1) + took).time()  # noqa: DTZ001 - any day
    return took


def _text(cell: etree._Element) -> str:
    """Return the text that a cell shows."""
    return "\n".join(_inner(child) for child in cell.iter(*PARAGRAPHS) if not _is_note(child, cell))


def _is_note(paragraph: etree._Element, cell: etree._Element) -> bool:
    parent = paragraph.getparent()
    while parent is not None and parent is not cell:
        if not str(parent.tag).startswith(f"{{{TEXT}}}") or parent.tag in NOTES:
            return True
        parent = parent.getparent()
    return False


def _inner(element: etree._Element) -> str:
    pieces = [element.text or ""]
    for child in element:
        if child.tag == SPACES:
            count = int(child.get(f"{{{TEXT}}}c", "1"))
            if count > MAX_SPACES:
                raise ValueError(f"{count} spaces in one cell")
            pieces.append(" " * count)
        elif child.tag in BREAKS:
            pieces.append(BREAKS[child.tag])
        elif child.tag not in NOTES:
            pieces.append(_inner(child))
        pieces.append(child.tail or "")
    return "".join(pieces)
