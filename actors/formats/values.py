"""Python values into Arrow arrays, exactly, of a type that is kept and only ever grows."""

from collections.abc import Callable, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import cache
from itertools import chain
from types import NoneType
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa
from msgpack import Timestamp
from msgspec import Struct

from actors.formats.inference import infer_type
from actors.formats.limits import Limits
from actors.formats.rows import NO_RECORD, spread
from rota.errors import TooLargeError

Values = Sequence[Any]

ERRORS = (pa.ArrowException, OverflowError, ValueError, TypeError)
"""What pyarrow raises for a value that it cannot take (a text with lone surrogates is a ValueError)."""

ACCEPTED: dict[str, frozenset[type]] = {
    "binary": frozenset((bytes,)),
    "bool": frozenset((bool,)),
    "date": frozenset((date,)),
    "decimal": frozenset((Decimal, int)),
    "duration": frozenset((timedelta,)),
    "float": frozenset((float, int)),
    "int": frozenset((int,)),
    "list": frozenset((list, tuple)),
    "map": frozenset((dict,)),
    "record": frozenset((dict,)),
    "string": frozenset((str, UUID)),
    "time": frozenset((time,)),
    "timestamp": frozenset((datetime,)),
}
"""Python's types whose values an Arrow type may hold without a change of meaning, by the kind of the Arrow type."""

KNOWN = frozenset(chain.from_iterable(ACCEPTED.values()))
MAX_CELLS = 32 * 1024 * 1024
"""Cells of one block, with those that are empty: a bound on what few bytes with many names can become."""


class Misfit(Struct):
    """A value that its type cannot hold: where in its column it stands, and why if that is not plain."""

    value: Any
    type: pa.DataType
    path: tuple[str, ...] = ()
    reason: str | None = None


Misfits = dict[int, Misfit]
"""By index of the value; where there is one the array holds null."""


class Room(Struct):
    """What is left of the limits of a file."""

    limits: Limits
    path: str
    fields: int = 0
    cells: int = 0

    def take(self, new_fields: int, cells: int) -> None:
        """Count new columns or fields, and cells of a table or of records; TooLargeError if too many."""
        self.fields += new_fields
        if self.fields > self.limits.columns:
            raise TooLargeError(
                f"{self.path} has more than {self.limits.columns} columns, counting the fields of records; "
                "the option columns can choose among them"
            )
        self.cells += cells
        if self.cells > MAX_CELLS:
            raise TooLargeError(
                f"{self.path} has more than {MAX_CELLS} cells in one block, since most columns are empty in most "
                "rows; the option columns can choose among them"
            )


def build(values: Values, known: pa.DataType, room: Room, depth: int = 0) -> tuple[pa.Array, Misfits]:
    """Return the values as an array, of the known type or one that extends it, and those that do not fit.

    Null becomes any type, records get more fields; nothing else changes. The first value decides a new type,
    widened by those after it as far as it goes without loss.
    """
    types = set(map(type, values))
    types.discard(NoneType)
    if not types:
        return pa.nulls(len(values), known), {}
    if not types <= KNOWN:
        values = plain(values)
        types = set(map(type, values)) - {NoneType}
    if pa.types.is_null(known):
        known = infer_type(values, types & KNOWN)
        if pa.types.is_null(known):  # nothing that a column can hold
            return pa.nulls(len(values), known), _sorted_out(values, known, frozenset())[1]
    kind = kind_of(known)
    misfits: Misfits = {}
    if not types <= ACCEPTED[kind]:
        values, misfits = _sorted_out(values, known, ACCEPTED[kind])
    if UUID in types and kind == "string":
        values = [str(value) if type(value) is UUID else value for value in values]
    match kind:
        case "list":
            array, more = _lists(values, known, room, depth + 1)
        case "record":
            array, more = _records(values, known, room, depth + 1)
        case "map":
            array, more = _maps(values, known, room, depth + 1)
        case _:
            array, more = fitted(values, known, _scalars)
    return array, {**more, **misfits} if misfits else more


