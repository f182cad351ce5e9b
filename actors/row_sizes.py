"""The size of each row of a table, from its values alone: the same whatever stands before or behind it.

A value that is null counts nothing, so that a column of which only the later blocks know changes no sizes. Others
count as Arrow holds them, without what Arrow adds to say where they begin and which are null: numbers and times by
their width, text and bytes by their length, lists and records by what is in them. Sizes are in bits, since a truth
value is one bit.
"""

from functools import reduce
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from actors.formats.plain import has_dictionaries

Bits = np.ndarray[Any, np.dtype[np.int64]]


class RowSizes:
    """The sizes of a table's rows, computed for all of them when they are asked for the first time."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table
        self._sums: Bits | None = None
        self._largest = 0
        # A dictionary has values once that many rows have.
        self.most = 2**62 if has_dictionaries(table.schema) else table.nbytes * 8
        """The rows have no more together; it costs next to nothing."""

    def sum(self, offset: int, count: int) -> int:
        """Return what some rows have together."""
        sums = self._computed()
        return int(sums[offset + count] - sums[offset])

    def fitting(self, offset: int, count: int, room: int) -> int:
        """Return how many of some rows, from the first on, have no more than `room` together."""
        sums = self._computed()
        if self._largest * count <= room:
            return count
        some = sums[offset : offset + count + 1]
        return max(0, int(np.searchsorted(some, some[0] + room, side="right")) - 1)

    def _computed(self) -> Bits:
        if self._sums is None:
            bits = row_bits(self._table)
            self._sums, self._largest = _sums(bits), int(bits.max(initial=0))
        return self._sums


def row_bits(table: pa.Table) -> Bits:
    """Return the size of each row of a table."""
    bits: Bits = np.zeros(table.num_rows, np.int64)
    for column in table.columns:
        if _is_fixed(column.type) and not column.null_count:
            bits += column.type.bit_width
        else:
            bits += _joined(column)
    return bits


def _joined(column: pa.ChunkedArray) -> Bits:
    chunks = [_bits(chunk) for chunk in column.chunks]
    return np.concatenate(chunks) if chunks else np.zeros(0, np.int64)


def _bits(array: pa.Array) -> Bits:
    type_ = array.type
    if isinstance(array, pa.ExtensionArray):
        return _bits(array.storage)
    if pa.types.is_dictionary(type_):
        indices = array.indices.fill_null(0).to_numpy(zero_copy_only=False)
        if not len(array.dictionary):
            return np.zeros(len(array), np.int64)
        return _where_valid(array, _bits(array.dictionary)[indices])
    if pa.types.is_run_end_encoded(type_):
        return _bits(pc.run_end_decode(array))
    if pa.types.is_string_view(type_) or pa.types.is_binary_view(type_):
        return _bits(array.cast(pa.large_binary()))
    if pa.types.is_struct(type_):
        # What is in a record that is null is null, too, when it is taken apart so.
        none: Bits = np.zeros(len(array), np.int64)
        return reduce(np.add, map(_bits, array.flatten()), none)
    if pa.types.is_map(type_):
        array = map_as_list(array)
        type_ = array.type
    if is_list(type_):
        return _of_lists(array)
    if pa.types.is_string(type_) or pa.types.is_binary(type_) or is_large(type_):
        return _numbers(pc.binary_length(array)) * 8
    if pa.types.is_null(type_) or pa.types.is_union(type_):
        return np.zeros(len(array), np.int64)
    return _where_valid(array, np.full(len(array), type_.bit_width, np.int64))


def _is_fixed(type_: pa.DataType) -> bool:
    """Say whether all values have the same width, as numbers, dates and times have."""
    return bool(pa.types.is_primitive(type_) or pa.types.is_decimal(type_))


def is_list(type_: pa.DataType) -> bool:
    """Say whether values are lists, of any of Arrow's kinds; a map is none."""
    return bool(
        pa.types.is_list(type_)
        or pa.types.is_large_list(type_)
        or pa.types.is_fixed_size_list(type_)
        or pa.types.is_list_view(type_)
        or pa.types.is_large_list_view(type_)
    )


def is_large(type_: pa.DataType) -> bool:
    """Say whether values are texts or bytes with long offsets."""
    return bool(pa.types.is_large_string(type_) or pa.types.is_large_binary(type_))


def map_as_list(array: pa.MapArray) -> pa.ListArray:
    """Return maps as lists of records with a key and a value each."""
    entry = pa.struct([array.type.key_field, array.type.item_field])
    return array.cast(pa.list_(entry))


def _of_lists(array: pa.Array) -> Bits:
    lengths = _sums(_numbers(pc.list_value_length(array)))
    # Lists that are null are left out, and lengths of null count nothing.
    members = _sums(_bits(array.flatten()))
    of_lists: Bits = members[lengths[1:]] - members[lengths[:-1]]
    return of_lists


def _sums(bits: Bits) -> Bits:
    """Return what comes before each, and before the end."""
    sums: Bits = np.zeros(len(bits) + 1, np.int64)
    np.cumsum(bits, out=sums[1:])
    return sums


def _numbers(array: pa.Array) -> Bits:
    numbers: Bits = array.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    return numbers


def _where_valid(array: pa.Array, bits: Bits) -> Bits:
    if not array.null_count:
        return bits
    valid: Bits = bits * array.is_valid().to_numpy(zero_copy_only=False)
    return valid
