"""Records that are turned into columns: their names in order of appearance, and the values under each."""

from collections.abc import Container, Mapping, Sequence
from datetime import date, time
from decimal import Decimal
from itertools import chain
from operator import itemgetter
from types import MappingProxyType
from typing import Any, Protocol
from uuid import UUID

from msgspec import Struct

Row = Mapping[str, Any]
NO_RECORD: Row = MappingProxyType({})
SPARSE = 8
"""Rows with fewer than one cell in so many are turned over cell by cell."""


class Rows(Protocol):
    """Rows by columns."""

    names: list[str]
    misnamed: dict[int, object]
    """Rows, by index, with a name that is no text that can be written, and the name; it is not among `names`."""

    def column(self, name: str) -> Sequence[Any] | None:
        """Return the values under a name, null where there is none; None if no row has it."""


def spread(rows: Sequence[Row]) -> Rows:
    """Return the rows by columns."""
    if not rows:
        return _Uniform([], [], {})
    names = list(rows[0])
    if set(map(len, rows)) == {len(names)} and set(map(type, names)) <= {str} and _writable(names):
        try:
            return _Uniform(names, [list(map(itemgetter(name), rows)) for name in names], {})
        except KeyError:
            pass
    shapes = dict.fromkeys(map(tuple, rows))
    names = list(dict.fromkeys(chain.from_iterable(shapes)))
    misnamed: dict[int, object] = {}
    if not (set(map(type, names)) <= {str} and _writable(names)):
        rows, misnamed = _renamed(rows)
        names = list(dict.fromkeys(chain.from_iterable(rows)))
    if sum(map(len, rows)) * SPARSE < len(rows) * len(names):
        return _Sparse(names, rows, misnamed)
    return _Mixed(names, rows, misnamed)


def name_of_key(key: object) -> str:
    """Return a key as the name of a column; ValueError if it cannot be one."""
    match key:
        case str():
            name = str(key)
        case bytes():
            name = key.decode()
        case None | bool():
            name = "null" if key is None else str(key).lower()
        case int() | float() | Decimal() | UUID():
            name = str(key)
        case date() | time():
            name = key.isoformat()
        case _:
            raise ValueError(f"{type(key).__name__} is no name")
    name.encode()  # a lone surrogate is a ValueError
    return name


def unique(name: str, taken: Container[str]) -> str:
    """Return the name, with a number if it is taken."""
    free, number = name, 2
    while free in taken:
        free, number = f"{name}_{number}", number + 1
    return free


class _Uniform(Struct):
    """Rows that all have the same names."""

    names: list[str]
    columns: list[list[Any]]
    misnamed: dict[int, object]

    def column(self, name: str) -> Sequence[Any] | None:
        try:
            return self.columns[self.names.index(name)]
        except ValueError:
            return None


class _Mixed:
    """Rows of which some have other names than others."""

    def __init__(self, names: list[str], rows: Sequence[Row], misnamed: dict[int, object]) -> None:
        self.names = names
        self.misnamed = misnamed
        self._present = frozenset(names)
        self._rows = rows

    def column(self, name: str) -> Sequence[Any] | None:
        return [row.get(name) for row in self._rows] if name in self._present else None


class _Sparse:
    """Rows with few of many names: their cost follows the cells that there are."""

    def __init__(self, names: list[str], rows: Sequence[Row], misnamed: dict[int, object]) -> None:
        self.names = names
        self.misnamed = misnamed
        self._count = len(rows)
        self._cells: dict[str, list[tuple[int, Any]]] = {name: [] for name in names}
        for index, row in enumerate(rows):
            for name, value in row.items():
                self._cells[name].append((index, value))

    def column(self, name: str) -> Sequence[Any] | None:
        if name not in self._cells:
            return None
        values: list[Any] = [None] * self._count
        for index, value in self._cells[name]:
            values[index] = value
        return values


def _writable(names: Sequence[str]) -> bool:
    try:
        "".join(names).encode()
    except UnicodeEncodeError:  # lone surrogates
        return False
    return True


def _renamed(rows: Sequence[Row]) -> tuple[list[Row], dict[int, object]]:
    """Return the rows with texts for names, unique in each row, without those that cannot be names; and these."""
    renamed: list[Row] = []
    misnamed: dict[int, object] = {}
    for index, row in enumerate(rows):
        texts = {key for key in row if type(key) is str}
        new: dict[str, Any] = {}
        for key, value in row.items():
            try:
                name = name_of_key(key)
            except ValueError:
                misnamed[index] = key
                continue
            new[name if type(key) is str else unique(name, texts | new.keys())] = value
        renamed.append(new)
    return renamed, misnamed
