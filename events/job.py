"""The job: one run of a job spec with given params; it has attempts.

    scheduled ─► queued ─► running ─► succeeded · failed · timed_out
        ▲           │         │                 │
        └───────────┴─────────┴──► after a failed attempt with retries left; `cancelled` from any of the three
        └───────────────────────────────────────┴──► when it is redriven, unless it succeeded

A job that is due at once starts with `job.queued`. Its details stand in every `job.queued` event, since that
event is what the worker is handed.
"""

from datetime import datetime, timedelta
from typing import Any, assert_never

from msgspec import Struct
from msgspec.structs import replace

from events.base import Aggregate, Command, EndedError, Event, UnknownAggregateError
from events.ids import group_of
from rota.protocol import (
    ENDED_JOB,
    FailJob,
    JobDetails,
    JobFault,
    JobStatus,
    ProgressJob,
    Result,
    StartJob,
    SucceedJob,
)

# Commands


class ScheduleJob(Command, frozen=True, kw_only=True, tag="job.schedule"):
    """Run this job, at once or at `run_at`. A job that exists already stays as it is."""

    details: JobDetails
    run_at: datetime | None = None


class ReleaseJob(Command, frozen=True, kw_only=True, tag="job.release"):
    """The time of attempt number `attempt` has come; sent by a timer."""

    attempt: int


class CancelJob(Command, frozen=True, kw_only=True, tag="job.cancel"):
    """Do not run the job any more."""

    reason: str = ""
    lenient: bool = False
    """Whether it is no fault if the job has ended by then."""


class RedriveJob(Command, frozen=True, kw_only=True, tag="job.redrive"):
    """Run a job again that ended without success; `redrive` grows with each time that this is asked."""

    redrive: int


JobCommand = ScheduleJob | ReleaseJob | CancelJob | RedriveJob | StartJob | ProgressJob | SucceedJob | FailJob

# Events


class JobScheduled(Event, frozen=True, kw_only=True, tag="job.scheduled"):
    """The job waits for its time."""

    details: JobDetails
    run_at: datetime


class JobQueued(Event, frozen=True, kw_only=True, tag="job.queued"):
    """An attempt waits for a worker."""

    attempt: int
    details: JobDetails


class JobStarted(Event, frozen=True, kw_only=True, tag="job.started"):
    """A worker has been running the attempt for about a second."""

    attempt: int
    worker: str
    started_at: datetime
    batch: str | None = None


class JobProgressed(Event, frozen=True, kw_only=True, tag="job.progressed"):
    """The attempt told how far it has come."""

    attempt: int
    percent: float
    message: str = ""


class JobAttemptFailed(Event, frozen=True, kw_only=True, tag="job.attempt_failed"):
    """The attempt failed; the next one is due at `retry_at`."""

    attempt: int
    worker: str
    started_at: datetime
    fault: JobFault
    timed_out: bool
    retry_at: datetime


class JobEnded(Event, frozen=True, kw_only=True):
    """What the events that end a job have in common."""

    attempt: int
    batch: str | None = None
    """The job's batch: part of the event's subject, so that a batch's jobs can be counted."""


class JobSucceeded(JobEnded, frozen=True, kw_only=True, tag="job.succeeded"):
    """The attempt returned."""

    worker: str
    started_at: datetime
    result: Result


class JobFailed(JobEnded, frozen=True, kw_only=True, tag="job.failed"):
    """The last attempt failed."""

    worker: str
    started_at: datetime
    fault: JobFault


class JobTimedOut(JobEnded, frozen=True, kw_only=True, tag="job.timed_out"):
    """The last attempt ran out of time."""

    worker: str
    started_at: datetime
    fault: JobFault


class JobCancelled(JobEnded, frozen=True, kw_only=True, tag="job.cancelled"):
    """Somebody cancelled the job."""

    reason: str = ""


class JobRedriven(Event, frozen=True, kw_only=True, tag="job.redriven"):
    """The job had ended without success and runs again, with as many attempts as at first; it is queued next."""

    redrive: int
    batch: str | None = None
    """The job's batch: part of the event's subject, as with the events that end jobs."""


JobEvent = (
    JobScheduled
    | JobQueued
    | JobStarted
    | JobProgressed
    | JobAttemptFailed
    | JobSucceeded
    | JobFailed
    | JobTimedOut
    | JobCancelled
    | JobRedriven
)


class JobState(Struct, frozen=True):
    """What later decisions need."""

    version: int
    status: JobStatus
    attempt: int
    """The attempt that is queued or running, or was last; 0 before the first."""
    details: JobDetails
    worker: str | None = None
    """Who has told that it runs the attempt."""
    redrive: int = 0
    """The last time that it was made to run again, 0 if it never was."""
    earlier: int = 0
    """Attempts before that."""


# Decisions


def decide(state: JobState | None, command: JobCommand, now: datetime) -> list[Event]:
    """Return what follows from the command; nothing if it was carried out before or comes too late.

    Progress alone is recorded each time that it comes.
    """
    if isinstance(command, ScheduleJob):
        return [] if state else [_first(command, now)]
    if state is None:
        raise UnknownAggregateError(f"There is no job {command.id}", job=command.id)
    if isinstance(command, CancelJob):
        return _cancel(state, command, now)
    if isinstance(command, RedriveJob):
        return _redrive(state, command, now)
    if state.status in ENDED_JOB:
        return []
    if isinstance(command, ReleaseJob):
        waiting = state.status == "scheduled" and command.attempt == state.attempt + 1
        return [_queued(command.id, state, state.version + 1, now)] if waiting else []
    if command.attempt != state.attempt or state.status == "scheduled":
        return []
    return _report(state, command, now)


