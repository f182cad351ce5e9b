"""The cells of a sheet: errors among them, and values of one column as those of one type."""

from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from typing import Any

import pyarrow as pa
from msgspec import Struct

LARGEST_WHOLE = 2**53
"""Up to here each whole number is a floating-point number of its own."""


class CellError(Struct, frozen=True):
    """What stands in a cell that has no value: its text, and why it is none."""

    text: str
    why: str = "an error value"


class Cells(Struct):
    """What a library does not tell of a sheet's cells, by row and column from 0."""

    others: dict[tuple[int, int], Any] = {}
    """Values to use in place of those that the library gives."""
    negative: dict[tuple[int, int], str] = {}
    """Numbers below zero, as text: none of them is a date."""
    texts: set[tuple[int, int]] = set()
    """Texts, of which an empty one is given as nothing."""
    size: int = 0
    """Cells between the first and the last, with those that are empty."""
    has_shared: bool = False
    """Whether texts are shared with other cells."""


def column_letters(index: int) -> str:
    """Return what spreadsheets call the column with this index, from 0: A, B, ... Z, AA, ..."""
    letters = ""
    index += 1
    while index:
        index, rest = divmod(index - 1, 26)
        letters = chr(ord("A") + rest) + letters
    return letters


def settled(values: Sequence[Any], known: pa.DataType, *, named: str | None) -> Sequence[Any]:
    """Return a column's values so that what spreadsheets store alike has one type.

    They keep whole numbers as floating-point numbers, and leave out midnight and the days of a duration. `known` is
    the type that the column has already, or null; `named` the one that an option gives it. What does not fit stays.
    """
    types = set(map(type, values))
    if float in types and _wants_whole(values, known, named):
        values = [_whole(value) if type(value) is float else value for value in values]
    if int in types and named in {None, "float64"} and not _wants_int(values, known, named):
        values = [_exact(value) if type(value) is int else value for value in values]
    if date in types and not named and (datetime in types or pa.types.is_timestamp(known)):
        values = [_midnight(value) if type(value) is date else value for value in values]
    if time in types and (
        named == "duration" or (not named and (timedelta in types or pa.types.is_duration(known)))
    ):
        values = [_since_midnight(value) if type(value) is time else value for value in values]
    return values


def _wants_whole(values: Sequence[Any], known: pa.DataType, named: str | None) -> bool:
    if named:
        return named in {"json", "string"} or named.startswith(("int", "uint"))
    if pa.types.is_null(known):
        return all(value.is_integer() and abs(value) <= LARGEST_WHOLE for value in values if type(value) is float)
    return bool(pa.types.is_integer(known))


def _wants_int(values: Sequence[Any], known: pa.DataType, named: str | None) -> bool:
    """Say whether a column is of whole numbers."""
    if named or pa.types.is_floating(known):
        return False
    return not pa.types.is_null(known) or float not in set(map(type, values))


def _exact(value: int) -> float | int:
    """Return a whole number as a floating-point one, if that is the same."""
    try:
        return float(value) if int(float(value)) == value else value
    except OverflowError:
        return value


def _whole(value: float) -> float | int:
    return int(value) if value.is_integer() and abs(value) <= LARGEST_WHOLE else value


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day)  # noqa: DTZ001 - spreadsheets know no zones


def _since_midnight(clock: time) -> timedelta:
    return timedelta(hours=clock.hour, minutes=clock.minute, seconds=clock.second, microseconds=clock.microsecond)
