"""The view of the jobs of workflows: one row a job, whether it is a job, a fan-out or a batch."""

from msgspec.json import encode as to_json

from events.catalog import encode
from events.workflow import (
    WorkflowFallbackApplied,
    WorkflowJob,
    WorkflowJobCancelled,
    WorkflowJobExpanded,
    WorkflowJobFailed,
    WorkflowJobReleased,
    WorkflowJobsSkipped,
    WorkflowJobSucceeded,
    WorkflowJobTimedOut,
    WorkflowJobWithdrawn,
    WorkflowRetried,
    WorkflowScheduled,
)
from events.workflow_ids import batch_id, job_id
from projections.sqlite import Fold, Projection, Row, to_microseconds

SCHEMA = (
    # `needs` and `after` are JSON lists of numbers. `status` is what the workflow knows: what is `released` waits
    # for a worker or runs, as the row of its job or batch tells, whose id is `part`; of a fan-out those of its
    # `runs`, which are so many. `late` is how it ended that had ended for the workflow before; `because` is the
    # job for whose end it was skipped. `error` is MessagePack.
    """
    CREATE TABLE workflow_jobs (
        workflow TEXT NOT NULL,
        number INTEGER NOT NULL,
        name TEXT NOT NULL,
        spec TEXT NOT NULL,
        queue TEXT NOT NULL,
        kind TEXT NOT NULL,
        needs TEXT NOT NULL,
        after TEXT NOT NULL,
        status TEXT NOT NULL DEFAULT 'waiting',
        part TEXT,
        runs INTEGER,
        released_at INTEGER,
        ended_at INTEGER,
        fallback INTEGER NOT NULL DEFAULT 0,
        late TEXT,
        because INTEGER,
        error BLOB,
        PRIMARY KEY (workflow, number)
    ) WITHOUT ROWID
    """,
    "CREATE INDEX workflow_jobs_by_status ON workflow_jobs (workflow, status)",
    # It needs the table of workflows.
    """
    CREATE TRIGGER workflow_removed AFTER DELETE ON workflows BEGIN
        DELETE FROM workflow_jobs WHERE workflow = OLD.id;
    END
    """,
)

# Ten thousand of them, in one statement.
SCHEDULE = """
    INSERT INTO workflow_jobs (workflow, number, name, spec, queue, kind, needs, after)
    SELECT ?, key, value ->> 0, value ->> 1, value ->> 2, value ->> 3, value -> 4, value -> 5
    FROM json_each(?) WHERE true
    ON CONFLICT (workflow, number) DO NOTHING
"""
RELEASE = """
    UPDATE workflow_jobs SET
        status = 'released', released_at = ?, part = CASE kind WHEN 'job' THEN ? WHEN 'batch' THEN ? END
    WHERE workflow = ? AND number = ?
"""
EXPAND = "UPDATE workflow_jobs SET runs = ? WHERE workflow = ? AND number = ?"
# What is late changes nothing but that.
END = """
    UPDATE workflow_jobs SET
        status = coalesce(?, status), ended_at = coalesce(?, ended_at), error = coalesce(?, error),
        late = coalesce(?, late)
    WHERE workflow = ? AND number = ?
"""
CANCEL = """
    UPDATE workflow_jobs SET status = 'cancelled', ended_at = ?
    WHERE workflow = ? AND number = ? AND status IN ('waiting', 'released')
"""
# A batch takes its time, and tells when it has ended.
WITHDRAW = f"{CANCEL} AND kind <> 'batch'"
FALL_BACK = "UPDATE workflow_jobs SET fallback = 1 WHERE workflow = ? AND number = ?"
SKIP = """
    UPDATE workflow_jobs SET status = 'skipped', released_at = NULL, because = ?
    WHERE workflow = ? AND number IN (SELECT value FROM json_each(?))
"""
RETRY = """
    UPDATE workflow_jobs SET
        status = 'waiting', released_at = NULL, ended_at = NULL, late = NULL, because = NULL, error = NULL
    WHERE workflow = ? AND status <> 'succeeded' AND NOT fallback
"""

Ended = WorkflowJobSucceeded | WorkflowJobFailed | WorkflowJobTimedOut
ENDS: dict[type[Ended], str] = {
    WorkflowJobFailed: "failed",
    WorkflowJobSucceeded: "succeeded",
    WorkflowJobTimedOut: "timed_out",
}


def _scheduled(event: WorkflowScheduled, _: int) -> Row:
    return (event.originator_id, to_json([_job(job) for job in event.details.jobs]).decode())


def _job(job: WorkflowJob) -> Row:
    kind = "batch" if job.batch else "fan_out" if job.fans_out else "job"
    return (job.name, job.spec, job.queue, kind, job.needs, job.after)


def _released(event: WorkflowJobReleased, _: int) -> Row | None:
    if event.run is not None:
        return None
    workflow, number = event.originator_id, event.job
    ids = (job_id(workflow, number), batch_id(workflow, number, event.opened))
    return (to_microseconds(event.at), *ids, workflow, number)


def _expanded(event: WorkflowJobExpanded, _: int) -> Row:
    return (event.runs, event.originator_id, event.job)


def _ended(event: Ended, _: int) -> Row | None:
    if event.run is not None:
        return None
    status, place = ENDS[type(event)], (event.originator_id, event.job)
    if event.late:
        return (None, None, None, status, *place)
    error = None if isinstance(event, WorkflowJobSucceeded) else encode(event.fault)
    return (status, to_microseconds(event.at), error, None, *place)


def _cancelled(event: WorkflowJobCancelled | WorkflowJobWithdrawn, _: int) -> Row | None:
    return None if event.run is not None else (to_microseconds(event.at), event.originator_id, event.job)


def _fallen_back(event: WorkflowFallbackApplied, _: int) -> Row:
    return (event.originator_id, event.job)


def _skipped(event: WorkflowJobsSkipped, _: int) -> Row:
    return (event.because, event.originator_id, to_json(event.jobs).decode())


def _retried(event: WorkflowRetried, _: int) -> Row:
    return (event.originator_id,)


WORKFLOW_JOBS = Projection(
    SCHEMA,
    {
        WorkflowScheduled: Fold(SCHEDULE, _scheduled),
        WorkflowJobReleased: Fold(RELEASE, _released),
        WorkflowJobExpanded: Fold(EXPAND, _expanded),
        **dict.fromkeys(ENDS, Fold(END, _ended)),
        WorkflowJobCancelled: Fold(CANCEL, _cancelled),
        WorkflowJobWithdrawn: Fold(WITHDRAW, _cancelled),
        WorkflowFallbackApplied: Fold(FALL_BACK, _fallen_back),
        WorkflowJobsSkipped: Fold(SKIP, _skipped),
        WorkflowRetried: Fold(RETRY, _retried),
    },
)