def evolve(state: JobState | None, event: JobEvent) -> JobState:
    """Return the state after the event."""
    match event:
        case JobScheduled():
            return JobState(event.originator_version, "scheduled", 0, event.details)
        case JobQueued():
            first = JobState(event.originator_version, "queued", event.attempt, event.details)
            if state is None:
                return first
            return replace(first, redrive=state.redrive, earlier=state.earlier)
    if state is None:
        raise ValueError(f"The history of job {event.originator_id} does not begin with its details")
    status: JobStatus
    match event:
        case JobStarted():
            return replace(state, version=event.originator_version, status="running", worker=event.worker)
        case JobProgressed():
            status = state.status
        case JobAttemptFailed():
            status = "scheduled"
        case JobSucceeded():
            status = "succeeded"
        case JobFailed():
            status = "failed"
        case JobTimedOut():
            status = "timed_out"
        case JobCancelled():
            status = "cancelled"
        case JobRedriven():
            return replace(
                state,
                version=event.originator_version,
                status="scheduled",
                worker=None,
                redrive=event.redrive,
                earlier=state.attempt,
            )
        case _:
            assert_never(event)
    return replace(state, version=event.originator_version, status=status)


def _correlation_id(id_: str, state: JobState) -> str:
    return state.details.batch or group_of(id_)


def _weigh(state: JobState) -> int:
    return len(state.details.params)


# A job that tells its progress for a day has as many events as seconds.
JOB = Aggregate(
    "job", decide, evolve, JobState, _correlation_id, _weigh, snapshot_every=lambda _: 100, state_version=2
)


def _first(command: ScheduleJob, now: datetime) -> Event:
    if command.run_at and command.run_at > now:
        return JobScheduled(
            originator_id=command.id,
            originator_version=1,
            at=now,
            details=command.details,
            run_at=command.run_at,
        )
    return JobQueued(originator_id=command.id, originator_version=1, at=now, attempt=1, details=command.details)


def _queued(id_: str, state: JobState, version: int, now: datetime) -> JobQueued:
    return JobQueued(
        originator_id=id_,
        originator_version=version,
        at=now,
        attempt=state.attempt + 1,
        details=state.details,
    )


def _cancel(state: JobState, command: CancelJob, now: datetime) -> list[Event]:
    if state.status == "cancelled":
        return []
    if state.status in ENDED_JOB:
        if command.lenient:
            return []
        raise EndedError(f"Job {command.id} has already {state.status.replace('_', ' ')}", job=command.id)
    return [
        JobCancelled(
            originator_id=command.id,
            originator_version=state.version + 1,
            at=now,
            attempt=state.attempt,
            batch=state.details.batch,
            reason=command.reason,
        )
    ]


def _redrive(state: JobState, command: RedriveJob, now: datetime) -> list[Event]:
    if state.status == "succeeded" or state.status not in ENDED_JOB or command.redrive <= state.redrive:
        return []
    version = state.version + 1
    redriven = JobRedriven(
        originator_id=command.id,
        originator_version=version,
        at=now,
        redrive=command.redrive,
        batch=state.details.batch,
    )
    return [redriven, _queued(command.id, state, version + 1, now)]


def _report(state: JobState, report: StartJob | ProgressJob | SucceedJob | FailJob, now: datetime) -> list[Event]:
    facts: dict[str, Any] = {
        "originator_id": report.id,
        "originator_version": state.version + 1,
        "at": now,
        "attempt": report.attempt,
    }
    match report:
        case ProgressJob():
            return [JobProgressed(percent=report.percent, message=report.message, **facts)]
        case StartJob():
            if state.worker == report.worker:
                return []
            batch = state.details.batch
            return [JobStarted(worker=report.worker, started_at=report.started_at, batch=batch, **facts)]
        case SucceedJob():
            return [
                JobSucceeded(
                    worker=report.worker,
                    started_at=report.started_at,
                    result=report.result,
                    batch=state.details.batch,
                    **facts,
                )
            ]
        case FailJob():
            return _fail(state, report, facts)
        case _:
            assert_never(report)


def _fail(state: JobState, report: FailJob, facts: dict[str, Any]) -> list[Event]:
    facts |= {"worker": report.worker, "started_at": report.started_at, "fault": report.fault}
    now: datetime = facts["at"]
    retry = state.details.retry
    attempt = report.attempt - state.earlier
    if report.final or attempt >= retry.max_attempts:
        ended = JobTimedOut if report.timed_out else JobFailed
        return [ended(batch=state.details.batch, **facts)]
    delay = retry.delay_after(attempt)
    retry_at = now + timedelta(seconds=delay)
    failed = JobAttemptFailed(timed_out=report.timed_out, retry_at=retry_at, **facts)
    return [failed] if delay else [failed, _queued(report.id, state, state.version + 2, now)]
