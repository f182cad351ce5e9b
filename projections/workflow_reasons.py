"""Why a job of a workflow does not run: one short text, for people."""

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from rota.workflow_protocol import WorkflowJobStatus, WorkflowStatus

NAMES_SHOWN = 5

HOW_ENDED: dict[WorkflowJobStatus, str] = {
    "cancelled": "was cancelled",
    "failed": "has failed",
    "timed_out": "has timed out",
}


class Whole(Struct, frozen=True):
    """What is of interest of the workflow."""

    status: WorkflowStatus
    error: str | None
    limited: bool
    """Whether no more than so many jobs run at once."""


class Waiting(Struct, frozen=True, kw_only=True):
    """What is of interest of a job that does not run."""

    status: WorkflowJobStatus
    queue: str
    missing: Sequence[str] = ()
    """Names of the jobs that it waits for."""
    due: datetime | None = None
    """When its next attempt begins."""
    because: tuple[str, WorkflowJobStatus] | None = None
    """The job for whose end it was skipped, and how that has ended."""
    batch_paused: bool = False


def waits_for(job: Waiting, whole: Whole) -> str:
    """Return why a job does not run; "" if it does, or has."""
    match job.status:
        case "skipped" if job.because:
            name, status = job.because
            return f"skipped: {name} {HOW_ENDED.get(status, 'has no output')}"
        case "skipped":
            return f"skipped: {whole.error or 'the workflow was stopped'}"
        case "scheduled":
            return f"its attempt failed and the next is due at {_shown(job.due)}" if job.due else ""
        case "queued":
            return f"for a worker of queue {job.queue}"
        case "running" if job.batch_paused:
            return "its batch is paused"
        case "waiting":
            return _not_released(job, whole)
    return ""


def _not_released(job: Waiting, whole: Whole) -> str:
    if job.missing:
        names = ", ".join(job.missing[:NAMES_SHOWN])
        more = len(job.missing) - NAMES_SHOWN
        return f"for {names}" + (f" and {more} more" if more > 0 else "")
    if whole.status == "paused":
        return "the workflow is paused"
    if whole.status == "stopping":
        return "the workflow stops"
    return "max_parallel is reached" if whole.limited else ""


def _shown(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
