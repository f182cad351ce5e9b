"""Reads one JSON text exactly: no number is rounded and no name is dropped without a word."""

import json
import re
from decimal import Decimal
from typing import Any

import orjson

LONG_NUMBER = re.compile(rb"\d{19}")
"""What may be an integer beyond 64 bits, which orjson makes a float of."""
MEMBER = re.compile(rb'"\s*:')
TOO_DEEP = "depth limit exceeded"
EXTRA = "unexpected content after document"


class JsonValueError(ValueError):
    """The text is no JSON value that can be kept; `at` is the number of its character, from 1, if it is known."""

    def __init__(self, reason: str, at: int | None = None) -> None:
        super().__init__(reason if at is None else f"{reason} at character {at}")
        self.reason = reason


def json_value(text: bytes, max_depth: int, *, decimals: bool = False) -> Any:
    """Return the value; with `decimals` all numbers with a fraction or an exponent are Decimal.

    Integers are exact, however long. A name that comes twice in a record is an error, as are NaN and Infinity.
    """
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        if error.msg == TOO_DEEP:
            raise JsonValueError(_too_deep(max_depth)) from error
        raise JsonValueError(error.msg, error.pos + 1) from error
    depth, names = _shape(value)
    if depth > max_depth:
        raise JsonValueError(_too_deep(max_depth))
    # A name that orjson has dropped is missing in the count; a colon after a quote inside a text makes it larger.
    if decimals or len(MEMBER.findall(text)) != names or LONG_NUMBER.search(text):
        return json.loads(text, object_pairs_hook=_record, parse_float=Decimal if decimals else None)
    return value


def without_decimals(value: Any) -> Any:
    """Return the value with floats in place of Decimals."""
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, dict):
        return {name: without_decimals(member) for name, member in value.items()}
    if isinstance(value, list):
        return [without_decimals(member) for member in value]
    return value


def _too_deep(max_depth: int) -> str:
    return f"lists and records are nested more than {max_depth} deep"


def _shape(value: Any) -> tuple[int, int]:
    """Return how deeply lists and records are nested, and how many members all records have."""
    depth = names = 0
    level: list[Any] = [value] if isinstance(value, dict | list) else []
    while level:
        depth += 1
        below: list[Any] = []
        for container in level:
            if type(container) is dict:
                names += len(container)
                container = container.values()  # noqa: PLW2901 - its members
            below += [member for member in container if type(member) is dict or type(member) is list]
        level = below
    return depth, names


def _record(members: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(members)
    if len(record) != len(members):
        names = [name for name, _ in members]
        twice = next(name for name in names if names.count(name) > 1)
        raise JsonValueError(f"the name {twice!r} comes twice in a record")
    return record
