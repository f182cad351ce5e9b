"""What `log.trimmed` removes from the tables, and what of it the streams still have.

A batch goes when its last event and those of all its jobs stand at or before `until`; a job likewise, when it has
no batch, or its batch goes or is gone. So it is the same rows whichever of the events that go are in the log still,
if the oldest of each aggregate are removed first. `oldest_job` says the same of all jobs at once, for a purge of
many jobs that was killed: the server may have kept the first event of one and not its last.
"""

import sqlite3
from collections.abc import Iterable

from events.jetstream.purge import ALL, Removed
from events.log import LogTrimmed

REMOVED = (
    # In the order in which it has to be removed from the streams. It is a list of things to do: a rebuild makes it
    # anew, with what the log still has.
    """
    CREATE TABLE removed (
        number INTEGER PRIMARY KEY,
        kind TEXT NOT NULL,
        id TEXT NOT NULL,
        first INTEGER NOT NULL,
        last INTEGER NOT NULL,
        events INTEGER NOT NULL,
        large_result INTEGER NOT NULL
    )
    """,
)

# ruff: noqa: S608 - the queries are made of texts in this module
BATCHES_THAT_GO = """
    last_sequence <= :until AND NOT EXISTS (
        SELECT 1 FROM jobs
        WHERE jobs.batch = batches.id AND jobs.sequence <= :until
        AND (jobs.last_sequence IS NULL OR jobs.last_sequence > :until)
    )
"""
REMOVE_BATCHES = f"DELETE FROM batches WHERE {BATCHES_THAT_GO} RETURNING id, last_sequence, events"
REMOVE_PARTS = tuple(
    f"DELETE FROM {table} WHERE batch NOT IN (SELECT id FROM batches)"
    for table in ("batch_bad_rows", "batch_files", "batch_paths", "batch_results")
)
REMOVE_JOBS = """
    DELETE FROM jobs WHERE sequence <= :until AND (
        sequence < :oldest_job
        OR last_sequence <= :until AND (batch IS NULL OR NOT EXISTS (SELECT 1 FROM batches WHERE id = jobs.batch))
    )
    RETURNING id, sequence, last_sequence, events, large_result
"""
REMOVE_COUNTS = "DELETE FROM batch_jobs WHERE count = 0"
NOTE = "INSERT INTO removed (kind, id, first, last, events, large_result) VALUES (?, ?, ?, ?, ?, ?)"

# The jobs that go by a sequence, and which job is the oldest that does not, as above but before it is done.
GOING = f"WITH going AS MATERIALIZED (SELECT id FROM batches WHERE {BATCHES_THAT_GO})"
GOES = """
    (last_sequence <= :until
    AND (batch IS NULL OR batch IN (SELECT id FROM going) OR batch NOT IN (SELECT id FROM batches)))
"""
ENDS = f"{GOING} SELECT last_sequence FROM jobs WHERE sequence <= :until AND {GOES} ORDER BY last_sequence"
OLDEST = (
    f"{GOING} SELECT sequence FROM jobs WHERE sequence <= :until AND {GOES} IS NOT TRUE ORDER BY sequence LIMIT 1"
)
BATCHES = f"{GOING} SELECT count(*) FROM going"


def remove(connection: sqlite3.Connection, event: LogTrimmed) -> None:
    """Remove from the tables what goes, and note what has to be removed from the streams."""
    parameters = {"until": event.until, "oldest_job": event.oldest_job}
    batches = connection.execute(REMOVE_BATCHES, parameters).fetchall()
    for query in REMOVE_PARTS:
        connection.execute(query)
    jobs = connection.execute(REMOVE_JOBS, parameters).fetchall()
    connection.execute(REMOVE_COUNTS)
    connection.executemany(NOTE, (("batch", id_, 0, last, events, False) for id_, last, events in batches))
    for id_, first, last, events, large_result in jobs:
        # The others go all at once.
        apart = last is not None and last >= event.oldest_job
        if apart or large_result:
            connection.execute(NOTE, ("job", id_, first, last, events if apart else 0, large_result))
    (begun,) = connection.execute("SELECT min(first) FROM removed WHERE id = ?", (ALL,)).fetchone()
    (done,) = connection.execute("SELECT oldest_job FROM log").fetchone()
    connection.execute("DELETE FROM removed WHERE id = ?", (ALL,))
    connection.execute(NOTE, ("job", ALL, done if begun is None else begun, event.oldest_job - 1, 0, False))
    connection.execute("UPDATE log SET oldest_job = ?", (event.oldest_job,))


def to_purge(connection: sqlite3.Connection, limit: int) -> list[Removed]:
    """Return what was removed from the tables, and may be in the streams still."""
    found = connection.execute("SELECT * FROM removed ORDER BY number LIMIT ?", (limit,))
    return [Removed(*row) for row in found]


def forget(connection: sqlite3.Connection, removed: Iterable[Removed]) -> None:
    """Note that these are removed from the streams."""
    connection.executemany("DELETE FROM removed WHERE number = ?", ((one.number,) for one in removed))


def ends(connection: sqlite3.Connection, until: int) -> list[int]:
    """Return the last sequences of the jobs that go by a sequence, in order."""
    return [last for (last,) in connection.execute(ENDS, {"until": until})]


def batches(connection: sqlite3.Connection, until: int) -> int:
    """Return how many batches go by a sequence."""
    return int(connection.execute(BATCHES, {"until": until}).fetchone()[0])


def oldest_job(connection: sqlite3.Connection, until: int) -> int:
    """Return before which sequence no event of a job stays that is there by `until`."""
    found = connection.execute(OLDEST, {"until": until}).fetchone()
    return int(found[0]) if found else until + 1
