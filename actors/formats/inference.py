"""The type of a column that nobody has named, from the first values that are seen."""

from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pyarrow as pa

from actors.formats.types import MAX_DECIMAL128_DIGITS, MAX_DECIMAL_DIGITS, decimal_type

INT64_MIN, INT64_MAX, UINT64_MAX = -(2**63), 2**63 - 1, 2**64 - 1

SIMPLE: dict[type, pa.DataType] = {
    bool: pa.bool_(),
    bytes: pa.binary(),
    date: pa.date32(),
    float: pa.float64(),
    str: pa.string(),
    time: pa.time64("us"),
    timedelta: pa.duration("us"),
    UUID: pa.string(),
    dict: pa.struct([]),
    list: pa.list_(pa.null()),
    tuple: pa.list_(pa.null()),
}


def infer_type(values: Sequence[Any], types: set[type]) -> pa.DataType:
    """Return the type of the first value that has one of `types`, widened for the others as far as they agree.

    Lists and records have no items and fields yet.
    """
    first = next((type(value) for value in values if type(value) in types), None)
    if first is None:
        return pa.null()
    if first is int:  # the others of this kind widen it
        first = next((type(value) for value in values if type(value) in types & {float, Decimal}), int)
    chosen = [value for value in values if type(value) is first]
    if first in SIMPLE:
        return SIMPLE[first]
    if first is int:
        return _int_type(chosen)
    if first is Decimal:
        return _decimal_type([value for value in values if type(value) is Decimal or type(value) is int])
    return _timestamp_type(chosen)


def _int_type(values: Sequence[int | None]) -> pa.DataType:
    """Return uint64 if that holds what int64 does not; if each would leave some out, the first value decides."""
    for value in values:
        if value is not None and INT64_MIN <= value < 0:
            return pa.int64()
        if value is not None and INT64_MAX < value <= UINT64_MAX:
            return pa.uint64()
    return pa.int64()


def _decimal_type(values: Sequence[Decimal | int]) -> pa.DataType:
    """Return a type with the largest scale that is seen, and all the digits that Arrow has for it."""
    scale = whole = 0
    for value in values:
        number = Decimal(value)
        exponent = number.as_tuple().exponent
        if not isinstance(exponent, int) or abs(exponent) > MAX_DECIMAL_DIGITS:
            continue
        if max(number.adjusted() + 1, 0) + max(-exponent, 0) <= MAX_DECIMAL_DIGITS:
            scale = max(scale, -exponent)
            whole = max(whole, number.adjusted() + 1)
    scale = min(scale, MAX_DECIMAL_DIGITS)
    return decimal_type(
        MAX_DECIMAL128_DIGITS if whole + scale <= MAX_DECIMAL128_DIGITS else MAX_DECIMAL_DIGITS, scale
    )


def _timestamp_type(values: Sequence[datetime | None]) -> pa.DataType:
    """Return the type for the first value: without a zone, or with the only zone that there is, or UTC."""
    present = [value for value in values if value is not None]
    if present[0].tzinfo is None:
        return pa.timestamp("us")
    zones = {value.tzinfo for value in present if value.tzinfo is not None}
    if len(zones) == 1:
        try:
            return pa.timestamp("us", pa.array([datetime(2026, 1, 1, tzinfo=zones.pop())]).type.tz)
        except (pa.ArrowException, ValueError):  # an offset of seconds, or a zone that has no name
            pass
    return pa.timestamp("us", "UTC")