def fitted(
    values: Values, known: pa.DataType, convert: Callable[[Values, pa.DataType], pa.Array]
) -> tuple[pa.Array, Misfits]:
    """Return the values converted at once, and those that cannot be, found by halving: `convert` raises for any."""
    try:
        return convert(values, known), {}
    except ERRORS:
        pass
    bad: list[int] = []
    halves = [(0, len(values))]
    while halves:
        begin, end = halves.pop()
        try:
            convert(values[begin:end], known)
        except ERRORS:
            if end - begin == 1:
                bad.append(begin)
            else:
                middle = (begin + end) // 2
                halves += [(begin, middle), (middle, end)]
    kept = list(values)
    for index in bad:
        kept[index] = None
    return convert(kept, known), {index: Misfit(values[index], known) for index in bad}


def plain(values: Values) -> Values:
    """Return the values with subclasses of what is known, such as a reader's own strings, as the known."""
    return [value if value is None or type(value) in KNOWN else _as_base(value) for value in values]


@cache
def kind_of(type_: pa.DataType) -> str:
    """Return the key in ACCEPTED under which the Arrow type stands."""
    types = pa.types
    for kind, holds in (
        ("bool", types.is_boolean),
        ("int", types.is_integer),
        ("float", types.is_floating),
        ("decimal", types.is_decimal),
        ("string", lambda it: types.is_string(it) or types.is_large_string(it) or types.is_string_view(it)),
        ("string", lambda it: types.is_dictionary(it) and types.is_string(it.value_type)),
        ("binary", lambda it: types.is_binary(it) or types.is_large_binary(it) or types.is_fixed_size_binary(it)),
        ("binary", types.is_binary_view),
        ("date", types.is_date),
        ("timestamp", types.is_timestamp),
        ("time", types.is_time),
        ("duration", types.is_duration),
        ("list", lambda it: types.is_list(it) or types.is_large_list(it)),
        ("record", types.is_struct),
        ("map", types.is_map),
    ):
        if holds(type_):
            return kind
    raise NotImplementedError(f"Values of Python cannot become {type_}")


def _scalars(values: Values, type_: pa.DataType) -> pa.Array:
    """Convert at once, or raise; what pyarrow would change silently is checked here."""
    if pa.types.is_timestamp(type_):
        naive = {value.tzinfo is None for value in values if value is not None}
        if naive - {type_.tz is None}:
            raise ValueError
        return _in_unit(pa.array(values, pa.timestamp("us", type_.tz)), type_)
    if pa.types.is_time(type_):
        if any(value.tzinfo for value in values if value is not None):
            raise ValueError
        return _in_unit(pa.array(values, pa.time64("us")), type_)
    if pa.types.is_duration(type_):
        return _in_unit(pa.array(values, pa.duration("us")), type_)
    array = pa.array(values, type_)
    if (
        pa.types.is_floating(type_)
        and type_ != pa.float64()
        and _infinities(array) != _infinities(pa.array(values))
    ):
        raise OverflowError
    return array


def _in_unit(array: pa.Array, type_: pa.DataType) -> pa.Array:
    return array if array.type == type_ else array.cast(type_)


def _infinities(array: pa.Array) -> int:
    return int(np.isinf(array.to_numpy(zero_copy_only=False).astype(np.float64)).sum())


def _lists(values: Values, known: pa.DataType, room: Room, depth: int) -> tuple[pa.Array, Misfits]:
    if depth > room.limits.depth:
        return _too_deep(values, known, room)
    lengths = [0 if value is None else len(value) for value in values]
    flat = list(chain.from_iterable(value for value in values if value is not None))
    items, misfits = build(flat, known.value_type, room, depth)
    large = pa.types.is_large_list(known)
    offsets = np.zeros(len(values) + 1, np.int64 if large else np.int32)
    np.cumsum(lengths, out=offsets[1:])
    make, type_ = (pa.LargeListArray, pa.large_list) if large else (pa.ListArray, pa.list_)
    mask = pa.array([value is None for value in values]) if None in values else None
    type_ = type_(known.value_field.with_type(items.type))
    array = make.from_arrays(pa.array(offsets), items, type=type_, mask=mask)
    return array, _of_parents(misfits, offsets)


