"""SQLite as the projections use it: connections, transactions, and what a projection is."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct

from events.base import Event

BUSY_SECONDS = 30.0
"""How long a writer waits for another."""

CHECKPOINT_PAGES = 16_000
"""Pages of 4 KiB in the write-ahead log before they go to the file: each checkpoint waits for the disk."""

CACHE_KIB = 64 * 1024

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)

Row = tuple[Any, ...]


class Fold(Struct, frozen=True):
    """What an event does to a table: one statement, and the row of its parameters."""

    statement: str
    row: Callable[[Any, int], Row | None]
    """Takes the event and its sequence in the log; returns None if this event does nothing."""


class Projection(Struct, frozen=True):
    """Tables that are a fold over events. Events of other types leave them as they are."""

    schema: tuple[str, ...]
    folds: dict[type[Event], Fold]


def connect(path: Path | None) -> sqlite3.Connection:
    """Open a file to write, which may be new, or for None a database in memory.

    A committed transaction outlives `kill -9`. A power cut may cost the last ones, rows and position together,
    so that they are folded again.
    """
    connection = sqlite3.connect(path or ":memory:", timeout=BUSY_SECONDS, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
    connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    return connection


def connect_read_only(path: Path) -> sqlite3.Connection:
    """Open a file that is there; it may be written by another process meanwhile."""
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)


@contextmanager
def transaction(connection: sqlite3.Connection, mode: Literal["DEFERRED", "IMMEDIATE"]) -> Iterator[None]:
    """Do all of the block or nothing; in DEFERRED mode all reads of it see one state."""
    connection.execute(f"BEGIN {mode}")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # SQLite may have rolled back by itself, for example when the disk is full.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def to_microseconds(at: datetime) -> int:
    """Return the exact number of microseconds since 1970; a time without a zone, as a worker may send, is UTC."""
    return ((at if at.tzinfo else at.replace(tzinfo=UTC)) - EPOCH) // MICROSECOND


def from_microseconds(number: int | None) -> datetime | None:
    """Return the time of a number of microseconds since 1970."""
    return None if number is None else EPOCH + timedelta(microseconds=number)
