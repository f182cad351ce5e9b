"""The rows of a job as its worker wants them: an Arrow stream, a JSON array of objects, or the same in MessagePack.

In JSON dates and times are text as in ISO 8601 and RFC 3339, moments in UTC with `Z`, years of more than four
digits with a sign; durations are ISO 8601 (`PT1.5S`), decimals text, binary values base64, and numbers that JSON
does not have (NaN, infinite) null. A map is a list of pairs, since a key may come twice. In MessagePack it is the
same, but binary values are binary, and all floats are numbers.
"""

from base64 import b64encode
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any
from uuid import UUID

import msgspec
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from actors.formats.plain import has_dictionaries
from actors.row_sizes import is_large, is_list, map_as_list
from rota.protocol import PayloadForm

END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"
UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
"""How many there are in a second."""
DAY_SECONDS = 24 * 3600
CYCLE_DAYS = 146_097
"""Days after which the calendar begins again: 400 years."""
EPOCH = date(1970, 1, 1)
FIRST_DAY, LAST_DAY = (date.min - EPOCH).days, (date.max - EPOCH).days

Bytes = Callable[[bytes], Any]
"""What becomes of a binary value."""


def encode_rows(table: pa.Table, form: PayloadForm) -> bytes:
    """Return the rows of a table in a form, whatever their types. It takes memory for all of them at once."""
    if form == "arrow":
        return bytes(arrow_stream(table, arrow_head(table.schema)))
    if form == "json":
        return orjson.dumps(_records(table, _base64))
    return msgspec.msgpack.encode(_records(table, bytes))


def arrow_head(schema: pa.Schema) -> pa.Buffer | None:
    """Return how the streams with these columns begin; None if they have more than batches behind that."""
    return None if has_dictionaries(schema) else schema.serialize()


def arrow_stream(table: pa.Table, head: pa.Buffer | None) -> pa.Buffer:
    """Return an Arrow IPC stream; the head is that of its columns."""
    if head is None:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        return sink.getvalue()
    # The bytes that Arrow's writer makes, quicker: the schema is written once, and no buffer has to grow.
    return pa.py_buffer(b"".join([head, *(batch.serialize() for batch in table.to_batches()), END_OF_STREAM]))


def _records(table: pa.Table, bytes_: Bytes) -> list[dict[str, Any]]:
    names = table.column_names
    columns = [[value for chunk in column.chunks for value in _values(chunk, bytes_)] for column in table.columns]
    if not columns:
        return [{} for _ in range(table.num_rows)]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _values(array: pa.Array, bytes_: Bytes) -> list[Any]:
    """Return the values as those of Python that both forms have: bool, int, float, str, bytes, list, dict, None."""
    type_ = array.type
    if type_ == pa.uuid():
        return [None if value is None else str(UUID(bytes=value)) for value in array.storage.to_pylist()]
    if isinstance(array, pa.ExtensionArray):
        return _values(array.storage, bytes_)
    if pa.types.is_dictionary(type_):
        return _values(array.dictionary_decode(), bytes_)
    if pa.types.is_run_end_encoded(type_):
        return _values(pc.run_end_decode(array), bytes_)
    if pa.types.is_struct(type_):
        return _structs(array, bytes_)
    if pa.types.is_map(type_):
        pairs = _lists(map_as_list(array), bytes_)
        return [None if each is None else [list(pair.values()) for pair in each] for each in pairs]
    if is_list(type_):
        return _lists(array, bytes_)
    if pa.types.is_binary(type_) or pa.types.is_large_binary(type_) or pa.types.is_fixed_size_binary(type_):
        return [None if value is None else bytes_(value) for value in array.to_pylist()]
    if pa.types.is_binary_view(type_):
        return _values(array.cast(pa.large_binary()), bytes_)
    if pa.types.is_float16(type_):
        return list(array.cast(pa.float32()).to_pylist())
    if _is_plain(type_):
        numbers = pa.types.is_integer(type_) or pa.types.is_floating(type_)
        # NumPy makes a list of numbers several times as fast, but has no null.
        return list(array.to_numpy().tolist() if numbers and not array.null_count else array.to_pylist())
    return _texts(array)


def _is_plain(type_: pa.DataType) -> bool:
    return bool(
        pa.types.is_boolean(type_)
        or pa.types.is_integer(type_)
        or pa.types.is_floating(type_)
        or pa.types.is_string(type_)
        or is_large(type_)
        or pa.types.is_string_view(type_)
        or pa.types.is_null(type_)
    )


