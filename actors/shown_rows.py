"""Rows as people are shown them: what a worker would get as JSON, and little of what is large."""

from collections.abc import Sequence
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from actors.formats.types import SHOWN_CHARACTERS
from actors.row_forms import encode_rows

SHOWN_MEMBERS = 20
SHOWN_COLUMNS = 1000
ROW_CHARACTERS = 20_000
"""About what a row may have in all; what follows is left out."""
MORE = "…"


def shown_rows(tables: Sequence[pa.Table]) -> list[dict[str, Any]]:
    """Return all rows of some tables: dates, times and decimals as text, binary values as base64.

    Texts are cut at SHOWN_CHARACTERS and lists at SHOWN_MEMBERS, with `…` at their end; the same stands for what is
    left out of a row that is too large as a whole.
    """
    return [_Room().members(row) for table in tables for row in orjson.loads(encode_rows(_slim(table), "json"))]


def shown_columns(schema: pa.Schema | None) -> dict[str, str]:
    """Return the types of the first columns by their names."""
    fields = [] if schema is None else [schema.field(index) for index in range(min(len(schema), SHOWN_COLUMNS))]
    return {clipped(field.name): clipped(str(field.type)) for field in fields}


def clipped(text: str, size: int = SHOWN_CHARACTERS) -> str:
    """Return a text that is not too long, and in UTF-8, which one in a file need not be."""
    text = text[: size + 1].encode(errors="backslashreplace").decode()
    return text if len(text) <= size else text[: size - 1] + MORE


def _slim(table: pa.Table) -> pa.Table:
    """Return the first columns, with as much of their texts and binary values as may be shown."""
    table = table.select(range(min(table.num_columns, SHOWN_COLUMNS)))
    for index, field in enumerate(table.schema):
        type_ = field.type
        if pa.types.is_string(type_) or pa.types.is_large_string(type_):
            column = pc.utf8_slice_codeunits(table[index], 0, SHOWN_CHARACTERS + 1)
        elif pa.types.is_binary(type_) or pa.types.is_large_binary(type_):
            column = pc.binary_slice(table[index], 0, SHOWN_CHARACTERS)
        else:
            continue
        table = table.set_column(index, field, column)
    return table


class _Room:
    """What may still be shown of a row."""

    def __init__(self) -> None:
        self._left = ROW_CHARACTERS

    def members(self, record: dict[str, Any]) -> dict[str, Any]:
        """Return the names and values of a record, with little of what is large."""
        members: dict[str, Any] = {}
        for name, value in record.items():
            if self._left <= 0:
                members[MORE] = MORE
                break
            members[self._text(name)] = self._value(value)
        return members

    def _value(self, value: Any) -> Any:
        if self._left <= 0:
            return MORE
        match value:
            case str():
                return self._text(value)
            case dict():
                return self.members(value)
            case list():
                some = [self._value(member) for member in value[:SHOWN_MEMBERS]]
                return [*some, MORE] if len(value) > SHOWN_MEMBERS else some
            case _:
                self._left -= len(str(value))
                return value

    def _text(self, text: str) -> str:
        text = clipped(text)
        self._left -= len(text) + 2
        return text
