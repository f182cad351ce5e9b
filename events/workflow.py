"""The workflow: jobs whose order follows from their inputs. What may be asked of it, and what can happen.

A job of a workflow is a job, a fan-out (a run of a job for each item of a list), or a batch. It is named by its
number in the list of the workflow's jobs; a run by its number in the list of the fan-out's items.
"""

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta, Raw, Struct

from events.base import Command, Event
from events.batch import BatchDetails
from rota.batch_protocol import Count, Share
from rota.protocol import NIL, JobFault, Name, RetryPolicy, Seconds
from rota.workflow_protocol import MAX_JOBS, Rule

Number = Annotated[int, Meta(ge=0, lt=MAX_JOBS)]
EndedPart = Literal["succeeded", "failed", "timed_out", "cancelled"]
Limit = Literal["waiting", "running", "total"]
"""Which time limit of a job has passed: until a worker has begun it, of an attempt, in all."""
StopOutcome = Literal["failed", "timed_out", "cancelled"]

NO_PARAMS = Raw(b"\x80")


class WorkflowJob(Struct, frozen=True, omit_defaults=True):
    """A job as it was scheduled."""

    name: Name
    spec: Name
    queue: Name
    inputs: Raw
    """A MessagePack map of the params; references in it are as they were given."""
    needs: tuple[Number, ...] = ()
    """Jobs whose outputs it uses."""
    after: tuple[Number, ...] = ()
    """Other jobs that it comes after."""
    retry: RetryPolicy = RetryPolicy()
    timeout_seconds: Seconds | None = None
    waiting_timeout_seconds: Seconds | None = None
    total_timeout_seconds: Seconds | None = None
    on_timeout: Rule = "fail_workflow"
    on_failure: Rule = "fail_workflow"
    defaults: Raw = NIL
    """What stands for the output under the rule `use_defaults`."""
    labels: dict[str, str] = {}
    for_each: Raw = NIL
    """Of a fan-out: a list, or a reference to one; else nil."""
    max_parallel: Annotated[int, Meta(ge=1)] | None = None
    tolerated_failures: Count | None = None
    tolerated_failures_share: Share | None = None
    batch: BatchDetails | None = None
    """Of a batch: all but its params, which are the inputs."""
    files_from: Raw = NIL
    """A reference to the list of a batch's files; nil if they are known."""

    @property
    def fans_out(self) -> bool:
        """Whether it is a run for each item of a list."""
        return self.for_each != NIL


class WorkflowDetails(Struct, frozen=True, omit_defaults=True):
    """A workflow as it was scheduled."""

    name: Name
    jobs: Annotated[tuple[WorkflowJob, ...], Meta(min_length=1, max_length=MAX_JOBS)]
    params: Raw = NO_PARAMS
    """A MessagePack map."""
    timeout_seconds: Seconds | None = None
    max_parallel: Annotated[int, Meta(ge=1)] | None = None
    labels: dict[str, str] = {}
    rerun_of: str | None = None


# Commands


class ScheduleWorkflow(Command, frozen=True, kw_only=True, tag="workflow.schedule"):
    """Run these jobs. A workflow that exists already stays as it is."""

    details: WorkflowDetails


class AdvanceWorkflow(Command, frozen=True, kw_only=True, tag="workflow.advance"):
    """Go on with what was too much for one decision."""


class ExpandWorkflowJob(Command, frozen=True, kw_only=True, tag="workflow.expand_job"):
    """The list of a fan-out is known: it has so many items."""

    job: Number
    runs: Annotated[int, Meta(ge=0, le=MAX_JOBS)]


class StartWorkflowJob(Command, frozen=True, kw_only=True, tag="workflow.start_job"):
    """A worker has begun an attempt of a job, or of a run."""

    job: Number
    run: Number | None = None
    attempt: int
    started_at: datetime


class EndWorkflowJob(Command, frozen=True, kw_only=True, tag="workflow.end_job"):
    """A job, run or batch has ended, or could not be made of its inputs."""

    job: Number
    run: Number | None = None
    outcome: EndedPart
    fault: JobFault | None = None
    made: bool = True
    """Whether there was a job at all."""
    at_once: bool = False
    """Whether this is the answer to its release, and is stored together with that."""


class ExpireWorkflowJob(Command, frozen=True, kw_only=True, tag="workflow.expire_job"):
    """A time limit of a job, or of a run, has passed; sent by a timer."""

    job: Number
    run: Number | None = None
    limit: Limit
    since: datetime
    """From when the time is counted: a timer may be of a decision that was not stored, and counts from another."""


class ExpireWorkflow(Command, frozen=True, kw_only=True, tag="workflow.expire"):
    """The time limit of the workflow has passed; sent by a timer."""

    since: datetime
    """From when the time is counted, as with ExpireWorkflowJob."""


class PauseWorkflow(Command, frozen=True, kw_only=True, tag="workflow.pause"):
    """Start no more jobs for now."""

    reason: str = ""


class ResumeWorkflow(Command, frozen=True, kw_only=True, tag="workflow.resume"):
    """Go on."""


class CancelWorkflow(Command, frozen=True, kw_only=True, tag="workflow.cancel"):
    """Stop, with all that runs."""

    reason: str = ""


class RetryWorkflow(Command, frozen=True, kw_only=True, tag="workflow.retry"):
    """Run again what has not succeeded."""

    key: str | None = None
    """Idempotency key: the same again changes nothing."""


