"""What the end of a job of a workflow does to the others: the rules for failures and time-outs, and fan-outs."""

from events.workflow import (
    EndedPart,
    WorkflowFallbackApplied,
    WorkflowJob,
    WorkflowJobFailed,
    WorkflowJobsSkipped,
    WorkflowJobSucceeded,
    WorkflowJobTimedOut,
)
from events.workflow_graph import reachable
from events.workflow_turn import Turn
from rota.protocol import JobFault

MAX_REASON = 500
"""Characters of why a workflow stops."""


def follow(turn: Turn, number: int, run: int | None, outcome: EndedPart) -> None:
    """Add what follows from the end of a job or run."""
    if turn.state.status != "running":
        return
    if run is not None:
        look_at_runs(turn, number)
    elif outcome != "succeeded":
        apply_rule(turn, number)


def look_at_runs(turn: Turn, number: int) -> None:
    """Add the end of a fan-out, if it follows from those of its runs."""
    fan_out = turn.state.jobs[number].fan_out
    if fan_out is None or turn.state.jobs[number].part.settled:
        return
    total = len(fan_out.runs)
    if excess := _excess(turn.state.details.jobs[number], fan_out.failed, total):
        turn.add(WorkflowJobFailed, job=number, fault=JobFault("FailedRuns", excess))
        apply_rule(turn, number)
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


def apply_rule(turn: Turn, number: int) -> None:
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
        turn.stop("failed", f"The job {job.name} has {how}{_cause(turn, number)}"[:MAX_REASON])


def _cause(turn: Turn, number: int) -> str:
    """Return why a job has ended without success just now."""
    for event in reversed(turn.events):
        if isinstance(event, WorkflowJobFailed | WorkflowJobTimedOut) and (event.job, event.run) == (number, None):
            return f": {event.fault.type}: {event.fault.message}".removesuffix(": ")
    return ""
