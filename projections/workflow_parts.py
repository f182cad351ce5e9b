"""The jobs of a workflow as the tables have them, and how they are shown."""

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

from events.workflow_state import UNSETTLED, PartStatus
from rota.protocol import ENDED_JOB, JobStatus
from rota.workflow_protocol import WorkflowJobStatus

PartKind = Literal["job", "fan_out", "batch"]
Runs = dict[str, int]
"""Number of runs of a fan-out by state, and `total`."""


class JobRow(Struct, frozen=True, gc=False):
    """A job of a workflow, with what is of interest of the rows of its job or its batch.

    The fields have the order of the columns of the query.
    """

    number: int
    name: str
    spec: str
    queue: str
    kind: PartKind
    needs: str
    """A JSON list of numbers, as the next one."""
    after: str
    status: PartStatus
    part: str | None
    total: int | None
    """Runs of a fan-out, once its list is known."""
    released_at: int | None
    """Times are microseconds since 1970."""
    ended_at: int | None
    fallback: int
    late: Literal["succeeded", "failed", "timed_out"] | None
    because: int | None
    error: bytes | None
    job_status: JobStatus | None
    attempt: int | None
    started_at: int | None
    run_at: int | None
    attempt_error: bytes | None
    batch_status: str | None

    @property
    def settled(self) -> bool:
        """Whether it is known what has become of it."""
        return self.status not in UNSETTLED

    @property
    def has_output(self) -> bool:
        """Whether what depends on it may run."""
        return self.status == "succeeded" or bool(self.fallback)

    @property
    def is_made(self) -> bool:
        """Whether there is a job or a batch, or will be in a moment."""
        return self.status == "released" or self.job_status is not None or self.batch_status is not None


def shown_status(job: JobRow, runs: Runs | None) -> WorkflowJobStatus:
    """Return the state of a job, given the runs of a fan-out."""
    if job.status != "released":
        return job.status
    return status_at_work(job.kind, job.job_status, runs)


def status_at_work(kind: PartKind, status: JobStatus | None, runs: Runs | None) -> WorkflowJobStatus:
    """Return the state of what is released: by the state of its job, if it is one, or by the runs of a fan-out."""
    match kind:
        case "job":
            return _at_work(status)
        case "batch":
            return "running"
        case "fan_out":
            return _of_runs(runs or {})


def runs_of(job: JobRow, total: int, found: Mapping[tuple[PartStatus, JobStatus | None], int]) -> Runs:
    """Return how many runs of a fan-out are in each state, given how many with their jobs the tables have in each.

    Those that were not released have no rows: `total` is how many there are.
    """
    runs: Runs = {}
    for (status, job_status), count in found.items():
        shown = _at_work(job_status) if status == "released" else status
        runs[shown] = runs.get(shown, 0) + count
    if left := total - sum(runs.values()):
        runs["skipped" if job.settled else "waiting"] = left
    return {**runs, "total": total}


def share_ended(job: JobRow, runs: Runs | None) -> float:
    """Return how much of a job is over, from 0 to 1: of a fan-out, the share of its runs."""
    if job.settled:
        return 1.0
    if not runs or not runs["total"]:
        return 0.0
    return sum(count for state, count in runs.items() if state in ENDED_JOB) / runs["total"]


def _at_work(status: JobStatus | None) -> JobStatus:
    """Return the state of a job that is released.

    Its row may be a moment behind the workflow's, or before it: they are read from the log one after the other.
    """
    if status is None:
        return "queued"
    return "running" if status in ENDED_JOB else status


def _of_runs(runs: Runs) -> WorkflowJobStatus:
    if any(runs.get(state) for state in ("running", *ENDED_JOB)):
        return "running"
    for state in ("queued", "scheduled"):
        if runs.get(state):
            return "queued" if state == "queued" else "scheduled"
    return "waiting"
