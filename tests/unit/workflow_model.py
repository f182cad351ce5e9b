"""The world round a workflow, as small as can be: jobs and batches that are begun, end, and are cancelled.

As in a shard, what follows from an event is carried out at once, before anything else happens: that is a unit.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from msgspec import Raw

from events.batch import BatchDetails
from events.catalog import decode_event, encode
from events.workflow import (
    AdvanceWorkflow,
    EndedPart,
    EndWorkflowJob,
    ExpandWorkflowJob,
    ExpireWorkflow,
    ExpireWorkflowJob,
    Limit,
    ScheduleWorkflow,
    StartWorkflowJob,
    WorkflowAttemptExpired,
    WorkflowCommand,
    WorkflowDetails,
    WorkflowEvent,
    WorkflowJob,
    WorkflowJobReleased,
    WorkflowJobStarted,
    WorkflowJobWithdrawn,
    WorkflowRetried,
    WorkflowScheduled,
)
from events.workflow_decisions import decide
from events.workflow_evolution import evolve
from events.workflow_progress import has_more
from events.workflow_state import WorkflowState
from events.workflow_timers import Timer, part_timers, timers, whole_timer
from rota.workflow_protocol import ENDED_WORKFLOW

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
AT_WORK = ("queued", "running")
OPEN = ("open", "cancelling")
LIMITS: dict[str, Any] = {"waiting_timeout_seconds": 10.0, "timeout_seconds": 20.0, "total_timeout_seconds": 60.0}
BATCH = BatchDetails("load", "default", ("a.csv",), 10, 100, Raw(b"\x80"))

Place = tuple[int, int | None]
"""The numbers of a job, and of a run of it."""
AnyTimer = Timer[ExpireWorkflow] | Timer[ExpireWorkflowJob]
See = Callable[[WorkflowState | None, WorkflowEvent, WorkflowState], None]
"""Is shown each event, and the states before and after it."""


def plain(*needs: int, **how: Any) -> WorkflowJob:
    return WorkflowJob(name="job", spec="add", queue="sums", inputs=Raw(b"\x80"), needs=needs, **how)


def fan_out(*needs: int, **how: Any) -> WorkflowJob:
    return plain(*needs, for_each=Raw(b"\x90"), **how)


def batch(*needs: int, **how: Any) -> WorkflowJob:
    return plain(*needs, batch=BATCH, **how)


def workflow(*jobs: WorkflowJob, **how: Any) -> WorkflowDetails:
    named = tuple(msgspec.structs.replace(job, name=f"j{number}") for number, job in enumerate(jobs))
    return WorkflowDetails(name="sum", jobs=named, **how)


def state_after(*events: Any, state: WorkflowState | None = None) -> WorkflowState:
    for event in events:
        state = evolve(state, event)
    assert state
    return state


@dataclass
class Job:
    """A job as its own aggregate knows it."""

    status: str = "queued"
    attempt: int = 1
    redrive: int = 0


class World:
    """A workflow with its jobs and batches."""

    def __init__(
        self,
        details: WorkflowDetails,
        *,
        items: Callable[[int], int | None] = lambda _: 2,
        is_possible: Callable[[Place], bool] = lambda _: True,
        see: See = lambda *_: None,
    ) -> None:
        """Schedule it; `items` says how long the list of a fan-out is, None if that cannot be known."""
        self.details = details
        self.jobs: dict[Place, Job] = {}
        self.batches: dict[tuple[int, int], str] = {}
        """By their numbers, and the retries in which they were opened."""
        self.history: list[WorkflowEvent] = []
        self.told: list[tuple[int, WorkflowCommand]] = []
        """All commands that there were, each with the retry of the workflow."""
        self.armed: list[AnyTimer] = []
        """All timers that were ever set."""
        self.goes_on = False
        """Whether the workflow has asked itself to go on."""
        self.largest_decision = self.largest_unit = 0
        """Most events that one decision has added, and that were stored together with those of jobs and batches."""
        self.now = NOW
        self._state: WorkflowState | None = None
        self._others = 0
        """Events of jobs and batches in this unit."""
        self._items, self._is_possible, self._see = items, is_possible, see
        self.ask(ScheduleWorkflow(id="w", details=details))

    @property
    def state(self) -> WorkflowState:
        assert self._state
        return self._state

    @property
    def ended(self) -> bool:
        return self.state.status in ENDED_WORKFLOW

    def at_work(self) -> list[Place]:
        """Return jobs, runs and batches that have not ended."""
        jobs = [place for place, job in self.jobs.items() if job.status in AT_WORK]
        return jobs + [(number, None) for (number, _), status in self.batches.items() if status in OPEN]

    def ask(self, command: WorkflowCommand) -> list[WorkflowEvent]:
        """Carry out a command and all that follows at once; return the workflow's events."""
        before, self._others = len(self.history), 1
        self.now += timedelta(seconds=1)
        todo: list[WorkflowCommand] = [command]
        while todo:
            following: list[WorkflowCommand] = []
            for one in todo:
                for event in self._decide(one):
                    following += self._follow(event)
            todo = following
        events = self.history[before:]
        self.largest_unit = max(self.largest_unit, len(events) + self._others)
        for event in events:
            self._arm(event)
        self.goes_on = has_more(self.state) if events else self.goes_on
        return events

    def go_on(self) -> None:
        """Carry out what the workflow has asked itself, until it asks no more."""
        while self.goes_on:
            self.advance()

    def advance(self) -> list[WorkflowEvent]:
        self.goes_on = False
        return self.ask(AdvanceWorkflow(id="w"))

    def begin(self, place: Place) -> None:
        """Have a worker begin a job that is queued."""
        job = self.jobs[place]
        job.status = "running"
        self.ask(StartWorkflowJob(id="w", job=place[0], run=place[1], attempt=job.attempt, started_at=self.now))

    def fail_attempt(self, place: Place) -> None:
        """Have a job queued again after a failure: of that workflows are not told."""
        job = self.jobs[place]
        job.status, job.attempt = "queued", job.attempt + 1

    def end(self, place: Place, outcome: EndedPart = "succeeded") -> list[WorkflowEvent]:
        """Have a job, run or batch end."""
        number, run = place
        if self.details.jobs[number].batch:
            opened = max(opened for other, opened in self.batches if other == number)
            outcome = "failed" if outcome == "timed_out" else outcome
            self.batches[number, opened] = outcome
        else:
            assert self.jobs[place].status in AT_WORK
            self.jobs[place].status = outcome
        return self.ask(EndWorkflowJob(id="w", job=number, run=run, outcome=outcome))

    def expire(self, timer: AnyTimer) -> list[WorkflowEvent]:
        """Have a timer come, in its time or late."""
        self.now = max(self.now, timer.due)
        return self.ask(timer.command)

    def pass_limit(self, place: Place, limit: Limit) -> list[WorkflowEvent]:
        """Have a time limit pass that a job or run has."""
        [timer] = [
            timer
            for timer in timers("w", self.state)
            if isinstance(timer.command, ExpireWorkflowJob)
            and (timer.command.job, timer.command.run, timer.command.limit) == (*place, limit)
        ]
        return self.expire(timer)

    def redrive(self, number: int) -> None:
        """Have somebody redrive a failed batch by itself, which succeeds then: that is told, too."""
        opened = max(opened for other, opened in self.batches if other == number)
        assert self.batches[number, opened] == "failed"
        self.end((number, None))

    def crash(self) -> None:
        """Forget the state: it is folded anew, in part from a snapshot."""
        middle = len(self.history) // 2
        snapshot = encode(state_after(*self.history[:middle])) if middle else b""
        state = msgspec.msgpack.decode(snapshot, type=WorkflowState) if middle else None
        for event in self.history[middle:]:
            state = evolve(state, decode_event(encode(event)))  # type: ignore[arg-type] # all are a workflow's
        assert state == self._state
        self._state = state

    def _decide(self, command: WorkflowCommand) -> list[WorkflowEvent]:
        events: list[Any] = decide(self._state, command, self.now)
        self.largest_decision = max(self.largest_decision, len(events))
        for event in events:
            before, self._state = self._state, evolve(self._state, event)
            self.history.append(event)
            self._see(before, event, self._state)
        self.told.append((self.state.retry, command))
        return events

    def _follow(self, event: WorkflowEvent) -> list[WorkflowCommand]:
        """Carry out what follows for jobs and batches; return what these tell the workflow at once."""
        match event:
            case WorkflowJobReleased():
                return self._released(event)
            case WorkflowJobWithdrawn():
                return self._withdrawn(event)
            case WorkflowAttemptExpired():
                job = self.jobs[event.job, event.run]
                if job.status in AT_WORK and job.attempt == event.attempt:
                    self._others += 2
                    if event.attempt % 2:  # each second one is the last
                        self.fail_attempt((event.job, event.run))
                    else:
                        job.status = "timed_out"
                        return [EndWorkflowJob(id="w", job=event.job, run=event.run, outcome="timed_out")]
        return []

    def _released(self, event: WorkflowJobReleased) -> list[WorkflowCommand]:
        place = (event.job, event.run)
        spec = self.details.jobs[event.job]
        facts: dict[str, Any] = {"outcome": "failed", "made": False, "at_once": True}
        impossible = EndWorkflowJob(id="w", job=event.job, run=event.run, **facts)
        if spec.batch:
            return self._opened(event, impossible)
        if spec.fans_out and event.run is None:
            if self.state.jobs[event.job].fan_out:
                return []
            runs = self._items(event.job)
            return [impossible] if runs is None else [ExpandWorkflowJob(id="w", job=event.job, runs=runs)]
        if event.again:
            job = self.jobs[place]
            if job.status not in (*AT_WORK, "succeeded") and event.retry > job.redrive:
                self.jobs[place] = Job("queued", job.attempt + 1, event.retry)
                self._others += 2
        elif not self._is_possible(place):
            return [impossible]
        else:
            self.jobs.setdefault(place, Job())
            self._others += 1
        return []

    def _opened(self, event: WorkflowJobReleased, impossible: EndWorkflowJob) -> list[WorkflowCommand]:
        name = (event.job, event.opened)
        self._others += 1
        if event.again:
            match self.batches[name]:
                case "failed":
                    self.batches[name] = "open"
                case "succeeded":
                    return [EndWorkflowJob(id="w", job=event.job, outcome="succeeded")]
                case "cancelled":
                    return [impossible]
            return []
        if not self._is_possible((event.job, None)):
            return [impossible]
        self.batches.setdefault(name, "open")
        return []

    def _withdrawn(self, event: WorkflowJobWithdrawn) -> list[WorkflowCommand]:
        place = (event.job, event.run)
        self._others += 1
        if self.details.jobs[event.job].batch:
            self.batches[event.job, self.state.jobs[event.job].part.opened] = "cancelling"
        elif place in self.jobs and self.jobs[place].status in AT_WORK:
            self.jobs[place].status = "cancelled"
            return [EndWorkflowJob(id="w", job=event.job, run=event.run, outcome="cancelled")]
        return []

    def _arm(self, event: WorkflowEvent) -> None:
        """Set timers, as the role of workflows does."""
        match event:
            case WorkflowScheduled() | WorkflowRetried():
                timer = whole_timer("w", self.state)
                self.armed += [timer] if timer else []
            case WorkflowJobReleased() | WorkflowJobStarted():
                part = self.state.jobs[event.job].part_of(event.run)
                starts = isinstance(event, WorkflowJobStarted)
                self.armed += [
                    timer
                    for timer in part_timers("w", self.state, event.job, event.run, part)
                    if starts == (timer.command.limit == "running")
                ]
