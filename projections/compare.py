"""Comparing two files of views, row by row."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from projections.sqlite import Row, connect_read_only
from rota.extension import Difference

PAGE = 1000

HOUSEKEEPING = frozenset({"log", "removed"})
"""Tables that say how far something is, and are no fold over events."""
KEYS = {"batches": ("id",), "jobs": ("id",), "workflows": ("id",)}
"""Columns that tell rows apart where these are not those of the primary key."""
COUNTS = frozenset({"batch_jobs", "queue_jobs"})
"""Tables in which a count of nothing is the same as no row."""


class Table(Struct, frozen=True):
    """A table to be compared."""

    name: str
    columns: list[str]
    key: list[int]
    """Which of the columns tell rows apart."""

    @property
    def query(self) -> str:
        """Return the query for its rows, sorted by the key."""
        where = "WHERE count <> 0" if self.name in COUNTS else ""
        order = ", ".join(f'"{self.columns[position]}"' for position in self.key)
        return f'SELECT * FROM "{self.name}" {where} ORDER BY {order}'  # noqa: S608 - names of our own schema

    def key_of(self, row: Row) -> list[Any]:
        """Return what tells a row apart."""
        return [row[position] for position in self.key]


def compare(live: Path, log: Path) -> Iterator[tuple[str, Difference | None]]:
    """Yield for each row that one of the two files has its table, and each difference, if there are any.

    Nothing but a page of rows is in memory. Both have the same schema.
    """
    with closing(connect_read_only(live)) as ours, closing(connect_read_only(log)) as theirs:
        for table in _tables(theirs):
            for one, other in _pairs(table, _rows(ours, table), _rows(theirs, table)):
                yield table.name, None
                if one != other:
                    yield from ((table.name, difference) for difference in _differences(table, one, other))


def _tables(connection: sqlite3.Connection) -> list[Table]:
    query = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name"
    names = [name for (name,) in connection.execute(query)]
    return [_table(connection, name) for name in names if name not in HOUSEKEEPING]


def _table(connection: sqlite3.Connection, name: str) -> Table:
    columns = connection.execute("SELECT name, pk FROM pragma_table_info(?) ORDER BY cid", (name,)).fetchall()
    names = [column for column, _ in columns]
    key = KEYS.get(name) or [column for column, place in sorted(columns, key=lambda one: int(one[1])) if place]
    return Table(name, names, [names.index(column) for column in key])


def _rows(connection: sqlite3.Connection, table: Table) -> Iterator[Row]:
    rows = connection.execute(table.query)
    while page := rows.fetchmany(PAGE):
        yield from page


def _pairs(table: Table, ours: Iterator[Row], theirs: Iterator[Row]) -> Iterator[tuple[Row | None, Row | None]]:
    """Yield rows with the same key together, others with None; both sides are sorted by the key."""
    one, other = next(ours, None), next(theirs, None)
    while one or other:
        if one == other or not one or not other:
            order = 0 if one and other else -1 if one else 1
        else:
            first, second = _order(table.key_of(one)), _order(table.key_of(other))
            order = (first > second) - (first < second)
        yield (one if order <= 0 else None), (other if order >= 0 else None)
        if order <= 0:
            one = next(ours, None)
        if order >= 0:
            other = next(theirs, None)


def _order(key: Sequence[Any]) -> list[tuple[int, Any]]:
    """Return what sorts as SQLite does: nothing, numbers, texts, bytes; a damaged key may be any of them."""
    ranks = {type(None): 0, int: 1, float: 1, str: 2, bytes: 3}
    return [(ranks[type(value)], 0 if value is None else value) for value in key]


def _differences(table: Table, live: Row | None, log: Row | None) -> Iterator[Difference]:
    key = table.key_of(live or log or ())
    if live is None or log is None:
        yield Difference(table.name, key, "", _shown_row(table, live), _shown_row(table, log))
        return
    for column, one, other in zip(table.columns, live, log, strict=True):
        if one != other:
            yield Difference(table.name, key, column, _shown(one), _shown(other))


def _shown_row(table: Table, row: Row | None) -> dict[str, Any] | None:
    if row is None:
        return None
    return {column: _shown(value) for column, value in zip(table.columns, row, strict=True) if value is not None}


def _shown(value: Any) -> Any:
    """Return a value of a table as people can read it: bytes are MessagePack."""
    if isinstance(value, bytes):
        try:
            return msgspec.msgpack.decode(value)
        except msgspec.DecodeError:
            return value.hex()
    return value
