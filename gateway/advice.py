"""What helps where a value does not fit: the values that there are, and names that are near to an unknown one."""

import re
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

from msgspec import inspect

from gateway.pointers import split_message

CUTOFF = 0.7
"""How near a name must be: that of one letter less is at 0.8 and more."""
_UNKNOWN = re.compile(r"unknown field `(.*)`")


def explained(message: str, type_: Any) -> tuple[str, str]:
    """Return what msgspec says of a value of a type, with advice, and the pointer's part for where."""
    detail, place = split_message(message)
    if detail.startswith("Invalid enum value"):
        values = [str(value) for one in _at(type_, place) for value in _values(one)]
        return f"{detail}; it may be {', '.join(values)}" if values else detail, place
    if unknown := _UNKNOWN.search(detail):
        names = [name for one in _at(type_, place) for name in _names(one)]
        near = get_close_matches(unknown[1], names, n=1, cutoff=CUTOFF)
        return (
            f"{detail}; did you mean {near[0]}?" if near else f"{detail}; there is {', '.join(names) or 'none'}",
            place,
        )
    return detail, place


def _at(type_: Any, place: str) -> list[inspect.Type]:
    """Return the types that the value at a place may have."""
    found = list(_alternatives(inspect.type_info(type_)))
    for step in place.split("/")[1:]:
        found = [inner for one in found for below in _below(one, step) for inner in _alternatives(below)]
    return found


def _alternatives(one: inspect.Type) -> Iterator[inspect.Type]:
    match one:
        case inspect.UnionType():
            for each in one.types:
                yield from _alternatives(each)
        case inspect.Metadata():
            yield from _alternatives(one.type)
        case _:
            yield one


def _below(one: inspect.Type, step: str) -> Iterator[inspect.Type]:
    match one:
        case inspect.StructType():
            yield from (field.type for field in one.fields if field.encode_name == step)
        case inspect.DictType():
            yield one.value_type
        case inspect.ListType() | inspect.VarTupleType() | inspect.SetType() | inspect.FrozenSetType():
            yield one.item_type


def _values(one: inspect.Type) -> Iterator[Any]:
    if isinstance(one, inspect.LiteralType):
        yield from one.values
    elif isinstance(one, inspect.EnumType):
        yield from (member.value for member in one.cls)


def _names(one: inspect.Type) -> Iterator[str]:
    if isinstance(one, inspect.StructType):
        yield from (field.encode_name for field in one.fields)
