"""Values of any kind into the type that the option column_types names for their column: exactly, or not at all."""

import math
from base64 import b64decode
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from types import NoneType
from typing import Any
from uuid import UUID

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from actors.formats.types import arrow_type
from actors.formats.values import ACCEPTED, KNOWN, Misfit, Misfits, Room, Values, build, fitted, kind_of, plain

PARSED = frozenset(("bool", "date", "decimal", "float", "int", "time", "timestamp"))
"""Kinds of types that Arrow reads from text, a whole column at once."""


def cast(values: Values, name: str, room: Room) -> tuple[pa.Array, Misfits]:
    """Return the values in the type with this name, and those that it cannot hold."""
    type_ = arrow_type(name)
    types = set(map(type, values))
    types.discard(NoneType)
    if not types <= KNOWN:
        values = plain(values)
        types = set(map(type, values)) - {NoneType}
    if name == "json":
        return fitted(values, type_, lambda values, type_: pa.array(_json(values, room.limits.depth), type_))
    kind = kind_of(type_)
    parts: list[pa.Array] = []
    misfits: Misfits = {}
    if str in types and kind in PARSED:
        texts, values = _apart(values, lambda value: type(value) is str)
        array, misfits = fitted(texts, type_, _parsed)
        types -= {str}
        parts.append(array)
    if types - ACCEPTED[kind] or (UUID in types and kind == "string"):
        values, more = _changed(values, type_, kind)
        misfits |= more
    if kind == "timestamp" and type_.tz and datetime in set(map(type, values)):
        local, values = _apart(values, lambda value: type(value) is datetime and value.tzinfo is None)
        array, more = fitted(local, type_, _in_zone)
        misfits |= more
        parts.append(array)
    array, more = build(values, type_, room)
    misfits |= more
    return (pc.coalesce(*parts, array) if parts else array), misfits


def _apart(values: Values, chosen: Callable[[Any], bool]) -> tuple[list[Any], list[Any]]:
    """Return the chosen values and the others, each with null in place of the rest."""
    flags = list(map(chosen, values))
    return (
        [value if flag else None for value, flag in zip(values, flags, strict=True)],
        [None if flag else value for value, flag in zip(values, flags, strict=True)],
    )


def _parsed(texts: Values, type_: pa.DataType) -> pa.Array:
    """Read texts, with or without spaces around them."""
    strings = pc.utf8_trim_whitespace(pa.array(texts, pa.string()))
    if pa.types.is_floating(type_):
        array = strings.cast(type_)
        if pc.any(pc.and_(pc.is_inf(array), pc.invert(pc.match_substring_regex(strings, "(?i)inf")))).as_py():
            raise OverflowError
        return array
    if pa.types.is_time(type_):
        # Arrow reads no times alone.
        return pc.binary_join_element_wise("1970-01-01", strings, "T").cast(pa.timestamp("us")).cast(type_)
    if pa.types.is_timestamp(type_) and type_.tz:
        zoned = pc.match_substring_regex(strings, r":.*(Z|[+-]\d\d(:?\d\d)?)$")
        moments = pc.if_else(zoned, strings, None).cast(type_)
        return pc.coalesce(moments, _in_zone(pc.if_else(zoned, None, strings).cast(pa.timestamp("us")), type_))
    return strings.cast(type_)


def _in_zone(values: Values | pa.Array, type_: pa.DataType) -> pa.Array:
    """Return local times as moments; those that the zone has twice or not at all are errors."""
    return pc.assume_timezone(pa.array(values, pa.timestamp("us")), type_.tz)


def _json(values: Values, depth: int) -> list[str | None]:
    """Return each value as compact JSON; null stays no value."""
    encoder = msgspec.json.Encoder(decimal_format="number")
    texts: list[str | None] = []
    for value in values:
        if value is None:
            texts.append(None)
            continue
        text = encoder.encode(value).decode()
        if "null" in text or "NaN" in text or "Inf" in text or text.count("[") + text.count("{") > depth:
            _check_json(value, depth)
        texts.append(text)
    return texts


def _check_json(value: Any, depth: int) -> None:
    """Raise ValueError for numbers that JSON does not have, which msgspec writes as null, and for deep values."""
    match value:
        case float() | Decimal():
            if not math.isfinite(value):
                raise ValueError
        case dict() | list() | tuple():
            if not depth:
                raise ValueError
            for item in value.values() if isinstance(value, dict) else value:
                _check_json(item, depth - 1)
        case _:
            pass


def _changed(values: Values, type_: pa.DataType, kind: str) -> tuple[list[Any], Misfits]:
    """Return the values as those of Python's types that the Arrow type accepts."""
    change, accepted = _CHANGES[kind], ACCEPTED[kind] - {UUID}
    changed: list[Any] = []
    misfits: Misfits = {}
    for index, value in enumerate(values):
        if value is None or type(value) in accepted:
            changed.append(value)
            continue
        try:
            changed.append(change(value))
        except (ValueError, ArithmeticError, msgspec.ValidationError):
            misfits[index] = Misfit(value, type_)
            changed.append(None)
    return changed, misfits


def _to_binary(value: Any) -> bytes:
    if type(value) is not str:
        raise ValueError
    return b64decode("".join(value.split()), validate=True)


def _to_bool(value: Any) -> bool:
    if type(value) in (int, float, Decimal) and value in (0, 1):
        return bool(value)
    raise ValueError


def _to_date(value: Any) -> date:
    if type(value) is datetime and value.time() == time() and value.tzinfo is None:
        return value.date()
    raise ValueError


def _to_decimal(value: Any) -> Decimal:
    if type(value) is float:
        return Decimal(repr(value))
    raise ValueError


def _to_duration(value: Any) -> timedelta:
    if type(value) is str:
        return msgspec.convert(value.strip(), timedelta)
    raise ValueError


def _to_float(value: Any) -> float:
    if type(value) is Decimal:
        number = float(value)
        if math.isinf(number) == value.is_infinite():
            return number
    raise ValueError


def _to_int(value: Any) -> int:
    if type(value) in (float, Decimal) and abs(value) < 2**64 and value == int(value):
        return int(value)
    raise ValueError


def _to_string(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float() | Decimal() | UUID():
            return str(value)
        case date() | time():
            return value.isoformat()
        case timedelta():
            return msgspec.json.encode(value).decode().strip('"')
        case bytes():
            return value.decode()
        case _:
            raise ValueError


def _to_time(value: Any) -> time:
    raise ValueError(value)


def _to_timestamp(value: Any) -> datetime:
    if type(value) is date:
        return datetime(value.year, value.month, value.day)  # noqa: DTZ001 - the type says which zone, if any
    raise ValueError


_CHANGES: dict[str, Callable[[Any], Any]] = {
    "binary": _to_binary,
    "bool": _to_bool,
    "date": _to_date,
    "decimal": _to_decimal,
    "duration": _to_duration,
    "float": _to_float,
    "int": _to_int,
    "string": _to_string,
    "time": _to_time,
    "timestamp": _to_timestamp,
}
"""How values of other kinds become those of one, if they can without loss."""