def _structs(array: pa.StructArray, bytes_: Bytes) -> list[Any]:
    names = [field.name for field in array.type]
    if not names:
        return list(array.to_pylist())
    fields = (_values(field, bytes_) for field in array.flatten())
    records = [dict(zip(names, row, strict=True)) for row in zip(*fields, strict=True)]
    if not array.null_count:
        return records
    valid = array.is_valid().to_pylist()
    return [record if given else None for record, given in zip(records, valid, strict=True)]


def _lists(array: pa.Array, bytes_: Bytes) -> list[Any]:
    members = iter(_values(array.flatten(), bytes_))
    return [
        None if length is None else [next(members) for _ in range(length)]
        for length in pc.list_value_length(array).to_pylist()
    ]


def _texts(array: pa.Array) -> list[Any]:
    """Return values that neither form has, as text; Arrow makes it where it does so rightly."""
    type_ = array.type
    if pa.types.is_date64(type_):
        return _texts(array.cast(pa.date32(), safe=False))
    if pa.types.is_date32(type_):
        if _in_python(array.cast(pa.int32()), 1, FIRST_DAY, LAST_DAY):
            return list(array.cast(pa.string()).to_pylist())
        return [None if days is None else _day(days) for days in array.cast(pa.int32()).to_pylist()]
    if pa.types.is_timestamp(type_):
        return _moments(array)
    if pa.types.is_time(type_):
        return list(_without_zeros(array.cast(pa.string())).to_pylist())
    if pa.types.is_duration(type_):
        unit = UNITS[type_.unit]
        return [None if count is None else _duration(count, unit) for count in array.cast(pa.int64()).to_pylist()]
    try:
        return list(array.cast(pa.string()).to_pylist())
    except pa.ArrowException:
        return [None if value is None else str(value) for value in array.to_pylist()]


def _moments(array: pa.Array) -> list[Any]:
    unit, zoned = array.type.unit, array.type.tz is not None
    numbers = array.cast(pa.int64())
    if not _in_python(numbers, UNITS[unit] * DAY_SECONDS, FIRST_DAY, LAST_DAY):
        zone = "Z" if zoned else ""
        return [None if count is None else _moment(count, UNITS[unit]) + zone for count in numbers.to_pylist()]
    if zoned:
        # The zone is the column's, not the value's: which moment it is can be said without it.
        array = array.cast(pa.timestamp(unit, "UTC"))
    texts = pc.replace_substring(array.cast(pa.string()), " ", "T", max_replacements=1)
    return list(_without_zeros(texts).to_pylist())


def _without_zeros(texts: pa.Array) -> pa.Array:
    """Leave out fractions of a second that are nothing."""
    return pc.replace_substring_regex(texts, r"\.0+(Z?)$", r"\1")


def _in_python(numbers: pa.Array, day: int, first: int, last: int) -> bool:
    """Say whether all are of years that have four digits: Arrow writes others wrongly when they are far away."""
    found = pc.min_max(numbers)
    least, most = found["min"].as_py(), found["max"].as_py()
    return least is None or (least >= first * day and most < (last + 1) * day)


def _day(days: int) -> str:
    cycles, days = divmod(days, CYCLE_DAYS)
    found = EPOCH + timedelta(days=days)
    year = found.year + 400 * cycles
    written = f"{year:04}" if 0 <= year <= date.max.year else f"{year:+05}"
    return f"{written}{found:-%m-%d}"


def _moment(count: int, unit: int) -> str:
    seconds, fraction = divmod(count, unit)
    days, seconds = divmod(seconds, DAY_SECONDS)
    minutes, seconds = divmod(seconds, 60)
    return f"{_day(days)}T{minutes // 60:02}:{minutes % 60:02}:{seconds:02}{_fraction(fraction, unit)}"


def _duration(count: int, unit: int) -> str:
    seconds, fraction = divmod(abs(count), unit)
    return f"{'-' if count < 0 else ''}PT{seconds}{_fraction(fraction, unit)}S"


def _fraction(count: int, unit: int) -> str:
    return f".{count:0{len(str(unit)) - 1}}" if count else ""


def _base64(value: bytes) -> str:
    return b64encode(value).decode()
