"""The view of jobs: one row a job, and how many jobs of each batch are in each state."""

from events.catalog import encode
from events.job import (
    JobAttemptFailed,
    JobCancelled,
    JobEnded,
    JobFailed,
    JobProgressed,
    JobQueued,
    JobScheduled,
    JobStarted,
    JobSucceeded,
    JobTimedOut,
)
from projections.sqlite import Fold, Projection, Row, to_microseconds
from rota.protocol import JobDetails

SCHEMA = (
    # The sequence of a job's first event is its row number: rows are appended, and newest first costs no index.
    # Times are microseconds since 1970; `error`, `labels` and `params` are MessagePack. The last three columns are
    # for retention: they are set when a job ends, and then stay.
    """
    CREATE TABLE jobs (
        sequence INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        spec TEXT NOT NULL,
        queue TEXT NOT NULL,
        status TEXT NOT NULL,
        attempt INTEGER NOT NULL,
        batch TEXT,
        worker TEXT,
        scheduled_at INTEGER NOT NULL,
        run_at INTEGER,
        queued_at INTEGER,
        started_at INTEGER,
        ended_at INTEGER,
        progress REAL,
        error BLOB,
        labels BLOB,
        params BLOB NOT NULL,
        last_sequence INTEGER,
        events INTEGER,
        large_result INTEGER NOT NULL DEFAULT 0
    )
    """,
    "CREATE INDEX jobs_by_spec ON jobs (spec)",
    "CREATE INDEX jobs_by_queue ON jobs (queue)",
    "CREATE INDEX jobs_by_batch ON jobs (batch) WHERE batch IS NOT NULL",
    # Jobs that succeeded are most of all: they are found soon without an index, and would make it large.
    "CREATE INDEX jobs_by_status ON jobs (status) WHERE status <> 'succeeded'",
    """
    CREATE TABLE batch_jobs (
        batch TEXT NOT NULL,
        status TEXT NOT NULL,
        count INTEGER NOT NULL,
        PRIMARY KEY (batch, status)
    ) WITHOUT ROWID
    """,
    """
    CREATE TRIGGER job_of_batch_added AFTER INSERT ON jobs WHEN NEW.batch IS NOT NULL BEGIN
        INSERT INTO batch_jobs VALUES (NEW.batch, NEW.status, 1)
        ON CONFLICT (batch, status) DO UPDATE SET count = count + 1;
    END
    """,
    """
    CREATE TRIGGER job_of_batch_changed AFTER UPDATE OF status ON jobs
    WHEN NEW.batch IS NOT NULL AND NEW.status <> OLD.status BEGIN
        UPDATE batch_jobs SET count = count - 1 WHERE batch = OLD.batch AND status = OLD.status;
        INSERT INTO batch_jobs VALUES (NEW.batch, NEW.status, 1)
        ON CONFLICT (batch, status) DO UPDATE SET count = count + 1;
    END
    """,
    """
    CREATE TRIGGER job_of_batch_removed AFTER DELETE ON jobs WHEN OLD.batch IS NOT NULL BEGIN
        UPDATE batch_jobs SET count = count - 1 WHERE batch = OLD.batch AND status = OLD.status;
    END
    """,
)

# The first event makes the row; a later one begins the next attempt, which knows nothing of the one before.
WAIT = """
    INSERT INTO jobs
        (id, sequence, spec, queue, batch, labels, params, scheduled_at, status, attempt, run_at, queued_at)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (id) DO UPDATE SET
        status = excluded.status, attempt = excluded.attempt,
        run_at = coalesce(excluded.run_at, run_at), queued_at = excluded.queued_at,
        worker = NULL, started_at = NULL, progress = NULL
"""
START = "UPDATE jobs SET status = 'running', worker = ?, started_at = ? WHERE id = ?"
PROGRESS = "UPDATE jobs SET progress = ? WHERE id = ?"
RETRY = "UPDATE jobs SET status = 'scheduled', worker = ?, started_at = ?, error = ?, run_at = ? WHERE id = ?"
SUCCEED = """
    UPDATE jobs SET
        status = 'succeeded', worker = ?, started_at = ?, large_result = ?,
        ended_at = ?, last_sequence = ?, events = ?
    WHERE id = ?
"""
FAIL = """
    UPDATE jobs SET
        status = ?, worker = ?, started_at = ?, error = ?, ended_at = ?, last_sequence = ?, events = ?
    WHERE id = ?
"""
CANCEL = "UPDATE jobs SET status = 'cancelled', ended_at = ?, last_sequence = ?, events = ? WHERE id = ?"


def _scheduled(event: JobScheduled, sequence: int) -> Row:
    at = to_microseconds(event.at)
    return (
        *_facts(event.originator_id, sequence, event.details),
        at,
        "scheduled",
        0,
        to_microseconds(event.run_at),
        None,
    )


def _queued(event: JobQueued, sequence: int) -> Row:
    at = to_microseconds(event.at)
    return (*_facts(event.originator_id, sequence, event.details), at, "queued", event.attempt, None, at)


def _facts(id_: str, sequence: int, details: JobDetails) -> Row:
    labels = encode(details.labels) if details.labels else None
    return (id_, sequence, details.spec, details.queue, details.batch, labels, details.params)


def _started(event: JobStarted, _: int) -> Row:
    return (event.worker, to_microseconds(event.started_at), event.originator_id)


def _progressed(event: JobProgressed, _: int) -> Row:
    return (event.percent, event.originator_id)


def _attempt_failed(event: JobAttemptFailed, _: int) -> Row:
    return (
        event.worker,
        to_microseconds(event.started_at),
        encode(event.fault),
        to_microseconds(event.retry_at),
        event.originator_id,
    )


def _succeeded(event: JobSucceeded, sequence: int) -> Row:
    large = event.result.payload is not None
    return (event.worker, to_microseconds(event.started_at), large, *_end(event, sequence))


def _failed(event: JobFailed | JobTimedOut, sequence: int) -> Row:
    return (
        "failed" if isinstance(event, JobFailed) else "timed_out",
        event.worker,
        to_microseconds(event.started_at),
        encode(event.fault),
        *_end(event, sequence),
    )


def _cancelled(event: JobCancelled, sequence: int) -> Row:
    return _end(event, sequence)


def _end(event: JobEnded, sequence: int) -> Row:
    return (to_microseconds(event.at), sequence, event.originator_version, event.originator_id)


JOBS = Projection(
    SCHEMA,
    {
        JobScheduled: Fold(WAIT, _scheduled),
        JobQueued: Fold(WAIT, _queued),
        JobStarted: Fold(START, _started),
        JobProgressed: Fold(PROGRESS, _progressed),
        JobAttemptFailed: Fold(RETRY, _attempt_failed),
        JobSucceeded: Fold(SUCCEED, _succeeded),
        JobFailed: Fold(FAIL, _failed),
        JobTimedOut: Fold(FAIL, _failed),
        JobCancelled: Fold(CANCEL, _cancelled),
    },
)
