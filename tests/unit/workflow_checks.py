"""What holds of a workflow at any time, found out in the plainest way."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from events.base import EndedError
from events.catalog import decode_event, encode
from events.workflow import (
    AdvanceWorkflow,
    ExpireWorkflow,
    ExpireWorkflowJob,
    WorkflowCommand,
    WorkflowDetails,
    WorkflowEvent,
    WorkflowFallbackApplied,
    WorkflowJobCancelled,
    WorkflowJobFailed,
    WorkflowJobReleased,
    WorkflowJobSucceeded,
    WorkflowJobTimedOut,
    WorkflowJobWithdrawn,
    WorkflowRetried,
    WorkflowScheduled,
    WorkflowStopping,
)
from events.workflow_decisions import decide
from events.workflow_progress import has_more
from events.workflow_state import JobState, Part, WorkflowState
from events.workflow_timers import timers
from rota.workflow_protocol import ENDED_WORKFLOW
from tests.unit.workflow_model import NOW, Place, World, state_after

NO_LIMIT = 1_000_000


class Witness:
    """Sees each event, and knows from events alone what may come next."""

    def __init__(self, details: WorkflowDetails) -> None:
        self.details = details
        self.outputs: set[int] = set()
        self.released: set[Place] = set()
        """In this retry."""
        self.kept: set[Place] = set()
        """Runs that have succeeded."""
        self.alive: set[Place] = set()
        self.stopping = False

    def see(self, before_: WorkflowState | None, event: WorkflowEvent, state: WorkflowState) -> None:
        assert event.originator_version == (before_.version if before_ else 0) + 1 == state.version
        match event:
            case WorkflowRetried():
                self.released.clear()
                self.stopping = False
            case WorkflowStopping():
                assert not self.stopping
                self.stopping = True
            case WorkflowJobReleased():
                assert before_
                self._released(before_, event)
            case WorkflowJobWithdrawn():
                if not self.details.jobs[event.job].batch:
                    self.alive.discard((event.job, event.run))
            case WorkflowFallbackApplied():
                self.outputs.add(event.job)
            case WorkflowJobSucceeded() | WorkflowJobFailed() | WorkflowJobTimedOut() | WorkflowJobCancelled():
                assert before_
                self._ended(before_, event, state)

    def _released(self, state: WorkflowState, event: WorkflowJobReleased) -> None:
        place = (event.job, event.run)
        job = self.details.jobs[event.job]
        assert not self.stopping
        assert not state.paused
        assert event.retry == state.retry
        assert place not in self.released, "twice in a retry"
        assert self.outputs.issuperset({*job.needs, *job.after}), "before what it needs"
        assert event.job not in self.outputs
        assert place not in self.kept
        self.released.add(place)
        if not job.fans_out or event.run is not None:
            assert place not in self.alive
            self.alive.add(place)
            assert len(self.alive) <= (self.details.max_parallel or NO_LIMIT)
            if event.run is not None:
                runs = [one for one in self.alive if one[0] == event.job]
                assert len(runs) <= (job.max_parallel or NO_LIMIT)

    def _ended(
        self,
        old: WorkflowState,
        event: WorkflowJobSucceeded | WorkflowJobFailed | WorkflowJobTimedOut | WorkflowJobCancelled,
        state: WorkflowState,
    ) -> None:
        place = (event.job, event.run)
        if not isinstance(event, WorkflowJobTimedOut) or event.limit == "running":
            self.alive.discard(place)
        if isinstance(event, WorkflowJobSucceeded):
            if event.run is not None:
                self.kept.add(place)
            elif not event.late:
                self.outputs.add(event.job)
        if not isinstance(event, WorkflowJobCancelled) and event.late:
            known = (old.status, old.ready, old.unsettled, [job.has_output for job in old.jobs])
            assert known == (state.status, state.ready, state.unsettled, [job.has_output for job in state.jobs])


def check(world: World) -> None:
    """Compare the state with the world, and what is asked of the workflow with what there is to do."""
    state = world.state
    check_state(state)
    assert {place for place, part in parts_of(state) if part.alive} == set(world.at_work())
    assert state.leaving == sum(status == "cancelling" for status in world.batches.values())
    assert world.goes_on == has_more(state)
    assert bool(decide(state, AdvanceWorkflow(id="w"), NOW)) == world.goes_on


def check_state(state: WorkflowState) -> None:
    """Compare what follows from the jobs of a state with what a naive reader makes of them."""
    parts = [part for _, part in parts_of(state)]
    assert state.alive == sum(part.alive for part in parts)
    assert state.leaving == sum(part.alive and part.withdrawn for part in parts)
    assert state.unsettled == sum(not job.part.settled for job in state.jobs)
    assert state.ready == tuple(number for number, job in enumerate(state.jobs) if is_ready(state, number, job))
    assert state.doomed == tuple(number for number, job in enumerate(state.jobs) if is_doomed(state, job))
    for job in state.jobs:
        if job.fan_out:
            runs = job.fan_out.runs
            assert job.fan_out.waiting == tuple(i for i, run in enumerate(runs) if run.status == "waiting")
            assert job.fan_out.alive == sum(run.alive for run in runs)
            assert job.fan_out.succeeded == sum(run.status == "succeeded" for run in runs)
            assert job.fan_out.failed == sum(run.settled and run.status != "succeeded" for run in runs)
    if state.status in ENDED_WORKFLOW:
        assert not state.unsettled
        assert not state.doomed
        assert not state.leaving


def parts_of(state: WorkflowState) -> Iterator[tuple[Place, Part]]:
    for number, job in enumerate(state.jobs):
        yield (number, None), job.part
        for run, part in enumerate(job.fan_out.runs if job.fan_out else ()):
            yield (number, run), part


def is_ready(state: WorkflowState, number: int, job: JobState) -> bool:
    spec = state.details.jobs[number]
    missing = [other for other in {*spec.needs, *spec.after} if not state.jobs[other].has_output]
    assert job.missing == len(missing)
    some = job.fan_out and any(run.status == "waiting" for run in job.fan_out.runs)
    return not missing and (job.part.status == "waiting" or (job.part.status == "released" and bool(some)))


def is_doomed(state: WorkflowState, job: JobState) -> bool:
    runs = job.fan_out.runs if job.fan_out else ()
    alive = any(part.alive and not part.withdrawn for part in (job.part, *runs))
    if state.status == "stopping":
        return alive or (job.fan_out is not None and not job.part.settled)
    return alive and job.part.settled and not (job.fallback and job.part.status == "timed_out")


def check_timers(world: World) -> None:
    """All limits that can expire have timers, and no others; each was set when it began."""
    state = world.state
    found = list(timers("w", state))
    armed = [(timer.command, timer.due) for timer in world.armed]
    assert all((timer.command, timer.due) in armed for timer in found)
    possible: list[WorkflowCommand] = [ExpireWorkflow(id="w", since=state.began_at or NOW)]
    for (number, run), part in parts_of(state):
        spec = state.details.jobs[number]
        place: dict[str, Any] = {"id": "w", "job": number, "run": run}
        if part.started_at:
            possible.append(ExpireWorkflowJob(limit="running", since=part.started_at, **place))
        if part.released_at is None:
            continue
        place["since"] = part.released_at
        if run is None:
            possible.append(ExpireWorkflowJob(limit="total", **place))
        if spec.batch is None and (run is not None or not spec.fans_out):
            possible.append(ExpireWorkflowJob(limit="waiting", **place))
    can_expire = [command for command in possible if decide(state, command, world.now)]
    assert sorted(map(repr, can_expire)) == sorted(repr(timer.command) for timer in found)
    live = [timer.command for timer in found]
    for timer in world.armed:
        assert timer.command in live or decide(state, timer.command, world.now) == []


def check_repeated(world: World, command: WorkflowCommand) -> None:
    """A command that comes again says nothing new."""
    with suppress(EndedError):
        assert decide(world.state, command, world.now) == []


def check_end(world: World) -> None:
    """A workflow that has ended says how."""
    state = world.state
    assert world.ended
    last = max(i for i, one in enumerate(world.history) if isinstance(one, WorkflowRetried | WorkflowScheduled))
    stops = [event.outcome for event in world.history[last:] if isinstance(event, WorkflowStopping)]
    if stops:
        assert [state.status] == stops
        assert not world.at_work()
    else:
        assert state.status == ("succeeded" if all(job.has_output for job in state.jobs) else "partly_failed")
    assert state_after(*(decode_event(encode(event)) for event in world.history)) == state
