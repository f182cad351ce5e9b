"""The view of the runs of fan-outs in workflows: one row a run, once it was released."""

from events.workflow import (
    WorkflowJobCancelled,
    WorkflowJobFailed,
    WorkflowJobReleased,
    WorkflowJobSucceeded,
    WorkflowJobTimedOut,
    WorkflowJobWithdrawn,
)
from projections.sqlite import Fold, Projection, Row

SCHEMA = (
    # `status` as with the jobs of workflows.
    """
    CREATE TABLE workflow_runs (
        workflow TEXT NOT NULL,
        number INTEGER NOT NULL,
        run INTEGER NOT NULL,
        status TEXT NOT NULL,
        PRIMARY KEY (workflow, number, run)
    ) WITHOUT ROWID
    """,
    # They need the tables of workflows and of their jobs. Of a fan-out that runs again, what succeeded stays.
    """
    CREATE TRIGGER workflow_runs_wait_again AFTER UPDATE OF status ON workflow_jobs
    WHEN NEW.kind = 'fan_out' AND NEW.status = 'waiting' BEGIN
        DELETE FROM workflow_runs WHERE workflow = NEW.workflow AND number = NEW.number AND status <> 'succeeded';
    END
    """,
    """
    CREATE TRIGGER workflow_runs_removed AFTER DELETE ON workflows BEGIN
        DELETE FROM workflow_runs WHERE workflow = OLD.id;
    END
    """,
)

# Where the beginning of a workflow was removed from the log, there is nothing of it here.
RELEASE = """
    INSERT INTO workflow_runs (workflow, number, run, status)
    SELECT workflow, number, ?, 'released' FROM workflow_jobs WHERE workflow = ? AND number = ?
    ON CONFLICT (workflow, number, run) DO UPDATE SET status = excluded.status
"""
END = """
    UPDATE workflow_runs SET status = ? WHERE workflow = ? AND number = ? AND run = ? AND status = 'released'
"""

Ended = WorkflowJobCancelled | WorkflowJobFailed | WorkflowJobSucceeded | WorkflowJobTimedOut | WorkflowJobWithdrawn
ENDS: dict[type[Ended], str] = {
    WorkflowJobCancelled: "cancelled",
    WorkflowJobFailed: "failed",
    WorkflowJobSucceeded: "succeeded",
    WorkflowJobTimedOut: "timed_out",
    WorkflowJobWithdrawn: "cancelled",
}


def _released(event: WorkflowJobReleased, _: int) -> Row | None:
    return None if event.run is None else (event.run, event.originator_id, event.job)


def _ended(event: Ended, _: int) -> Row | None:
    return None if event.run is None else (ENDS[type(event)], event.originator_id, event.job, event.run)


WORKFLOW_RUNS = Projection(
    SCHEMA, {WorkflowJobReleased: Fold(RELEASE, _released), **dict.fromkeys(ENDS, Fold(END, _ended))}
)
