"""What `log.trimmed` removes from the tables, and what of it the streams still have.

A workflow goes when its last event and those of all its parts stand at or before `until`: of its jobs and batches,
and of the jobs of these. A batch goes likewise, when it has no workflow, or that goes or is gone; a job likewise,
when it has neither a batch nor a workflow that stays. So it is the same rows whichever of the events that go are
in the log still, if the oldest of each aggregate are removed first, and those of a whole before those of its
parts. `oldest_job` says the same of all jobs at once, for a purge of many jobs that was killed: the server may
have kept the first event of one and not its last.
"""

import sqlite3
from collections.abc import Iterable

from events.jetstream.purge import ALL, Removed
from events.log import LogTrimmed
from projections.sqlite import Row

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
JOB_GOES_ON = "jobs.sequence <= :until AND (jobs.last_sequence IS NULL OR jobs.last_sequence > :until)"
JOBS_OF_BATCH_GO_ON = f"EXISTS (SELECT 1 FROM jobs WHERE jobs.batch = batches.id AND {JOB_GOES_ON})"
BATCHES_THAT_GO = f"last_sequence <= :until AND NOT {JOBS_OF_BATCH_GO_ON}"
WORKFLOWS_THAT_GO = f"""
    last_sequence <= :until
    AND NOT EXISTS (SELECT 1 FROM jobs WHERE jobs.workflow = workflows.id AND {JOB_GOES_ON})
    AND NOT EXISTS (
        SELECT 1 FROM batches WHERE batches.workflow = workflows.id AND batches.sequence <= :until
        AND (batches.last_sequence IS NULL OR batches.last_sequence > :until OR {JOBS_OF_BATCH_GO_ON})
    )
"""
REMOVE_WORKFLOWS = f"DELETE FROM workflows WHERE {WORKFLOWS_THAT_GO} RETURNING id, last_sequence, events"
REMOVE_BATCHES = f"""
    DELETE FROM batches WHERE {BATCHES_THAT_GO}
    AND (workflow IS NULL OR NOT EXISTS (SELECT 1 FROM workflows WHERE id = batches.workflow))
    RETURNING id, last_sequence, events
"""
REMOVE_PARTS = tuple(
    f"DELETE FROM {table} WHERE batch NOT IN (SELECT id FROM batches)"
    for table in ("batch_bad_rows", "batch_files", "batch_paths", "batch_results")
)
REMOVE_JOBS = """
    DELETE FROM jobs WHERE sequence <= :until AND (
        sequence < :oldest_job
        OR last_sequence <= :until
        AND (batch IS NULL OR NOT EXISTS (SELECT 1 FROM batches WHERE id = jobs.batch))
        AND (workflow IS NULL OR NOT EXISTS (SELECT 1 FROM workflows WHERE id = jobs.workflow))
    )
    RETURNING id, sequence, last_sequence, events, large_result
"""
REMOVE_COUNTS = "DELETE FROM batch_jobs WHERE count = 0"
NOTE = "INSERT INTO removed (kind, id, first, last, events, large_result) VALUES (?, ?, ?, ?, ?, ?)"

# The jobs that go by a sequence, and which job is the oldest that does not, as above but before it is done.
GOING = f"""
    WITH leaving AS MATERIALIZED (SELECT id FROM workflows WHERE {WORKFLOWS_THAT_GO}),
    going AS MATERIALIZED (
        SELECT id FROM batches WHERE {BATCHES_THAT_GO}
        AND (workflow IS NULL OR workflow IN (SELECT id FROM leaving) OR workflow NOT IN (SELECT id FROM workflows))
    )
"""
GOES = """
    (last_sequence <= :until
    AND (batch IS NULL OR batch IN (SELECT id FROM going) OR batch NOT IN (SELECT id FROM batches))
    AND (workflow IS NULL OR workflow IN (SELECT id FROM leaving) OR workflow NOT IN (SELECT id FROM workflows)))
"""
ENDS = f"{GOING} SELECT last_sequence FROM jobs WHERE sequence <= :until AND {GOES} ORDER BY last_sequence"
OLDEST = (
    f"{GOING} SELECT sequence FROM jobs WHERE sequence <= :until AND {GOES} IS NOT TRUE ORDER BY sequence LIMIT 1"
)
BATCHES = f"{GOING} SELECT count(*) FROM going"
WORKFLOWS = f"{GOING} SELECT count(*) FROM leaving"


def remove(connection: sqlite3.Connection, event: LogTrimmed) -> None:
    """Remove from the tables what goes, and note what has to be removed from the streams."""
    parameters = {"until": event.until, "oldest_job": event.oldest_job}
    workflows = connection.execute(REMOVE_WORKFLOWS, parameters).fetchall()
    batches = connection.execute(REMOVE_BATCHES, parameters).fetchall()
    for query in REMOVE_PARTS:
        connection.execute(query)
    jobs = connection.execute(REMOVE_JOBS, parameters).fetchall()
    connection.execute(REMOVE_COUNTS)
    connection.executemany(NOTE, (("workflow", *_whole(row)) for row in workflows))
    connection.executemany(NOTE, (("batch", *_whole(row)) for row in batches))
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


def workflows(connection: sqlite3.Connection, until: int) -> int:
    """Return how many workflows go by a sequence."""
    return int(connection.execute(WORKFLOWS, {"until": until}).fetchone()[0])


def oldest_job(connection: sqlite3.Connection, until: int) -> int:
    """Return before which sequence no event of a job stays that is there by `until`."""
    found = connection.execute(OLDEST, {"until": until}).fetchone()
    return int(found[0]) if found else until + 1


def _whole(row: Row) -> Row:
    """Return what is noted of a workflow or batch that goes."""
    id_, last, events = row
    return (id_, 0, last, events, False)
