"""The tables of all projections, and the position in the log for which they stand."""

import logging
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Self

from events.base import Event
from events.jetstream.log import Recorded
from events.jetstream.purge import Removed
from events.log import LogTrimmed
from projections.bad_rows import BAD_ROWS
from projections.batch_files import BATCH_FILES
from projections.batch_results import BATCH_RESULTS
from projections.batches import BATCHES
from projections.jobs import JOBS
from projections.queues import QUEUES
from projections.removed import REMOVED, forget, remove, to_purge
from projections.specs import SPECS
from projections.sqlite import Row, connect, transaction
from projections.workflow_jobs import WORKFLOW_JOBS
from projections.workflow_runs import WORKFLOW_RUNS
from projections.workflows import WORKFLOWS
from rota.errors import IncompatibleError, UnavailableError

SCHEMA_VERSION = 7
"""To be raised with each change of a schema or a fold: older tables are then made anew from the log."""

PROJECTIONS = (
    BATCHES,
    BATCH_FILES,
    BAD_ROWS,
    BATCH_RESULTS,
    JOBS,
    QUEUES,
    SPECS,
    WORKFLOWS,
    WORKFLOW_JOBS,
    WORKFLOW_RUNS,
)
FOLDS: dict[type[Event], list[tuple[str, Callable[[Any, int], Row | None]]]] = {
    event: [
        (fold.statement, fold.row) for each in PROJECTIONS for folded, fold in each.folds.items() if folded is event
    ]
    for projection in PROJECTIONS
    for event in projection.folds
}
"""What each event does, in statements and the rows of their parameters: it may concern several tables."""
SCHEMA = (
    # `oldest_job` is that of the last `log.trimmed`.
    "CREATE TABLE log (origin TEXT NOT NULL, position INTEGER NOT NULL, oldest_job INTEGER NOT NULL DEFAULT 0)",
    "INSERT INTO log (origin, position) VALUES ('', 0)",
    *(statement for projection in PROJECTIONS for statement in projection.schema),
    *REMOVED,
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)

log = logging.getLogger("rota.projections")


class Tables:
    """The tables, to write; others may read the file, and write it, at the same time."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a file, which may be new; tables of another version are emptied.

        IncompatibleError if the file is no database.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            connection = connect(path)
            tables = cls(connection)
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version != SCHEMA_VERSION:
                if version:
                    log.warning("the views have version %d, not %d: they are made anew", version, SCHEMA_VERSION)
                tables.clear()
        except sqlite3.DatabaseError as error:
            raise IncompatibleError(
                f"{path} cannot be opened as Rota's views: {error}. "
                "Unless another process holds it, remove it: it is made again from the log."
            ) from error
        return tables

    @property
    def origin(self) -> str:
        """The origin of the log whose events are in the tables; "" as long as none was named."""
        return str(self._connection.execute("SELECT origin FROM log").fetchone()[0])

    @property
    def position(self) -> int:
        """Sequence in the log up to which all events are in the tables."""
        return int(self._connection.execute("SELECT position FROM log").fetchone()[0])

    def advance(self, recorded: Iterable[Recorded], *, after: int, until: int) -> int:
        """Fold what the log has after one sequence until another, in one transaction with the position.

        Return the position then: events up to the stored one are ignored, and nothing is done if it is before
        `after`, since others have put older tables in place. UnavailableError if nothing could be written.
        """
        with _translated(), transaction(self._connection, "IMMEDIATE"):
            position = self.position
            if not after <= position < until:
                return position
            apply(self._connection, (one for one in recorded if one.sequence > position))
            self._connection.execute("UPDATE log SET position = ?", (until,))
            return until

    def replace(self, other: Self) -> None:
        """Take over all that other tables hold, at once for those that read."""
        other._connection.backup(self._connection)
        # All pages went through the write-ahead log, which would keep that size.
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def clear(self, origin: str = "") -> None:
        """Begin again before the first event of the log with this origin."""
        with closing(create()) as empty:
            empty.execute("UPDATE log SET origin = ?", (origin,))
            empty.backup(self._connection)

    def to_purge(self, limit: int) -> list[Removed]:
        """Return what is gone from the tables and has to be removed from the streams, in this order."""
        with _translated():
            return to_purge(self._connection, limit)

    def forget(self, removed: Iterable[Removed]) -> None:
        """Note that these are removed from the streams."""
        with _translated(), transaction(self._connection, "IMMEDIATE"):
            forget(self._connection, removed)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        raise UnavailableError(f"The views cannot be written: {error}") from error


def create() -> sqlite3.Connection:
    """Return empty tables in memory."""
    connection = connect(None)
    for statement in SCHEMA:
        connection.execute(statement)
    return connection


def apply(connection: sqlite3.Connection, recorded: Iterable[Recorded]) -> None:
    """Put events into the tables.

    Statements are run for many rows at a time: first for the first event of each aggregate, then for the second
    of each, and so on. So an aggregate's events keep their order; those of different ones do not depend on it,
    but for what removes all that came before.
    """
    some: list[Recorded] = []
    for one in recorded:
        if isinstance(one.event, LogTrimmed):
            _apply(connection, some)
            some.clear()
            remove(connection, one.event)
        else:
            some.append(one)
    _apply(connection, some)


def _apply(connection: sqlite3.Connection, recorded: Iterable[Recorded]) -> None:
    rounds: list[dict[str, list[Row]]] = []
    seen: dict[str, int] = {}
    for one in recorded:
        event = one.event
        if folds := FOLDS.get(type(event)):
            number = seen.get(event.originator_id, 0)
            seen[event.originator_id] = number + 1
            if number == len(rounds):
                rounds.append({})
            rows_of = rounds[number]
            for statement, row in folds:
                if (made := row(event, one.sequence)) is None:
                    continue
                if (rows := rows_of.get(statement)) is None:
                    rows = rows_of[statement] = []
                rows.append(made)
    for statements in rounds:
        for statement, rows in statements.items():
            connection.executemany(statement, rows)
