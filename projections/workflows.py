"""The view of workflows: one row a workflow; its jobs, and the runs of fan-outs, are tables of their own."""

from events.base import Event
from events.catalog import encode
from events.workflow import (
    WorkflowAttemptExpired,
    WorkflowCancelled,
    WorkflowEnded,
    WorkflowFailed,
    WorkflowJobCancelled,
    WorkflowJobFailed,
    WorkflowJobStarted,
    WorkflowJobSucceeded,
    WorkflowJobTimedOut,
    WorkflowJobWithdrawn,
    WorkflowPartlyFailed,
    WorkflowPaused,
    WorkflowResumed,
    WorkflowRetried,
    WorkflowScheduled,
    WorkflowStopping,
    WorkflowSucceeded,
    WorkflowTimedOut,
)
from projections.sqlite import Fold, Projection, Row, to_microseconds
from rota.workflow_protocol import WorkflowStatus

SCHEMA = (
    # As with jobs, the sequence of the first event is the row number. What is `paused` has the status `running`.
    # `timeout` is in seconds, from `began_at` on: when it was scheduled, or retried last. `error` is why it stops,
    # or has ended without success; `labels` and `params` are MessagePack. The two columns before the last are for
    # retention: they are set when a workflow ends, and stay unless it is retried.
    """
    CREATE TABLE workflows (
        sequence INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        name TEXT NOT NULL,
        status TEXT NOT NULL,
        paused INTEGER NOT NULL DEFAULT 0,
        scheduled_at INTEGER NOT NULL,
        began_at INTEGER NOT NULL,
        ended_at INTEGER,
        timeout REAL,
        max_parallel INTEGER,
        retries INTEGER NOT NULL DEFAULT 0,
        rerun_of TEXT,
        labels BLOB,
        error TEXT,
        last_sequence INTEGER,
        events INTEGER,
        params BLOB NOT NULL
    )
    """,
)

SCHEDULE = """
    INSERT INTO workflows (
        id, sequence, name, status, scheduled_at, began_at, timeout, max_parallel, rerun_of, labels, params
    )
    VALUES (?, ?, ?, 'running', ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (id) DO NOTHING
"""
PAUSE = "UPDATE workflows SET paused = ? WHERE id = ?"
STOP = "UPDATE workflows SET status = 'stopping', paused = 0, error = ? WHERE id = ?"
RETRY = """
    UPDATE workflows SET
        status = 'running', began_at = ?, retries = ?,
        error = NULL, ended_at = NULL, last_sequence = NULL, events = NULL
    WHERE id = ?
"""
END = """
    UPDATE workflows SET status = ?, paused = 0, error = ?, ended_at = ?, last_sequence = ?, events = ?
    WHERE id = ?
"""
# What is told of a workflow after its end is removed with it.
GO_ON = "UPDATE workflows SET last_sequence = ?, events = ? WHERE id = ? AND last_sequence IS NOT NULL"

ENDS: dict[type[WorkflowEnded], WorkflowStatus] = {
    WorkflowCancelled: "cancelled",
    WorkflowFailed: "failed",
    WorkflowPartlyFailed: "partly_failed",
    WorkflowSucceeded: "succeeded",
    WorkflowTimedOut: "timed_out",
}
LATE = (
    WorkflowAttemptExpired,
    WorkflowJobCancelled,
    WorkflowJobFailed,
    WorkflowJobStarted,
    WorkflowJobSucceeded,
    WorkflowJobTimedOut,
    WorkflowJobWithdrawn,
)
"""What may be told of a workflow that has ended: jobs for which defaults stand may run on."""


def _scheduled(event: WorkflowScheduled, sequence: int) -> Row:
    details = event.details
    at = to_microseconds(event.at)
    return (
        event.originator_id,
        sequence,
        details.name,
        at,
        at,
        details.timeout_seconds,
        details.max_parallel,
        details.rerun_of,
        encode(details.labels) if details.labels else None,
        details.params,
    )


def _paused(event: WorkflowPaused | WorkflowResumed, _: int) -> Row:
    return (isinstance(event, WorkflowPaused), event.originator_id)


def _stopping(event: WorkflowStopping, _: int) -> Row:
    return (event.reason or None, event.originator_id)


def _retried(event: WorkflowRetried, _: int) -> Row:
    return (to_microseconds(event.at), event.retry, event.originator_id)


def _ended(event: WorkflowEnded, sequence: int) -> Row:
    reason = getattr(event, "reason", "") or None
    return (ENDS[type(event)], reason, to_microseconds(event.at), *_last(event, sequence))


def _last(event: Event, sequence: int) -> Row:
    return (sequence, event.originator_version, event.originator_id)


WORKFLOWS = Projection(
    SCHEMA,
    {
        WorkflowScheduled: Fold(SCHEDULE, _scheduled),
        WorkflowPaused: Fold(PAUSE, _paused),
        WorkflowResumed: Fold(PAUSE, _paused),
        WorkflowStopping: Fold(STOP, _stopping),
        WorkflowRetried: Fold(RETRY, _retried),
        **dict.fromkeys(ENDS, Fold(END, _ended)),
        **dict.fromkeys(LATE, Fold(GO_ON, _last)),
    },
)
