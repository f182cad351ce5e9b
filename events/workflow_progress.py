"""How a workflow goes on: what is withdrawn, released and ended as soon as that can be.

A decision releases or withdraws no more than AT_ONCE; for the rest the workflow asks itself to go on.
"""

from events.workflow import (
    WorkflowCancelled,
    WorkflowFailed,
    WorkflowJobReleased,
    WorkflowJobWithdrawn,
    WorkflowPartlyFailed,
    WorkflowSucceeded,
    WorkflowTimedOut,
)
from events.workflow_rules import look_at_runs
from events.workflow_state import WorkflowState
from events.workflow_turn import Turn

AT_ONCE = 150
"""Jobs that one decision releases, or withdraws: with their own events they are stored all or none."""


def has_more(state: WorkflowState) -> bool:
    """Say whether there is more to release or to withdraw than one decision may: it has to be asked to go on."""
    return bool(state.doomed) or (state.status == "running" and not state.paused and _releasable(state))


def go_on(turn: Turn, budget: int) -> None:
    """Add what can be done now: withdraw and release so many, end."""
    budget -= _withdraw(turn, budget)
    if turn.state.status == "running" and not turn.state.paused:
        _release(turn, budget)
    _finish(turn)


def _withdraw(turn: Turn, budget: int) -> int:
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


def _release(turn: Turn, budget: int) -> None:
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
            look_at_runs(turn, number)  # in a retry, all of them may have succeeded
        fan_out = turn.state.jobs[number].fan_out
        if fan_out is None:
            continue
        count = min(budget, _room(turn.state), _room_of(turn.state, number))
        for run in fan_out.waiting[: max(0, count)]:
            again = fan_out.runs[run].made
            turn.add(WorkflowJobReleased, job=number, run=run, retry=turn.state.retry, again=again)
            budget -= 1


def _finish(turn: Turn) -> None:
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
