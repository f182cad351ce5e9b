"""The workflow: what follows from what is asked of it.

running ─► succeeded · partly_failed
   │  ▲
   │  └──── by `workflow.retry`, from each end but `succeeded`
   └─► stopping ─► failed · timed_out · cancelled      when nothing of it runs any more
"""

from datetime import datetime
from typing import assert_never

from events.base import Aggregate, EndedError, Event, InvalidCommandError, UnknownAggregateError
from events.workflow import (
    AdvanceWorkflow,
    CancelWorkflow,
    EndWorkflowJob,
    ExpandWorkflowJob,
    ExpireWorkflow,
    ExpireWorkflowJob,
    PauseWorkflow,
    ResumeWorkflow,
    RetryWorkflow,
    ScheduleWorkflow,
    StartWorkflowJob,
    WorkflowCommand,
    WorkflowPaused,
    WorkflowResumed,
    WorkflowRetried,
    WorkflowScheduled,
)
from events.workflow_evolution import evolve
from events.workflow_graph import find_cycle
from events.workflow_parts import note
from events.workflow_progress import AT_ONCE, go_on
from events.workflow_state import WorkflowState, before
from events.workflow_turn import Turn
from rota.workflow_protocol import ENDED_WORKFLOW

JOB_BYTES = 400
"""About what a job or a run takes in the state."""
LEAST_SNAPSHOTS = 200
MAX_ID = 64
"""The ids of its jobs and batches, and of their jobs, begin with it."""


def decide(state: WorkflowState | None, command: WorkflowCommand, now: datetime) -> list[Event]:
    """Return what follows from the command; nothing if it says nothing new."""
    if isinstance(command, ScheduleWorkflow):
        return [] if state else _schedule(command, now)
    if state is None:
        raise UnknownAggregateError(f"There is no workflow {command.id}", workflow=command.id)
    turn = Turn(state, command.id, now)
    match command:
        case AdvanceWorkflow():
            go_on(turn, AT_ONCE)
            return turn.events
        case PauseWorkflow() | ResumeWorkflow() | CancelWorkflow() | RetryWorkflow():
            _steer(turn, command)
        case ExpireWorkflow():
            _expire(turn, command)
        case EndWorkflowJob() | StartWorkflowJob() | ExpireWorkflowJob() | ExpandWorkflowJob():
            note(turn, command)
        case _:
            assert_never(command)
    if turn.events:
        go_on(turn, 0 if _is_answer(command) else AT_ONCE)
    return turn.events


def _schedule(command: ScheduleWorkflow, now: datetime) -> list[Event]:
    details = command.details
    if len(command.id) > MAX_ID or not command.id.isalnum():
        raise InvalidCommandError(f"The id of a workflow has letters and digits, {MAX_ID} at most: {command.id}")
    waits_for = [before(job) for job in details.jobs]
    if any(other >= len(waits_for) for others in waits_for for other in others):
        raise InvalidCommandError(f"A job of the workflow {command.id} depends on one that there is not")
    if cycle := find_cycle(waits_for):
        names = " -> ".join(details.jobs[number].name for number in (*cycle, cycle[0]))
        raise InvalidCommandError(f"The jobs of the workflow {command.id} wait for each other: {names}")
    scheduled = WorkflowScheduled(originator_id=command.id, originator_version=1, at=now, details=details)
    turn = Turn(evolve(None, scheduled), command.id, now)
    go_on(turn, AT_ONCE)
    return [scheduled, *turn.events]


def _expire(turn: Turn, command: ExpireWorkflow) -> None:
    state = turn.state
    if state.status == "running" and command.since == state.began_at:
        turn.stop("timed_out", f"It took longer than {state.details.timeout_seconds or 0:g} s")


def _steer(turn: Turn, command: PauseWorkflow | ResumeWorkflow | CancelWorkflow | RetryWorkflow) -> None:
    state = turn.state
    has_ended = state.status in ENDED_WORKFLOW
    match command:
        case RetryWorkflow():
            if command.key is not None and command.key == state.retry_key:
                return
            if state.status == "succeeded":
                raise _refusal(command.id, "has succeeded: nothing is left")
            if not has_ended:
                raise _refusal(command.id, "is at work: retry it when it has ended")
            turn.add(WorkflowRetried, retry=state.retry + 1, key=command.key)
        case CancelWorkflow():
            if state.status == "cancelled" or (state.status == "stopping" and state.outcome == "cancelled"):
                return
            _refuse_ended(state, command.id)
            if state.status == "stopping":
                raise _refusal(command.id, f"is stopping already: {state.reason}")
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


def _is_answer(command: WorkflowCommand) -> bool:
    """Say whether it is told of a job in the same moment in which that is released: both are stored together."""
    return isinstance(command, ExpandWorkflowJob) or (isinstance(command, EndWorkflowJob) and command.at_once)


def _weigh(state: WorkflowState) -> int:
    return state.weight + JOB_BYTES * (2 * len(state.jobs) + state.runs)


def _snapshots(state: WorkflowState) -> int:
    # A snapshot is as large as the workflow, and each job or run has two events.
    return max(LEAST_SNAPSHOTS, (len(state.jobs) + state.runs) // 5)


WORKFLOW = Aggregate("workflow", decide, evolve, WorkflowState, weigh=_weigh, snapshot_every=_snapshots)
