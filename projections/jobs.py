"""The view of jobs: one row a job, and how many jobs of each batch are in each state."""

from events.catalog import encode
from events.job import (
    JobAttemptFailed,
    JobCancelled,
    JobEnded,
    JobFailed,
    JobProgressed,
    JobQueued,
    JobRedriven,
    JobScheduled,
    JobStarted,
    JobSucceeded,
    JobTimedOut,
)
from projections.sqlite import Fold, Projection, Row, to_microseconds
from rota.protocol import JobDetails

SCHEMA = (
    # The sequence of a job's first event is its row number: rows are appended, and newest first costs no index.
    # Times are microseconds since 1970; `error`, `labels`, `params` and `rows` (which rows of its batch the job
    # has) are MessagePack. The three columns before them are for retention: they are set when a job ends, and stay
    # unless it is redriven.
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
        large_result INTEGER NOT NULL DEFAULT 0,
        "rows" BLOB,
        workflow TEXT
    )
    """,
    "CREATE INDEX jobs_by_spec ON jobs (spec)",
    "CREATE INDEX jobs_by_queue ON jobs (queue)",
    "CREATE INDEX jobs_by_batch ON jobs (batch) WHERE batch IS NOT NULL",
    "CREATE INDEX jobs_by_workflow ON jobs (workflow) WHERE workflow IS NOT NULL",
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
    # The row of a batch that was redriven or resumed counts the jobs that had ended before. It may be long, and few
    # ends change something of it.
    """
    CREATE TRIGGER job_of_batch_ended AFTER UPDATE OF last_sequence ON jobs WHEN NEW.batch IS NOT NULL BEGIN
        UPDATE batches SET begun_jobs = begun_jobs
            + coalesce(NEW.last_sequence < begun_sequence, 0) - coalesce(OLD.last_sequence < begun_sequence, 0)
        WHERE id = NEW.batch AND begun_sequence NOTNULL
        AND coalesce(NEW.last_sequence < begun_sequence, 0) <> coalesce(OLD.last_sequence < begun_sequence, 0);
    END
    """,
    """
    CREATE TRIGGER job_of_batch_removed AFTER DELETE ON jobs WHEN OLD.batch IS NOT NULL BEGIN
        UPDATE batch_jobs SET count = count - 1 WHERE batch = OLD.batch AND status = OLD.status;
    END
    """,
)

FACTS = 'id, sequence, spec, queue, batch, labels, params, "rows", workflow, scheduled_at'
# The first event makes the row; a later one begins the next attempt, which knows nothing of the one before.
SCHEDULE = f"""
    INSERT INTO jobs ({FACTS}, status, attempt, run_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'scheduled', 0, ?)
    ON CONFLICT (id) DO NOTHING
"""  # noqa: S608 - of the text above
QUEUE = f"""
    INSERT INTO jobs ({FACTS}, status, attempt, queued_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'queued', ?, ?)
    ON CONFLICT (id) DO UPDATE SET
        status = 'queued', attempt = excluded.attempt, queued_at = excluded.queued_at,
        worker = NULL, started_at = NULL, progress = NULL
"""  # noqa: S608 - of the text above
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
# It is queued next.
REDRIVE = """
    UPDATE jobs SET
        status = 'scheduled', error = NULL, ended_at = NULL, last_sequence = NULL, events = NULL
    WHERE id = ?
"""


def _scheduled(event: JobScheduled, sequence: int) -> Row:
    at, run_at = to_microseconds(event.at), to_microseconds(event.run_at)
    return (*_facts(event.originator_id, sequence, event.details), at, run_at)


def _queued(event: JobQueued, sequence: int) -> Row:
    at = to_microseconds(event.at)
    return (*_facts(event.originator_id, sequence, event.details), at, event.attempt, at)


def _facts(id_: str, sequence: int, details: JobDetails) -> Row:
    labels = encode(details.labels) if details.labels else None
    rows = details.rows
    batch, packed = (rows.batch, encode(rows)) if rows else (None, None)
    workflow = details.workflow.id if details.workflow else None
    return (id_, sequence, details.spec, details.queue, batch, labels, details.params, packed, workflow)


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


def _redriven(event: JobRedriven, _: int) -> Row:
    return (event.originator_id,)


def _end(event: JobEnded, sequence: int) -> Row:
    return (to_microseconds(event.at), sequence, event.originator_version, event.originator_id)


JOBS = Projection(
    SCHEMA,
    {
        JobScheduled: Fold(SCHEDULE, _scheduled),
        JobQueued: Fold(QUEUE, _queued),
        JobStarted: Fold(START, _started),
        JobProgressed: Fold(PROGRESS, _progressed),
        JobAttemptFailed: Fold(RETRY, _attempt_failed),
        JobSucceeded: Fold(SUCCEED, _succeeded),
        JobFailed: Fold(FAIL, _failed),
        JobTimedOut: Fold(FAIL, _failed),
        JobCancelled: Fold(CANCEL, _cancelled),
        JobRedriven: Fold(REDRIVE, _redriven),
    },
)
