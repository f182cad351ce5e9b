"""The type of a column of results, found out while its values come."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pyarrow as pa

from actors.results.rows import json_text

EXACT = 2**53
"""Integers beyond it are not all floats."""
MAX_FIELDS = 1_000
"""Of a nested type: objects with more have keys that are values."""
PLAIN: dict[type, pa.DataType] = {
    bool: pa.bool_(),
    bytes: pa.binary(),
    datetime: pa.timestamp("us", tz="UTC"),
    float: pa.float64(),
    str: pa.string(),
}
JSON_FIELD = {"rota.json": "true"}
"""Metadata of a column whose values are JSON texts, since they have no type in common."""


class Column:
    """What is known of the values of a column."""

    def __init__(self) -> None:
        self.is_json = False
        """Whether its values have no type in common, and are JSON texts."""
        self._kinds: set[type] = set()
        self._least = self._most = 0
        self._nested: pa.DataType | None = None

    def note(self, values: Sequence[Any]) -> None:
        """Take account of some more values."""
        if self.is_json:
            return
        kinds = set(map(type, values)) - {type(None)}
        self._kinds |= kinds
        if int in kinds:
            integers = [value for value in values if type(value) is int]
            self._least = min(self._least, *integers)
            self._most = max(self._most, *integers)
        if kinds & {dict, list}:
            self._note_nested(values)
        self.is_json = self.is_json or self._plain() is None

    def field(self, name: str) -> pa.Field:
        """Return its field: a column of JSON texts says so."""
        if self.is_json:
            return pa.field(name, pa.string(), metadata=JSON_FIELD)
        return pa.field(name, self._plain())

    def _plain(self) -> pa.DataType | None:
        """Return the type that all values have, None if there is none."""
        match self._kinds:
            case kinds if not kinds:
                return pa.string()
            case kinds if kinds == {int}:
                return self._integer()
            case kinds if kinds == {int, float}:
                exact = self._least >= -EXACT and self._most <= EXACT
                return pa.float64() if exact else None
            case kinds if kinds in ({dict}, {list}):
                return self._nested
            case kinds if len(kinds) == 1:
                return PLAIN.get(*kinds)
            case _:
                return None

    def _integer(self) -> pa.DataType | None:
        if self._least >= -(2**63) and self._most < 2**63:
            return pa.int64()
        return pa.uint64() if self._least >= 0 else None

    def _note_nested(self, values: Sequence[Any]) -> None:
        try:
            found = pa.infer_type(values)
            if self._nested is not None:
                known, more = (pa.schema([("", type_)]) for type_ in (self._nested, found))
                found = pa.unify_schemas([known, more], promote_options="permissive").field(0).type
        except (pa.ArrowException, OverflowError, RecursionError, UnicodeError):
            self.is_json = True
            return
        self._nested = found
        self.is_json = not _is_stored(found) or _fields(found) > MAX_FIELDS


def as_array(values: list[Any], field: pa.Field) -> pa.Array | None:
    """Return values of a column; None if they do not fit its type."""
    if field.metadata:
        return pa.array([None if value is None else json_text(value) for value in values], pa.string())
    try:
        return pa.array(values, field.type)
    except (pa.ArrowException, OverflowError, RecursionError, UnicodeError):
        return None


def _is_stored(type_: pa.DataType) -> bool:
    """Say whether Parquet has the type: it has no objects without members."""
    if pa.types.is_struct(type_):
        return type_.num_fields > 0 and all(
            _is_stored(type_.field(index).type) for index in range(type_.num_fields)
        )
    return _is_stored(type_.value_type) if pa.types.is_list(type_) else True


def _fields(type_: pa.DataType) -> int:
    if pa.types.is_struct(type_):
        return sum(1 + _fields(type_.field(index).type) for index in range(type_.num_fields))
    return _fields(type_.value_type) if pa.types.is_list(type_) else 0
