"""What a workflow is told of its jobs, runs and batches, and what it notes of that."""

from datetime import timedelta

from events.workflow import (
    EndWorkflowJob,
    ExpandWorkflowJob,
    ExpireWorkflowJob,
    Limit,
    StartWorkflowJob,
    WorkflowAttemptExpired,
    WorkflowJob,
    WorkflowJobCancelled,
    WorkflowJobExpanded,
    WorkflowJobFailed,
    WorkflowJobStarted,
    WorkflowJobSucceeded,
    WorkflowJobTimedOut,
    WorkflowJobWithdrawn,
)
from events.workflow_rules import apply_rule, follow, look_at_runs
from events.workflow_state import JobState, Part, WorkflowState
from events.workflow_turn import Turn
from rota.protocol import JobFault
from rota.workflow_protocol import MAX_RUNS

REPORT_TIME = timedelta(seconds=3)
"""A worker that begins a job has told so by then: what it says beyond that is said by a clock that is wrong."""


def note(turn: Turn, command: EndWorkflowJob | StartWorkflowJob | ExpireWorkflowJob | ExpandWorkflowJob) -> None:
    """Add what follows from news of a job; nothing if it says nothing new."""
    match command:
        case EndWorkflowJob():
            _end(turn, command)
        case StartWorkflowJob():
            _start(turn, command)
        case ExpireWorkflowJob():
            _expire(turn, command)
        case ExpandWorkflowJob():
            _expand(turn, command)


def _end(turn: Turn, command: EndWorkflowJob) -> None:
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
    follow(turn, command.job, command.run, command.outcome)


def _note_end(turn: Turn, command: EndWorkflowJob, *, late: bool) -> None:
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


def _start(turn: Turn, command: StartWorkflowJob) -> None:
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
            started_at=min(turn.now, max(command.started_at, turn.now - REPORT_TIME)),
        )


def _expire(turn: Turn, command: ExpireWorkflowJob) -> None:
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
        look_at_runs(turn, number)
        return
    if command.limit == "waiting":
        # Nobody has begun it: no late result will come of it, whatever the rule.
        turn.add(WorkflowJobWithdrawn, job=number)
    apply_rule(turn, number)
    if number in turn.state.doomed and turn.state.jobs[number].part.alive:
        # At once: a success after this would be lost, and the job could not run again.
        turn.add(WorkflowJobWithdrawn, job=number)


def _late(job: WorkflowJob, limit: Limit) -> str:
    if limit == "waiting":
        return f"No worker began it within {job.waiting_timeout_seconds:g} s"
    return f"It took longer than {job.total_timeout_seconds:g} s in all"


def _expand(turn: Turn, command: ExpandWorkflowJob) -> None:
    job = _job(turn.state, command.job)
    if job is None or job.fan_out or not turn.state.details.jobs[command.job].fans_out:
        return
    if job.part.status != "released" or turn.state.status != "running":
        return
    if turn.state.runs + command.runs > MAX_RUNS:
        fault = JobFault("TooManyRuns", f"With its {command.runs} runs the workflow has more than {MAX_RUNS}")
        turn.add(WorkflowJobFailed, job=command.job, fault=fault, made=False)
        apply_rule(turn, command.job)
        return
    turn.add(WorkflowJobExpanded, job=command.job, runs=command.runs)
    look_at_runs(turn, command.job)  # there may be none


def _job(state: WorkflowState, number: int) -> JobState | None:
    return state.jobs[number] if number < len(state.jobs) else None


def _part(job: JobState | None, run: int | None) -> Part | None:
    """Return what a command is about; None if there is no such thing."""
    if job is None or run is None:
        return job.part if job else None
    return job.fan_out.runs[run] if job.fan_out and run < len(job.fan_out.runs) else None
