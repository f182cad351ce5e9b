"""The workflow: what follows from what is asked of it.

running ─► succeeded · partly_failed
   │  ▲
   │  └──── by `workflow.retry`, from each end but `succeeded`
   └─► stopping ─► failed · timed_out · cancelled      when nothing of it runs any more

A decision releases or withdraws no more than AT_ONCE; for the rest the workflow asks itself to go on. What it is
told of jobs that it has just released is stored together with that, and so releases and withdraws nothing.
"""

from datetime import datetime
from typing import Any

from events.base import Aggregate, EndedError, Event, InvalidCommandError, UnknownAggregateError
from events.workflow import (
    AdvanceWorkflow,
    CancelWorkflow,
    EndedPart,
    EndWorkflowJob,
    ExpandWorkflowJob,
    ExpireWorkflow,
    ExpireWorkflowJob,
    Limit,
    PauseWorkflow,
    ResumeWorkflow,
    RetryWorkflow,
    ScheduleWorkflow,
    StartWorkflowJob,
    StopOutcome,
    WorkflowAttemptExpired,
    WorkflowCancelled,
    WorkflowCommand,
    WorkflowFailed,
    WorkflowFallbackApplied,
    WorkflowJob,
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
from events.workflow_graph import find_cycle, reachable
from events.workflow_state import JobState, Part, WorkflowState, before, evolve
from rota.protocol import JobFault
from rota.workflow_protocol import ENDED_WORKFLOW, MAX_RUNS

AT_ONCE = 150
"""Jobs that one decision releases, or withdraws: with their own events they are stored all or none."""

JOB_BYTES = 400
"""About what a job or a run takes in the state."""
LEAST_SNAPSHOTS = 200


def decide(state: WorkflowState | None, command: WorkflowCommand, now: datetime) -> list[Event]:
    """Return what follows from the command; nothing if it says nothing new."""
    if isinstance(command, ScheduleWorkflow):
        return [] if state else _schedule(command, now)
    if state is None:
        raise UnknownAggregateError(f"There is no workflow {command.id}", workflow=command.id)
    turn = _Turn(state, command.id, now)
    match command:
        case PauseWorkflow() | ResumeWorkflow() | CancelWorkflow() | RetryWorkflow():
            _steer(turn, command)
        case EndWorkflowJob():
            _end(turn, command)
        case StartWorkflowJob():
            _start(turn, command)
        case ExpireWorkflowJob():
            _expire(turn, command)
        case ExpireWorkflow():
            if state.status == "running" and command.since == state.began_at:
                limit = state.details.timeout_seconds
                turn.stop("timed_out", f"It took longer than {limit:g} s" if limit else "")
        case ExpandWorkflowJob():
            _expand(turn, command)
        case AdvanceWorkflow():
            _go_on(turn)
            return turn.events
    if turn.events:
        _go_on(turn, 0 if _is_answer(command) else AT_ONCE)
    return turn.events


def has_more(state: WorkflowState) -> bool:
    """Say whether there is more to release or to withdraw than one decision may: it has to be asked to go on."""
    return bool(state.doomed) or (state.status == "running" and not state.paused and _releasable(state))


class _Turn:
    """The events of one decision, and the state with them."""

    def __init__(self, state: WorkflowState, id_: str, now: datetime) -> None:
        self.state = state
        self.events: list[Event] = []
        self._id = id_
        self.now = now

    def add(self, event: type[Any], **fields: Any) -> None:
        """Add an event."""
        added = event(originator_id=self._id, originator_version=self.state.version + 1, at=self.now, **fields)
        self.events.append(added)
        self.state = evolve(self.state, added)

    def stop(self, outcome: StopOutcome, reason: str) -> None:
        """Have the workflow end so."""
        self.add(WorkflowStopping, outcome=outcome, reason=reason)
        idle = tuple(
            number
            for number, job in enumerate(self.state.jobs)
            if not job.part.settled and not job.alive and job.fan_out is None
        )
        if idle:
            self.add(WorkflowJobsSkipped, jobs=idle)


def _schedule(command: ScheduleWorkflow, now: datetime) -> list[Event]:
    details = command.details
    waits_for = [before(job) for job in details.jobs]
    if any(other >= len(waits_for) for others in waits_for for other in others):
        raise InvalidCommandError(f"A job of the workflow {command.id} depends on one that there is not")
    if cycle := find_cycle(waits_for):
        names = " -> ".join(details.jobs[number].name for number in (*cycle, cycle[0]))
        raise InvalidCommandError(f"The jobs of the workflow {command.id} wait for each other: {names}")
    scheduled = WorkflowScheduled(originator_id=command.id, originator_version=1, at=now, details=details)
    turn = _Turn(evolve(None, scheduled), command.id, now)
    _go_on(turn)
    return [scheduled, *turn.events]


# What is told of jobs


def _end(turn: _Turn, command: EndWorkflowJob) -> None:
    job = _job(turn.state, command.job)
    part = _part(job, command.run)
    if job is None or part is None or part.status == "waiting":
        return
    if part.settled or job.part.settled:
        if part.alive:
            _note_end(turn, command, late=True)
        return
    if turn.state.status == "stopping" and command.outcome == "cancelled":
        turn.add(WorkflowJobCancelled, job=command.job, run=command.run)
        return
    _note_end(turn, command, late=False)
    _follow(turn, command.job, command.run, command.outcome)


def _note_end(turn: _Turn, command: EndWorkflowJob, *, late: bool) -> None:
    place = {"job": command.job, "run": command.run}
    fault = command.fault or JobFault("Cancelled" if command.outcome == "cancelled" else "Error", "")
    match command.outcome:
        case "succeeded":
            turn.add(WorkflowJobSucceeded, late=late, **place)
        case "timed_out":
            turn.add(WorkflowJobTimedOut, limit="running", fault=fault, late=late, **place)
        case "failed":
            turn.add(WorkflowJobFailed, fault=fault, late=late, made=command.made, **place)
        case "cancelled":
            if late:
                turn.add(WorkflowJobCancelled, **place)
            else:
                # Somebody else has cancelled it: for what depends on it that is a failure. Batches stay cancelled.
                made = turn.state.details.jobs[command.job].batch is None
                turn.add(WorkflowJobFailed, fault=fault, made=made, **place)


def _follow(turn: _Turn, number: int, run: int | None, outcome: EndedPart) -> None:
    """Add what follows from the end of a job or run."""
    if turn.state.status != "running":
        return
    if run is None:
        if outcome != "succeeded":
            _apply_rule(turn, number)
        return
    _look_at_runs(turn, number)


def _look_at_runs(turn: _Turn, number: int) -> None:
    """Add the end of a fan-out, if it follows from those of its runs."""
    fan_out = turn.state.jobs[number].fan_out
    if fan_out is None or turn.state.jobs[number].part.settled:
        return
    total = len(fan_out.runs)
    if excess := _excess(turn.state.details.jobs[number], fan_out.failed, total):
        turn.add(WorkflowJobFailed, job=number, fault=JobFault("FailedRuns", excess))
        _apply_rule(turn, number)
    elif fan_out.succeeded + fan_out.failed == total:
        turn.add(WorkflowJobSucceeded, job=number)


def _excess(job: WorkflowJob, failed: int, total: int) -> str:
    """Return why a fan-out has failed, with so many of its runs without success; nothing if it has not."""
    said = f"{failed} of {total} runs ended without success"
    if job.tolerated_failures is None and job.tolerated_failures_share is None:
        return said if failed else ""
    if job.tolerated_failures is not None and failed > job.tolerated_failures:
        return f"{said}, and tolerated_failures is {job.tolerated_failures}"
    share = job.tolerated_failures_share
    if share is not None and failed > share * total:
        return f"{said}, and tolerated_failures_share is {share:g}"
    return ""


def _apply_rule(turn: _Turn, number: int) -> None:
    """Add what a job without success does to the rest."""
    job, status = turn.state.details.jobs[number], turn.state.jobs[number].part.status
    rule = job.on_timeout if status == "timed_out" else job.on_failure
    if rule == "use_defaults":
        turn.add(WorkflowFallbackApplied, job=number)
    elif rule == "fail_dependents":
        lost = [other for other in reachable(turn.state.after, number) if not turn.state.jobs[other].part.settled]
        if lost:
            turn.add(WorkflowJobsSkipped, jobs=tuple(lost), because=number)
    else:
        how = "timed out" if status == "timed_out" else "failed"
        turn.stop("failed", f"The job {job.name} has {how}")


def _start(turn: _Turn, command: StartWorkflowJob) -> None:
    job = turn.state.details.jobs[command.job] if command.job < len(turn.state.jobs) else None
    part = _part(_job(turn.state, command.job), command.run)
    if job is None or part is None or part.status != "released" or command.attempt <= part.attempt:
        return
    if job.waiting_timeout_seconds or job.timeout_seconds:
        turn.add(
            WorkflowJobStarted,
            job=command.job,
            run=command.run,
            attempt=command.attempt,
            started_at=command.started_at,
        )


def _expire(turn: _Turn, command: ExpireWorkflowJob) -> None:
    number, run = command.job, command.run
    part = _part(_job(turn.state, number), run)
    if part is None or part.status != "released" or turn.state.status != "running":
        return
    if command.limit == "running":
        if (started_at := part.started_at) == command.since:
            turn.add(WorkflowAttemptExpired, job=number, run=run, attempt=part.attempt, started_at=started_at)
        return
    if part.released_at != command.since:
        return
    if command.limit == "waiting" and part.attempt:
        return
    fault = JobFault("TimeoutError", _late(turn.state.details.jobs[number], command.limit))
    turn.add(WorkflowJobTimedOut, job=number, run=run, limit=command.limit, fault=fault)
    if run is not None:
        turn.add(WorkflowJobWithdrawn, job=number, run=run)
        _look_at_runs(turn, number)
        return
    if command.limit == "waiting":
        # Nobody has begun it: no late result will come of it, whatever the rule.
        turn.add(WorkflowJobWithdrawn, job=number)
    _apply_rule(turn, number)
    if number in turn.state.doomed and turn.state.jobs[number].part.alive:
        # At once: a success after this would be lost, and the job could not run again.
        turn.add(WorkflowJobWithdrawn, job=number)


def _late(job: WorkflowJob, limit: Limit) -> str:
    if limit == "waiting":
        return f"No worker began it within {job.waiting_timeout_seconds:g} s"
    return f"It took longer than {job.total_timeout_seconds:g} s in all"


def _expand(turn: _Turn, command: ExpandWorkflowJob) -> None:
    job = _job(turn.state, command.job)
    if job is None or job.fan_out or not turn.state.details.jobs[command.job].fans_out:
        return
    if job.part.status != "released" or turn.state.status != "running":
        return
    if turn.state.runs + command.runs > MAX_RUNS:
        fault = JobFault("TooManyRuns", f"With its {command.runs} runs the workflow has more than {MAX_RUNS}")
        turn.add(WorkflowJobFailed, job=command.job, fault=fault, made=False)
        _apply_rule(turn, command.job)
        return
    turn.add(WorkflowJobExpanded, job=command.job, runs=command.runs)
    _look_at_runs(turn, command.job)  # there may be none


def _job(state: WorkflowState, number: int) -> JobState | None:
    return state.jobs[number] if number < len(state.jobs) else None


def _part(job: JobState | None, run: int | None) -> Part | None:
    """Return what a command is about; None if there is no such thing."""
    if job is None or run is None:
        return job.part if job else None
    return job.fan_out.runs[run] if job.fan_out and run < len(job.fan_out.runs) else None


# What people ask


def _steer(turn: _Turn, command: PauseWorkflow | ResumeWorkflow | CancelWorkflow | RetryWorkflow) -> None:
    state = turn.state
    has_ended = state.status in ENDED_WORKFLOW
    match command:
        case RetryWorkflow():
            if command.key is not None and command.key == state.retry_key:
                return
            if state.status == "succeeded":
                raise _refusal(command.id, "has succeeded: nothing is left")
            if not has_ended:
                raise EndedError(
                    f"The workflow {command.id} is at work: retry it when it has ended", workflow=command.id
                )
            turn.add(WorkflowRetried, retry=state.retry + 1, key=command.key)
        case CancelWorkflow():
            if state.status == "cancelled" or (state.status == "stopping" and state.outcome == "cancelled"):
                return
            _refuse_ended(state, command.id)
            if state.status == "stopping":
                raise EndedError(
                    f"The workflow {command.id} is stopping already: {state.reason}", workflow=command.id
                )
            turn.stop("cancelled", command.reason)
        case PauseWorkflow() | ResumeWorkflow():
            _refuse_ended(state, command.id)
            if isinstance(command, PauseWorkflow) and not state.paused and state.status == "running":
                turn.add(WorkflowPaused, reason=command.reason)
            elif isinstance(command, ResumeWorkflow) and state.paused:
                turn.add(WorkflowResumed)


def _refuse_ended(state: WorkflowState, id_: str) -> None:
    if state.status in ENDED_WORKFLOW:
        raise _refusal(id_, f"has ended: {state.status.replace('_', ' ')}")


def _refusal(id_: str, why: str) -> EndedError:
    return EndedError(f"The workflow {id_} {why}", workflow=id_)


# What follows


def _is_answer(command: WorkflowCommand) -> bool:
    """Say whether it is told of a job in the same moment in which that is released."""
    return isinstance(command, ExpandWorkflowJob) or (isinstance(command, EndWorkflowJob) and not command.made)


def _go_on(turn: _Turn, budget: int = AT_ONCE) -> None:
    """Add what can be done now: withdraw, release, end."""
    budget -= _withdraw(turn, budget)
    if turn.state.status == "running" and not turn.state.paused:
        _release(turn, budget)
    _finish(turn)


def _withdraw(turn: _Turn, budget: int) -> int:
    """Withdraw what nobody waits for; return how much that is."""
    count = 0
    for number in turn.state.doomed:
        job = turn.state.jobs[number]
        if job.fan_out:
            for run, part in enumerate(job.fan_out.runs):
                if part.alive and count < budget:
                    turn.add(WorkflowJobWithdrawn, job=number, run=run)
                    count += 1
        if count == budget:
            return count
        if number in turn.state.doomed:
            turn.add(WorkflowJobWithdrawn, job=number)
            count += 1
    return count


def _room(state: WorkflowState) -> int:
    limit = state.details.max_parallel
    return AT_ONCE if limit is None else limit - state.alive


def _room_of(state: WorkflowState, number: int) -> int:
    """Return how much of a job that is ready can be released."""
    fan_out = state.jobs[number].fan_out
    if fan_out is None or state.jobs[number].part.status == "waiting":
        return 1
    limit = state.details.jobs[number].max_parallel
    return len(fan_out.waiting) if limit is None else min(len(fan_out.waiting), limit - fan_out.alive)


def _releasable(state: WorkflowState) -> bool:
    return _room(state) > 0 and any(_room_of(state, number) > 0 for number in state.ready)


def _release(turn: _Turn, budget: int) -> None:
    """Release jobs and runs that are ready, in the order of the list, as many as may be."""
    for number in turn.state.ready:
        if min(budget, _room(turn.state)) <= 0:
            return
        job = turn.state.jobs[number]
        if job.part.status == "waiting":
            retry, again = turn.state.retry, job.part.made
            opened = job.part.opened if again else retry
            turn.add(WorkflowJobReleased, job=number, retry=retry, again=again, opened=opened)
            budget -= 1
            _look_at_runs(turn, number)  # in a retry, all of them may have succeeded
        fan_out = turn.state.jobs[number].fan_out
        if fan_out is None:
            continue
        count = min(budget, _room(turn.state), _room_of(turn.state, number))
        for run in fan_out.waiting[: max(0, count)]:
            again = fan_out.runs[run].made
            turn.add(WorkflowJobReleased, job=number, run=run, retry=turn.state.retry, again=again)
            budget -= 1


def _finish(turn: _Turn) -> None:
    """Add the end, if nothing is left."""
    state = turn.state
    if state.unsettled or state.doomed or state.leaving:
        return
    if state.status == "running":
        if failures := state.failures():
            turn.add(WorkflowPartlyFailed, reason=f"{failures} of {len(state.jobs)} jobs have no output")
        else:
            turn.add(WorkflowSucceeded)
    elif state.status == "stopping" and state.outcome:
        ends = {"failed": WorkflowFailed, "timed_out": WorkflowTimedOut, "cancelled": WorkflowCancelled}
        turn.add(ends[state.outcome], reason=state.reason)


def _weigh(state: WorkflowState) -> int:
    return JOB_BYTES * (2 * len(state.jobs) + state.runs)


def _snapshots(state: WorkflowState) -> int:
    # A snapshot is as large as the workflow, and each job or run has two events.
    return max(LEAST_SNAPSHOTS, (len(state.jobs) + state.runs) // 5)


WORKFLOW = Aggregate("workflow", decide, evolve, WorkflowState, weigh=_weigh, snapshot_every=_snapshots)
