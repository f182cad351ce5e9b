"""Arrow columns whose rows stand by themselves: without dictionaries, run lengths and views.

A few rows of a column with a dictionary would take all of it with them into each job.
"""

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from actors.formats.block import BadRowError
from actors.formats.limits import Limits
from actors.formats.types import MAX_DECIMAL_DIGITS
from actors.formats.views import cleared, has_views
from events.batch import FileFault
from rota.errors import TooLargeError

BLOCK_BYTES = 4 * 1024 * 1024
BLOCK_ROWS = 65_536
MOST_DECODED_BYTES = 8 * BLOCK_BYTES
"""Where rows become larger than this by decoding, the block is halved."""


class Plain:
    """The schema of a file, and its rows decoded to that."""

    def __init__(self, path: str, schema: pa.Schema, names: list[str], limits: Limits) -> None:
        self._path = path
        self._limits = limits
        # The metadata of a writer (that of pandas names an index) would go into each job.
        self.schema = pa.schema(
            [
                pa.field(name, self._plain_type(name, field.type, 1), field.nullable, field.metadata)
                for name, field in zip(names, schema, strict=True)
            ]
        )
        self._changed = [
            index for index, (old, new) in enumerate(zip(schema, self.schema, strict=True)) if old.type != new.type
        ]

    def blocks(self, batch: pa.RecordBatch, first: int = 0) -> Iterator[tuple[int, pa.Table]]:
        """Yield the rows of a batch from one on that a block began with before, in tables of a few megabytes."""
        if any(has_views(field.type) for field in batch.schema):
            columns = [_with_plain_dictionary(cleared(column)) for column in batch.columns]
            batch = pa.RecordBatch.from_arrays(columns, names=batch.schema.names)
        step = rows_per_block(batch.nbytes, batch.num_rows)
        for begin in range(first // step * step, batch.num_rows, step):
            for start, part in self._halved(begin, batch.slice(begin, step)):
                if start >= first:
                    yield start, self._decoded(part)

    def _halved(self, start: int, rows: pa.RecordBatch) -> Iterator[tuple[int, pa.RecordBatch]]:
        decoded = sum(_decoded_bytes(rows.column(index)) for index in self._changed)
        if rows.num_rows == 1 and decoded + rows.nbytes > self._limits.row_bytes + BLOCK_BYTES:
            self._check_row(start, decoded)
        if decoded <= MOST_DECODED_BYTES or rows.num_rows == 1:
            yield start, rows
            return
        half = (rows.num_rows + 1) // 2
        yield from self._halved(start, rows.slice(0, half))
        yield from self._halved(start + half, rows.slice(half))

    def _check_row(self, start: int, decoded: int) -> None:
        if decoded > self._limits.row_bytes:
            raise TooLargeError(
                f"{self._path}, row {start} of a record batch: it has {decoded} bytes; "
                f"at most {self._limits.row_bytes} are read"
            )

    def _decoded(self, rows: pa.RecordBatch) -> pa.Table:
        columns = rows.columns
        for index in self._changed:
            columns[index] = _plain(columns[index], self.schema.field(index).type)
        return pa.Table.from_arrays(columns, schema=self.schema)

    def _plain_type(self, name: str, type_: pa.DataType, depth: int) -> pa.DataType:
        if depth > self._limits.depth:
            raise TooLargeError(
                f"{self._path}, column {name}: its type is nested too deeply; "
                f"at most {self._limits.depth} levels are read"
            )
        if reason := _unusable(type_):
            raise BadRowError(FileFault(f"{self._path}, column {name}: its type is {type_}, and {reason}", row=0))
        plain = plain_type(type_)
        if plain is not type_:
            return self._plain_type(name, plain, depth)
        fields = [type_.field(index) for index in range(type_.num_fields)]
        inner = [self._plain_type(name, field.type, depth + 1) for field in fields]
        if all(field.type == new for field, new in zip(fields, inner, strict=True)):
            return type_
        renewed = [field.with_type(new) for field, new in zip(fields, inner, strict=True)]
        if rebuilt := _rebuilt(type_, renewed):
            return rebuilt
        raise BadRowError(FileFault(f"{self._path}, column {name}: values of type {type_} cannot be decoded"))


def rows_per_block(size: int, rows: int) -> int:
    """Return how many of so many rows of this size together make a block."""
    return max(1, min(BLOCK_ROWS, rows * BLOCK_BYTES // max(size, 1)))


def chosen(path: str, schema: pa.Schema, columns: list[str] | None, limits: Limits) -> dict[str, int]:
    """Return names and indices of the columns to read, in the order that is asked for."""
    if (count := _count_fields(schema)) > limits.columns:
        raise TooLargeError(f"{path} has {count} columns and fields; at most {limits.columns} are read")
    names = {name: index for index, name in enumerate(unique_names(schema.names))}
    if missing := [name for name in columns or () if name not in names]:
        raise BadRowError(
            FileFault(f"{path}: the option columns names {', '.join(missing)}; it has {', '.join(names)}", row=0)
        )
    return {name: names[name] for name in columns} if columns else names


def unique_names(names: list[str]) -> list[str]:
    """Return the names, where one that comes twice gets a number that gives a name of its own."""
    taken, unique = set(names), dict[str, None]()
    for name in names:
        free, number = name, 2
        while free in unique or (free != name and free in taken):
            free, number = f"{name}_{number}", number + 1
        unique[free] = None
    return list(unique)


def plain_type(type_: pa.DataType) -> pa.DataType:
    """Return the type of the values, not looking into lists and records."""
    if pa.types.is_dictionary(type_) or pa.types.is_run_end_encoded(type_):
        return type_.value_type
    if pa.types.is_string_view(type_):
        return pa.string()
    if pa.types.is_binary_view(type_):
        return pa.binary()
    if pa.types.is_list_view(type_):
        return pa.list_(type_.value_field)
    if pa.types.is_large_list_view(type_):
        return pa.large_list(type_.value_field)
    return type_


def has_dictionaries(schema: pa.Schema) -> bool:
    """Return whether there are dictionaries in the columns, or in their lists and records."""
    waiting = [field.type for field in schema]
    while waiting:
        type_ = waiting.pop()
        if isinstance(type_, pa.BaseExtensionType):
            type_ = type_.storage_type
        if pa.types.is_dictionary(type_):
            return True
        waiting += [type_.field(index).type for index in range(type_.num_fields)]
    return False


def _unusable(type_: pa.DataType) -> str | None:
    """Return why no program could make values of a type, as a broken file may name one."""
    if pa.types.is_decimal(type_) and abs(type_.scale) > MAX_DECIMAL_DIGITS:
        return f"no decimal has more than {MAX_DECIMAL_DIGITS} digits behind the point"
    if pa.types.is_timestamp(type_) and type_.tz is not None:
        try:
            pa.scalar(0, type_).as_py()
        except (pa.ArrowException, ValueError, KeyError, OSError):
            return "there is no such time zone"
    return None


def _rebuilt(type_: pa.DataType, fields: list[pa.Field]) -> pa.DataType | None:
    """Return the nested type with other fields; None where Arrow cannot cast to it."""
    if pa.types.is_struct(type_):
        return pa.struct(fields)
    if pa.types.is_fixed_size_list(type_):
        return pa.list_(fields[0], type_.list_size)
    if pa.types.is_large_list(type_):
        return pa.large_list(fields[0])
    if pa.types.is_list(type_):
        return pa.list_(fields[0])
    if pa.types.is_map(type_):
        entry = fields[0].type
        return pa.map_(entry.field(0), entry.field(1), keys_sorted=type_.keys_sorted)
    return None


def _with_plain_dictionary(array: pa.Array) -> pa.Array:
    """Return the array with a dictionary of no views, which Arrow cannot take values of."""
    if not pa.types.is_dictionary(array.type) or not has_views(array.type):
        return array
    values = array.dictionary
    return pa.DictionaryArray.from_arrays(array.indices, _plain(values, plain_type(values.type)))


def _plain(array: pa.Array, type_: pa.DataType) -> pa.Array:
    if pa.types.is_run_end_encoded(array.type):
        array = pc.run_end_decode(array)
    elif pa.types.is_dictionary(array.type):
        array = array.dictionary.take(array.indices)
    return array if array.type == type_ else array.cast(type_)


def _decoded_bytes(array: pa.Array) -> int:
    """Return at most how many bytes the values take once they are decoded."""
    if len(array) == 0:
        return 0
    type_ = array.type
    if pa.types.is_dictionary(type_):
        return len(array) * largest(array.dictionary)
    if pa.types.is_run_end_encoded(type_):
        return len(array) * largest(array.values)
    if pa.types.is_string_view(type_) or pa.types.is_binary_view(type_):
        return int(pc.sum(pc.binary_length(array.cast(plain_type(type_)))).as_py() or 0)
    if type_.num_fields and not isinstance(type_, pa.BaseExtensionType):
        if pa.types.is_struct(type_):
            return sum(_decoded_bytes(array.field(index)) for index in range(type_.num_fields))
        return _decoded_bytes(array.flatten()) if not pa.types.is_map(type_) else 2 * array.nbytes
    return int(array.nbytes)


def largest(values: pa.Array) -> int:
    """Return the size of the largest of some values."""
    if len(values) == 0:
        return 0
    if pa.types.is_binary(values.type) or pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        return int(pc.max(pc.binary_length(values)).as_py() or 0)
    if values.type.num_fields or pa.types.is_large_binary(values.type):
        return int(values.nbytes)
    return 1 + int(values.nbytes) // len(values)


def _count_fields(schema: pa.Schema) -> int:
    waiting, count = [field.type for field in schema], 0
    while waiting:
        type_ = waiting.pop()
        count += 1
        waiting += [type_.field(index).type for index in range(type_.num_fields)]
    return count