WorkflowCommand = (
    ScheduleWorkflow
    | AdvanceWorkflow
    | ExpandWorkflowJob
    | StartWorkflowJob
    | EndWorkflowJob
    | ExpireWorkflowJob
    | ExpireWorkflow
    | PauseWorkflow
    | ResumeWorkflow
    | CancelWorkflow
    | RetryWorkflow
)

# Events


class WorkflowScheduled(Event, frozen=True, kw_only=True, tag="workflow.scheduled"):
    """The workflow runs from now on."""

    details: WorkflowDetails


class WorkflowPart(Event, frozen=True, kw_only=True):
    """What events of one job have in common; `run` is given where they are of one run of a fan-out."""

    job: int
    run: int | None = None


class WorkflowJobReleased(WorkflowPart, frozen=True, kw_only=True, tag="workflow.job_released"):
    """The inputs of a job are there: its job is queued, its list is asked for, or its batch opened."""

    retry: int = 0
    """The retry of the workflow that this belongs to, 0 before the first."""
    again: bool = False
    """Whether there is a job or a batch of an earlier retry, which runs again."""
    opened: int = 0
    """Of a batch: the retry in which it was opened."""


class WorkflowJobExpanded(Event, frozen=True, kw_only=True, tag="workflow.job_expanded"):
    """A fan-out has so many runs."""

    job: int
    runs: int


class WorkflowJobStarted(WorkflowPart, frozen=True, kw_only=True, tag="workflow.job_started"):
    """A worker has begun an attempt; told only where a time limit hangs on it."""

    attempt: int
    started_at: datetime


class WorkflowJobSucceeded(WorkflowPart, frozen=True, kw_only=True, tag="workflow.job_succeeded"):
    """It has returned; its output is with its job, runs or batch."""

    late: bool = False
    """Whether its defaults were used before: it changes nothing."""


class WorkflowJobFailed(WorkflowPart, frozen=True, kw_only=True, tag="workflow.job_failed"):
    """It has failed for good."""

    fault: JobFault
    late: bool = False
    made: bool = True
    """Whether there is a job or batch that can run again."""


class WorkflowJobTimedOut(WorkflowPart, frozen=True, kw_only=True, tag="workflow.job_timed_out"):
    """It has taken too long."""

    limit: Limit
    fault: JobFault
    late: bool = False


class WorkflowJobCancelled(WorkflowPart, frozen=True, kw_only=True, tag="workflow.job_cancelled"):
    """Its batch has been stopped, as the workflow had asked."""


class WorkflowJobWithdrawn(WorkflowPart, frozen=True, kw_only=True, tag="workflow.job_withdrawn"):
    """Nobody waits for it any more: what runs of it is cancelled."""


class WorkflowAttemptExpired(WorkflowPart, frozen=True, kw_only=True, tag="workflow.attempt_expired"):
    """An attempt has taken longer than it may, and its worker has not said so: it has failed."""

    attempt: int
    started_at: datetime


class WorkflowFallbackApplied(Event, frozen=True, kw_only=True, tag="workflow.fallback_applied"):
    """The defaults of a job stand for its output."""

    job: int


class WorkflowJobsSkipped(Event, frozen=True, kw_only=True, tag="workflow.jobs_skipped"):
    """These jobs will not run, since one that they depend on has no output, or the workflow stops."""

    jobs: tuple[int, ...]
    because: int | None = None


class WorkflowPaused(Event, frozen=True, kw_only=True, tag="workflow.paused"):
    """No more jobs are started."""

    reason: str = ""


class WorkflowResumed(Event, frozen=True, kw_only=True, tag="workflow.resumed"):
    """It goes on."""


class WorkflowStopping(Event, frozen=True, kw_only=True, tag="workflow.stopping"):
    """It will end so; what runs is cancelled first."""

    outcome: StopOutcome
    reason: str = ""


class WorkflowRetried(Event, frozen=True, kw_only=True, tag="workflow.retried"):
    """What has not succeeded runs again."""

    retry: int
    key: str | None = None


class WorkflowEnded(Event, frozen=True, kw_only=True):
    """What the events that end a workflow have in common."""


class WorkflowSucceeded(WorkflowEnded, frozen=True, kw_only=True, tag="workflow.succeeded"):
    """Each job has its output."""


class WorkflowPartlyFailed(WorkflowEnded, frozen=True, kw_only=True, tag="workflow.partly_failed"):
    """Some jobs have failed or were skipped, as their rules say."""

    reason: str = ""


class WorkflowFailed(WorkflowEnded, frozen=True, kw_only=True, tag="workflow.failed"):
    """A job has failed, or was late, that all depends on."""

    reason: str = ""


class WorkflowTimedOut(WorkflowEnded, frozen=True, kw_only=True, tag="workflow.timed_out"):
    """The whole has taken too long."""

    reason: str = ""


class WorkflowCancelled(WorkflowEnded, frozen=True, kw_only=True, tag="workflow.cancelled"):
    """Somebody has cancelled it."""

    reason: str = ""


WorkflowEvent = (
    WorkflowScheduled
    | WorkflowJobReleased
    | WorkflowJobExpanded
    | WorkflowJobStarted
    | WorkflowJobSucceeded
    | WorkflowJobFailed
    | WorkflowJobTimedOut
    | WorkflowJobCancelled
    | WorkflowJobWithdrawn
    | WorkflowAttemptExpired
    | WorkflowFallbackApplied
    | WorkflowJobsSkipped
    | WorkflowPaused
    | WorkflowResumed
    | WorkflowStopping
    | WorkflowRetried
    | WorkflowSucceeded
    | WorkflowPartlyFailed
    | WorkflowFailed
    | WorkflowTimedOut
    | WorkflowCancelled
)
