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


def _whole(value: float) -> float | int:
    return int(value) if value.is_integer() and abs(value) <= LARGEST_WHOLE else value


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day)  # noqa: DTZ001 - spreadsheets know no zones


def _since_midnight(clock: time) -> timedelta:
    return timedelta(
        hours=clock.hour, minutes=clock.minute, seconds=clock.second, microseconds=clock.microsecond
    )
