"""The time limits of a workflow: when each is over, and which command says so."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

from msgspec import Struct

from events.base import Event
from events.workflow import ExpireWorkflow, ExpireWorkflowJob, WorkflowJob, WorkflowPart
from events.workflow_state import Part, WorkflowState
from rota.workflow_protocol import ENDED_WORKFLOW

GRACE_SECONDS = 0.5
"""A worker ends an attempt that takes too long by itself, and knows why: it is given this much time to say so."""


ExpireCommand = ExpireWorkflow | ExpireWorkflowJob
C = TypeVar("C", ExpireWorkflow, ExpireWorkflowJob)


class Timer(Struct, Generic[C], frozen=True):
    """A command that is to come at a time."""

    command: C
    due: datetime


def timers(id_: str, state: WorkflowState) -> Iterator[Timer[ExpireWorkflow] | Timer[ExpireWorkflowJob]]:
    """Yield all that have to be set, as far as is known: of a workflow that stops, none."""
    if state.status != "running":
        return
    if timer := whole_timer(id_, state):
        yield timer
    for number, job in enumerate(state.jobs):
        yield from part_timers(id_, state, number, None, job.part)
        for run, part in enumerate(job.fan_out.runs if job.fan_out else ()):
            yield from part_timers(id_, state, number, run, part)


def touched_timers(id_: str, state: WorkflowState | None, events: Sequence[Event]) -> dict[ExpireCommand, datetime]:
    """Return the timers that are set of the whole, and of the jobs and runs that some events are about."""
    if state is None or state.status in ENDED_WORKFLOW:
        return {}
    found: dict[ExpireCommand, datetime] = {}
    if timer := whole_timer(id_, state):
        found[timer.command] = timer.due
    for number, run in {(event.job, event.run) for event in events if isinstance(event, WorkflowPart)}:
        job = state.jobs[number]
        if run is None or job.fan_out:
            found |= {timer.command: timer.due for timer in part_timers(id_, state, number, run, job.part_of(run))}
    return found


def whole_timer(id_: str, state: WorkflowState) -> Timer[ExpireWorkflow] | None:
    """Return the timer of all of a workflow."""
    if state.details.timeout_seconds is None or state.began_at is None:
        return None
    due = state.began_at + timedelta(seconds=state.details.timeout_seconds)
    return Timer(ExpireWorkflow(id=id_, since=state.began_at), due)


def part_timers(
    id_: str, state: WorkflowState, number: int, run: int | None, part: Part
) -> Iterator[Timer[ExpireWorkflowJob]]:
    """Yield the timers of a job, or of a run, that is released."""
    if part.status != "released":
        return
    job = state.details.jobs[number]
    for command in limits(id_, job, number, run, part):
        match command.limit:
            case "total":
                yield Timer(command, _after(command.since, job.total_timeout_seconds))
            case "waiting" if not part.attempt:
                yield Timer(command, _after(command.since, job.waiting_timeout_seconds))
            case "running":
                yield Timer(command, _after(command.since, job.timeout_seconds, GRACE_SECONDS))


def _after(start: datetime, seconds: float | None, more: float = 0.0) -> datetime:
    return start + timedelta(seconds=(seconds or 0.0) + more)


def limits(id_: str, job: WorkflowJob, number: int, run: int | None, part: Part) -> Iterator[ExpireWorkflowJob]:
    """Yield the commands that may be under way of the timers of a job, or of a run, whatever has become of it."""
    place: dict[str, Any] = {"id": id_, "job": number, "run": run}
    if part.released_at is None:
        return
    if job.total_timeout_seconds and run is None:
        yield ExpireWorkflowJob(limit="total", since=part.released_at, **place)
    if job.waiting_timeout_seconds and waits_for_worker(job, run):
        yield ExpireWorkflowJob(limit="waiting", since=part.released_at, **place)
    if job.timeout_seconds and part.started_at:
        yield ExpireWorkflowJob(limit="running", since=part.started_at, **place)


def waits_for_worker(job: WorkflowJob, run: int | None) -> bool:
    """Say whether it is a job that a worker takes: no fan-out as such, and no batch."""
    return job.batch is None and (run is not None or not job.fans_out)
