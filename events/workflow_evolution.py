"""What an event changes in the state of a workflow."""

from bisect import bisect_left
from collections.abc import Mapping
from typing import assert_never

from msgspec.structs import replace

from events.workflow import (
    EndedPart,
    WorkflowAttemptExpired,
    WorkflowCancelled,
    WorkflowDetails,
    WorkflowEvent,
    WorkflowFailed,
    WorkflowFallbackApplied,
    WorkflowJobCancelled,
    WorkflowJobExpanded,
    WorkflowJobFailed,
    WorkflowJobReleased,
    WorkflowJobsSkipped,
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
from events.workflow_graph import dependents
from events.workflow_state import FanOut, JobState, Part, WorkflowState, before

EDGE_BYTES = 80
"""About what a dependency takes in the state, which has it both ways."""

Ended = WorkflowJobSucceeded | WorkflowJobFailed | WorkflowJobTimedOut | WorkflowJobCancelled


def evolve(state: WorkflowState | None, event: WorkflowEvent) -> WorkflowState:
    """Return the state after the event."""
    if isinstance(event, WorkflowScheduled):
        return _begun(event)
    if state is None:
        raise ValueError(f"The history of workflow {event.originator_id} does not begin with its jobs")
    state = replace(state, version=event.originator_version)
    match event:
        case WorkflowJobReleased() | WorkflowJobStarted() | WorkflowAttemptExpired() | WorkflowJobWithdrawn():
            job = state.jobs[event.job]
            return _with(state, {event.job: _with_part(job, event, _moved(state, job, event))})
        case WorkflowJobExpanded():
            fan_out = FanOut((Part(),) * event.runs, tuple(range(event.runs)))
            state = replace(state, runs=state.runs + event.runs)
            return _with(state, {event.job: replace(state.jobs[event.job], fan_out=fan_out)})
        case WorkflowJobSucceeded() | WorkflowJobFailed() | WorkflowJobTimedOut() | WorkflowJobCancelled():
            return _ended(state, event)
        case WorkflowFallbackApplied():
            return _unblocked(_with(state, {event.job: replace(state.jobs[event.job], fallback=True)}), event.job)
        case WorkflowJobsSkipped():
            return _with(state, {number: _skipped(state.jobs[number]) for number in event.jobs})
        case WorkflowPaused():
            return replace(state, paused=True)
        case WorkflowResumed():
            return replace(state, paused=False)
        case WorkflowStopping():
            state = replace(state, status="stopping", outcome=event.outcome, reason=event.reason, paused=False)
            return _with(state, dict(enumerate(state.jobs)))
        case WorkflowRetried():
            return _retried(state, event)
        case WorkflowSucceeded():
            return replace(state, status="succeeded", paused=False)
        case WorkflowPartlyFailed():
            return replace(state, status="partly_failed", paused=False)
        case WorkflowFailed():
            return replace(state, status="failed")
        case WorkflowTimedOut():
            return replace(state, status="timed_out")
        case WorkflowCancelled():
            return replace(state, status="cancelled")
        case _:
            assert_never(event)


def _begun(event: WorkflowScheduled) -> WorkflowState:
    waits_for = [before(job) for job in event.details.jobs]
    return WorkflowState(
        version=event.originator_version,
        status="running",
        details=event.details,
        after=dependents(waits_for),
        jobs=tuple(JobState(missing=len(others)) for others in waits_for),
        ready=tuple(number for number, others in enumerate(waits_for) if not others),
        unsettled=len(waits_for),
        began_at=event.at,
        weight=_weight(event.details),
    )


def _weight(details: WorkflowDetails) -> int:
    given = sum(len(part) for job in details.jobs for part in (job.inputs, job.for_each, job.defaults))
    edges = sum(len(job.needs) + len(job.after) for job in details.jobs)
    return len(details.params) + given + EDGE_BYTES * edges


def _moved(
    state: WorkflowState,
    job: JobState,
    event: WorkflowJobReleased | WorkflowJobStarted | WorkflowAttemptExpired | WorkflowJobWithdrawn,
) -> Part:
    """Return a part that has gone on without coming to its end by itself."""
    part = job.part_of(event.run)
    match event:
        case WorkflowJobReleased():
            # A fan-out itself is no job: its runs are.
            is_job = event.run is not None or not state.details.jobs[event.job].fans_out
            return Part(
                "released", event.retry, made=is_job, alive=is_job, released_at=event.at, opened=event.opened
            )
        case WorkflowJobStarted():
            return replace(part, attempt=event.attempt, started_at=event.started_at)
        case WorkflowAttemptExpired():
            return replace(part, started_at=None)
        case WorkflowJobWithdrawn():
            if part.alive and state.details.jobs[event.job].batch:
                return replace(part, withdrawn=True)  # it takes its time, and says when it has ended
            return replace(part, status=part.status if part.settled else "cancelled", alive=False, withdrawn=True)
        case _:
            assert_never(event)


def _ended(state: WorkflowState, event: Ended) -> WorkflowState:
    """Return the state after the end of a job, run or batch; one that is settled has ended late."""
    job = state.jobs[event.job]
    part = job.part_of(event.run)
    made = part.made and not _is_lost(state, event)
    if part.settled:
        return _with(state, {event.job: _with_part(job, event, replace(part, alive=False, made=made))})
    status: EndedPart
    match event:
        case WorkflowJobSucceeded():
            status, alive = "succeeded", False
        case WorkflowJobFailed():
            status, alive = "failed", False
        case WorkflowJobTimedOut():
            # It may run still, unless it was its attempt that has timed out.
            status, alive = "timed_out", part.alive and event.limit != "running"
        case WorkflowJobCancelled():
            status, alive = "cancelled", False
    job = _with_part(job, event, replace(part, status=status, alive=alive, made=made))
    state = _with(state, {event.job: job})
    return _unblocked(state, event.job) if event.run is None and status == "succeeded" else state


def _is_lost(state: WorkflowState, event: Ended) -> bool:
    """Say whether what has ended cannot run again: there is none, or it is a batch, which stays cancelled."""
    match event:
        case WorkflowJobFailed():
            return not event.made
        case WorkflowJobCancelled():
            return state.details.jobs[event.job].batch is not None
        case _:
            return False


def _skipped(job: JobState) -> JobState:
    return replace(job, part=replace(job.part, status="skipped"))


def _with_part(
    job: JobState,
    event: Ended | WorkflowJobReleased | WorkflowJobStarted | WorkflowAttemptExpired | WorkflowJobWithdrawn,
    part: Part,
) -> JobState:
    """Return a job with another state of itself or of a run."""
    run, fan_out = event.run, job.fan_out
    if run is None or fan_out is None:
        return replace(job, part=part)
    old = fan_out.runs[run]
    waiting = fan_out.waiting
    if isinstance(event, WorkflowJobReleased):
        waiting = waiting[1:] if waiting[0] == run else tuple(one for one in waiting if one != run)
    return replace(
        job,
        fan_out=FanOut(
            runs=(*fan_out.runs[:run], part, *fan_out.runs[run + 1 :]),
            waiting=waiting,
            alive=fan_out.alive + part.alive - old.alive,
            succeeded=fan_out.succeeded + (part.status == "succeeded") - (old.status == "succeeded"),
            failed=fan_out.failed + _is_failed(part) - _is_failed(old),
        ),
    )


def _is_failed(part: Part) -> bool:
    return part.settled and part.status != "succeeded"


def _unblocked(state: WorkflowState, number: int) -> WorkflowState:
    """Return the state with one job less to wait for, for all that depend on it."""
    changes = {}
    for other in state.after[number]:
        job = state.jobs[other]
        changes[other] = replace(job, missing=job.missing - 1)
    return _with(state, changes)


def _retried(state: WorkflowState, event: WorkflowRetried) -> WorkflowState:
    """Return the state with all that has no output waiting again."""
    changes: dict[int, JobState] = {}
    for number, job in enumerate(state.jobs):
        if job.has_output:
            continue
        others = before(state.details.jobs[number])
        changes[number] = JobState(
            part=Part(made=job.part.made, opened=job.part.opened),
            missing=sum(not state.jobs[other].has_output for other in others),
            fan_out=_waiting_again(job.fan_out) if job.fan_out else None,
        )
    state = replace(
        state,
        status="running",
        outcome=None,
        reason="",
        began_at=event.at,
        retry=event.retry,
        retry_key=event.key,
    )
    return _with(state, changes)


def _waiting_again(fan_out: FanOut) -> FanOut:
    runs = tuple(run if run.status == "succeeded" else Part(made=run.made) for run in fan_out.runs)
    waiting = tuple(number for number, run in enumerate(runs) if run.status == "waiting")
    return FanOut(runs, waiting, succeeded=fan_out.succeeded)


def _with(state: WorkflowState, changes: Mapping[int, JobState]) -> WorkflowState:
    """Return the state with some jobs changed, and what follows from that."""
    if not changes:
        return state
    jobs = list(state.jobs)
    ready, doomed = state.ready, state.doomed
    alive = leaving = unsettled = 0
    for number, job in changes.items():
        old, jobs[number] = jobs[number], job
        alive += job.alive - old.alive
        leaving += job.leaving - old.leaving
        unsettled += old.part.settled - job.part.settled
        ready = _member(ready, number, is_in=job.is_ready)
        doomed = _member(doomed, number, is_in=_is_doomed(state, job))
    return replace(
        state,
        jobs=tuple(jobs),
        ready=ready,
        doomed=doomed,
        alive=state.alive + alive,
        leaving=state.leaving + leaving,
        unsettled=state.unsettled + unsettled,
    )


def _is_doomed(state: WorkflowState, job: JobState) -> bool:
    """Say whether something of a job runs that nobody waits for."""
    if job.fan_out and not job.part.settled and state.status == "stopping":
        return True
    runs_on = (job.part.alive and not job.part.withdrawn) or bool(job.fan_out and job.fan_out.alive)
    is_late = job.fallback and job.part.status == "timed_out"
    return runs_on and (state.status == "stopping" or (job.part.settled and not is_late))


def _member(numbers: tuple[int, ...], number: int, *, is_in: bool) -> tuple[int, ...]:
    """Return sorted numbers with or without one of them."""
    place = bisect_left(numbers, number)
    found = place < len(numbers) and numbers[place] == number
    if found == is_in:
        return numbers
    return (*numbers[:place], number, *numbers[place:]) if is_in else (*numbers[:place], *numbers[place + 1 :])
