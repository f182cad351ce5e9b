"""Types of columns by their names in options, and what of a value a message shows."""

import re
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from reprlib import Repr
from typing import Any
from uuid import UUID

import pyarrow as pa

SHOWN_CHARACTERS = 200
MAX_DECIMAL128_DIGITS = 38
MAX_DECIMAL_DIGITS = 76

TYPES: dict[str, pa.DataType] = {
    "binary": pa.binary(),
    "bool": pa.bool_(),
    "date": pa.date32(),
    "duration": pa.duration("us"),
    "float32": pa.float32(),
    "float64": pa.float64(),
    "int8": pa.int8(),
    "int16": pa.int16(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "json": pa.string(),
    "string": pa.string(),
    "time": pa.time64("us"),
    "timestamp": pa.timestamp("us"),
    "uint8": pa.uint8(),
    "uint16": pa.uint16(),
    "uint32": pa.uint32(),
    "uint64": pa.uint64(),
}

_NAMES = {type_: name for name, type_ in TYPES.items() if name != "json"} | {pa.null(): "value of a column"}


def arrow_type(name: str) -> pa.DataType:
    """Return the Arrow type that an option names, as `rota.options.ColumnType` describes them."""
    if found := TYPES.get(name):
        return found
    if zone := re.fullmatch(r"timestamp\[(.+)\]", name):
        return _timestamp(zone[1])
    if parts := re.fullmatch(r"decimal\((\d+),(\d+)\)", name):
        digits, scale = int(parts[1]), int(parts[2])
        if scale <= digits <= MAX_DECIMAL_DIGITS:
            return decimal_type(digits, scale)
    raise ValueError(f"There is no type {name}")


def decimal_type(digits: int, scale: int) -> pa.DataType:
    """Return the narrower of Arrow's two that holds so many digits."""
    return pa.decimal128(digits, scale) if digits <= MAX_DECIMAL128_DIGITS else pa.decimal256(digits, scale)


def name_of(type_: pa.DataType) -> str:
    """Return what messages call a type: its name in options where it has one."""
    if name := _NAMES.get(type_):
        return name
    if pa.types.is_timestamp(type_):
        return f"timestamp[{type_.tz}]" if type_.tz else "timestamp"
    if pa.types.is_decimal(type_):
        return f"decimal({type_.precision},{type_.scale})"
    if pa.types.is_struct(type_) or pa.types.is_map(type_):
        return "record"
    if pa.types.is_list(type_) or pa.types.is_large_list(type_) or pa.types.is_fixed_size_list(type_):
        return "list"
    return str(type_)


def text_of(value: object) -> str:
    """Return a value as text to be shown: cut, and never longer than SHOWN_CHARACTERS."""
    if isinstance(value, str):
        return value[:SHOWN_CHARACTERS]
    return shown(value)


def shown(value: object) -> str:
    """Return a value as messages show it, of bounded length whatever it is; texts are in quotes."""
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, Decimal | timedelta | UUID):
        return str(value)[:SHOWN_CHARACTERS]
    return _SHORT.repr(value)[:SHOWN_CHARACTERS]


class _Short(Repr):
    """Python's notation, cut."""

    def repr_str(self, x: str, level: int) -> str:  # noqa: ARG002 - the base class's
        return repr(x[:SHOWN_CHARACTERS])

    def repr_int(self, x: int, level: int) -> str:  # noqa: ARG002 - the base class's
        try:
            return repr(x)
        except ValueError:  # Python refuses to write numbers of thousands of digits
            return f"a number of {x.bit_length()} bits"

    def repr_datetime(self, x: datetime, level: int) -> str:  # noqa: ARG002 - the base class's
        return x.isoformat()

    def repr_Decimal(self, x: Decimal, level: int) -> str:  # noqa: ARG002, N802 - the base class's
        return str(x)


_SHORT = _Short()
_SHORT.maxdict = _SHORT.maxlist = _SHORT.maxtuple = 10
_SHORT.maxother = SHOWN_CHARACTERS


def _timestamp(zone: str) -> Any:
    type_ = pa.timestamp("us", zone)
    try:
        pa.array([datetime(2026, 1, 1)], pa.timestamp("us")).cast(type_)  # noqa: DTZ001 - any moment
        pa.scalar(0, type_).as_py()
    except (pa.ArrowException, ValueError, KeyError) as error:
        raise ValueError(f"There is no time zone {zone}") from error
    return type_
