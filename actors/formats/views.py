"""Clears what stands under the nulls of view columns: Arrow does not validate it, but follows it when it casts."""

from typing import Any

import numpy as np
import pyarrow as pa

VIEW_BYTES = 16


def has_views(type_: pa.DataType) -> bool:
    """Say whether values of the type, or those in them, are views."""
    if isinstance(type_, pa.BaseExtensionType):
        return has_views(type_.storage_type)
    if pa.types.is_dictionary(type_):
        return has_views(type_.value_type)
    return _is_view(type_) or any(has_views(type_.field(index).type) for index in range(type_.num_fields))


def cleared(array: pa.Array) -> pa.Array:
    """Return the same values; the array is all of its buffers, as it comes out of a file."""
    type_ = array.type
    if not has_views(type_):
        return array
    own = array.buffers()
    if isinstance(type_, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(type_, cleared(array.storage))
    if pa.types.is_dictionary(type_):
        return pa.DictionaryArray.from_arrays(array.indices, cleared(array.dictionary), ordered=type_.ordered)
    if pa.types.is_run_end_encoded(type_):
        return pa.RunEndEncodedArray.from_arrays(array.run_ends, cleared(array.values), type_)
    if _is_view(type_):
        return _without_nulls(array, own)
    if pa.types.is_struct(type_):
        children = [cleared(array.field(index)) for index in range(type_.num_fields)]
        return pa.Array.from_buffers(type_, len(array), own[:1], children=children)
    if pa.types.is_map(type_):
        entries = pa.StructArray.from_arrays(
            [cleared(array.keys), cleared(array.items)], fields=[type_.key_field, type_.item_field]
        )
        return pa.Array.from_buffers(type_, len(array), own[:2], children=[entries])
    kept = 1 if pa.types.is_fixed_size_list(type_) else 2 if not _is_list_view(type_) else 3
    return pa.Array.from_buffers(type_, len(array), own[:kept], children=[cleared(array.values)])


def _without_nulls(array: pa.Array, own: list[Any]) -> pa.Array:
    if not array.null_count:
        return array
    views = np.frombuffer(own[1], np.uint8, len(array) * VIEW_BYTES).reshape(-1, VIEW_BYTES).copy()
    views[array.is_null().to_numpy(zero_copy_only=False)] = 0
    return pa.Array.from_buffers(array.type, len(array), [own[0], pa.py_buffer(views), *own[2:]])


def _is_view(type_: pa.DataType) -> bool:
    return bool(pa.types.is_string_view(type_) or pa.types.is_binary_view(type_))


def _is_list_view(type_: pa.DataType) -> bool:
    return bool(pa.types.is_list_view(type_) or pa.types.is_large_list_view(type_))