def _records(values: Values, known: pa.DataType, room: Room, depth: int) -> tuple[pa.Array, Misfits]:
    if depth > room.limits.depth:
        return _too_deep(values, known, room)
    rows = spread([NO_RECORD if value is None else value for value in values])
    misfits = {index: Misfit(name, pa.string(), (), "it is no name") for index, name in rows.misnamed.items()}
    fields = {field.name: field for field in known}
    names = dict.fromkeys(chain(fields, rows.names))
    room.take(len(names) - len(fields), len(values) * len(names))
    arrays, types = [], []
    for name in names:
        field = fields.get(name) or pa.field(name, pa.null())
        if (column := rows.column(name)) is None:
            array = pa.nulls(len(values), field.type)
        else:
            array, more = build(column, field.type, room, depth)
            for index, misfit in more.items():
                misfits.setdefault(index, Misfit(misfit.value, misfit.type, (name, *misfit.path), misfit.reason))
        arrays.append(array)
        types.append(field.with_type(array.type))
    mask = pa.array([value is None for value in values]) if None in values else None
    if not arrays:
        return pa.array([None if value is None else {} for value in values], pa.struct([])), misfits
    return pa.StructArray.from_arrays(arrays, fields=types, mask=mask), misfits


def _maps(values: Values, known: pa.DataType, room: Room, depth: int) -> tuple[pa.Array, Misfits]:
    if depth > room.limits.depth:
        return _too_deep(values, known, room)
    present = [value for value in values if value is not None]
    offsets = np.zeros(len(values) + 1, np.int32)
    np.cumsum([0 if value is None else len(value) for value in values], out=offsets[1:])
    keys, bad_keys = build(list(chain.from_iterable(present)), known.key_type, room, depth)
    flat = list(chain.from_iterable(value.values() for value in present))
    items, misfits = build(flat, known.item_type, room, depth)
    misfits = {**misfits, **bad_keys}
    mask = pa.array([value is None for value in values]) if None in values else None
    if bad_keys:  # a key is never null
        keys = keys.fill_null(pa.scalar("", pa.string()).cast(keys.type))
    type_ = pa.map_(known.key_field, known.item_field.with_type(items.type), known.keys_sorted)
    return pa.MapArray.from_arrays(pa.array(offsets), keys, items, type=type_, mask=mask), _of_parents(
        misfits, offsets
    )


def _of_parents(misfits: Misfits, offsets: Any) -> Misfits:
    """Return the first misfit of each list, by the list's index."""
    found: Misfits = {}
    for index in sorted(misfits):
        found.setdefault(int(np.searchsorted(offsets, index, side="right")) - 1, misfits[index])
    return found


def _too_deep(values: Values, known: pa.DataType, room: Room) -> tuple[pa.Array, Misfits]:
    reason = f"it is more than {room.limits.depth} lists and records deep"
    misfits = {index: Misfit(value, known, (), reason) for index, value in enumerate(values) if value is not None}
    return pa.nulls(len(values), known), misfits


def _sorted_out(values: Values, known: pa.DataType, accepted: frozenset[type]) -> tuple[Values, Misfits]:
    """Return the values with null in place of those of other types, and these."""
    kept, misfits = list(values), {}
    for index, value in enumerate(values):
        if value is not None and type(value) not in accepted:
            misfits[index] = Misfit(value, known)
            kept[index] = None
    return kept, misfits


def _as_base(value: Any) -> Any:
    match value:
        case int():
            return int(value)
        case str():
            return str(value)
        case float():
            return float(value)
        case dict():
            return dict(value)
        case list() | tuple():
            return list(value)
        case bytearray() | memoryview() | bytes():
            return bytes(value)
        case Timestamp() if value.nanoseconds % 1000 == 0:
            try:
                return value.to_datetime()
            except OverflowError:  # a year that Python does not have
                return value
        case _:
            return value
