"""Whatever happens in whatever order: properties of workflows that hold for all graphs."""

from contextlib import suppress
from datetime import timedelta
from random import Random
from typing import Any, Literal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from events.base import EndedError
from events.catalog import decode_event, encode
from events.workflow import (
    AdvanceWorkflow,
    CancelWorkflow,
    EndedPart,
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
    WorkflowDetails,
    WorkflowJob,
    WorkflowJobSucceeded,
)
from events.workflow_decisions import decide
from events.workflow_progress import AT_ONCE
from events.workflow_state import WorkflowState
from events.workflow_timers import timers
from rota.workflow_protocol import Rule
from tests.unit.workflow_checks import Witness, check, check_end, check_repeated, check_state, check_timers
from tests.unit.workflow_model import (
    LIMITS,
    NOW,
    Place,
    World,
    batch,
    fan_out,
    plain,
    state_after,
    workflow,
)

MAX_JOBS = 8
ROOM_IN_A_UNIT = 500
"""Messages that may be stored together, less those that may be there before: see EVENTS_AT_ONCE of the handler."""

Fate = Literal["succeeds", "fails", "times out", "is late", "is not begun", "cannot be made", "is cancelled"]
FATES: list[Fate] = ["fails", "times out", "is late", "is not begun", "cannot be made", "is cancelled"]
RULES: list[Rule] = ["fail_dependents", "use_defaults", "fail_workflow"]


@st.composite
def graphs(draw: st.DrawFn) -> WorkflowDetails:
    """Return a workflow of jobs, fan-outs and batches that wait for earlier ones."""
    rules = draw(st.sampled_from([RULES, RULES, RULES[:2]]))
    jobs: list[WorkflowJob] = []
    for number in range(draw(st.integers(1, MAX_JOBS))):
        others = draw(st.sets(st.integers(0, number - 1), max_size=3)) if number else set()
        kind = draw(st.sampled_from([plain, plain, fan_out, batch]))
        ordered = len(others) > 1 and draw(st.booleans())
        how: dict[str, Any] = {
            "on_timeout": draw(st.sampled_from(rules)),
            "on_failure": draw(st.sampled_from(rules)),
            "after": tuple(sorted(others))[:1] if ordered else (),
        }
        if kind is fan_out:
            how["max_parallel"] = draw(st.sampled_from([None, None, 1, 2]))
            how["tolerated_failures"] = draw(st.sampled_from([None, None, 1]))
        jobs.append(kind(*sorted(others)[ordered:], defaults=Raw(b"\x80"), **LIMITS, **how))
    limit = draw(st.sampled_from([None, None, 1, 3]))
    return workflow(*jobs, max_parallel=limit, timeout_seconds=100.0)


seeds = st.integers(0, 2**32 - 1)


# Anything at any time


ENDS: list[EndedPart] = ["succeeded", "failed", "timed_out", "cancelled"]
COMMON = ["end", "end", "end", "end", "begin", "fail attempt", "advance", "advance"]
RARE = ["expire", "expire", "old timer", "again", "pause", "resume", "resume", "crash", "redrive"]
RAREST = ["cancel", "whole", "retry", "retry"]


def wander(world: World, random: Random, steps: int) -> None:
    """Let anything happen."""
    for _ in range(steps):
        [kind] = random.choices([COMMON, RARE, RAREST], [70, 25, 5])
        action = "retry" if world.ended and random.random() < 0.5 else random.choice(kind)
        count = len(world.told)
        happen(world, random, action)
        check(world)
        check_timers(world)
        for _, command in world.told[count:]:
            if not isinstance(command, AdvanceWorkflow):
                check_repeated(world, command)


def happen(world: World, random: Random, action: str) -> None:
    """Let one thing happen, if it can."""
    state = world.state
    places = world.at_work()
    queued = [place for place, job in world.jobs.items() if job.status == "queued"]
    running = [place for place, job in world.jobs.items() if job.status == "running"]
    newest = dict(sorted(world.batches))
    failed = [number for number, opened in newest.items() if world.batches[number, opened] == "failed"]
    with suppress(EndedError):
        match action:
            case "end" if places:
                [outcome] = random.choices(ENDS, [12, 2, 1, 1])
                world.end(random.choice(places), outcome)
            case "begin" if queued:
                world.begin(random.choice(queued))
            case "fail attempt" if running:
                world.fail_attempt(random.choice(running))
            case "advance" if world.goes_on:
                world.advance()
            case "expire" if due := list(timers("w", state)):
                # That of the whole comes first, and is not to end nearly all workflows.
                world.expire(random.choice(due[1:] or due))
            case "old timer" if world.armed:
                world.expire(random.choice(world.armed[1:] or world.armed))
            case "again":
                repeated = [command for retry, command in world.told if retry == state.retry]
                command = random.choice(repeated or [AdvanceWorkflow(id="w")])
                if not isinstance(command, PauseWorkflow | ResumeWorkflow | CancelWorkflow):
                    world.ask(command)
            case "pause":
                world.ask(PauseWorkflow(id="w"))
            case "resume":
                world.ask(ResumeWorkflow(id="w"))
            case "crash":
                world.crash()
            case "redrive" if failed:
                world.redrive(random.choice(failed))
            case "cancel":
                world.ask(CancelWorkflow(id="w"))
            case "whole":
                world.ask(ExpireWorkflow(id="w", since=state.began_at or NOW))
            case "retry":
                world.ask(RetryWorkflow(id="w", key=str(random.random())))


def finish(world: World, random: Random) -> None:
    """Let all that is at work succeed, until nothing is left to happen."""
    with suppress(EndedError):
        world.ask(ResumeWorkflow(id="w"))
    while world.goes_on or not world.ended:
        if world.goes_on:
            world.advance()
        else:
            places = world.at_work()
            assert places, f"stuck: {world.state.status}, {world.state.ready}, {world.state.doomed}"
            place = random.choice(places)
            leaving = world.details.jobs[place[0]].batch and world.state.jobs[place[0]].part.withdrawn
            world.end(place, "cancelled" if leaving else "succeeded")


@settings(max_examples=200)
@given(details=graphs(), seed=seeds, steps=st.sampled_from([10, 30, 60, 120]))
def test_whatever_happens_a_workflow_ends_as_its_rules_say(details: WorkflowDetails, seed: int, steps: int) -> None:
    random = Random(seed)
    world = World(
        details,
        items=lambda _: random.choice([0, 1, 2, 3, 5, None]),
        is_possible=lambda _: random.random() > 0.03,
        see=Witness(details).see,
    )
    check(world)

    wander(world, random, steps)
    finish(world, random)

    check(world)
    check_end(world)
    assert world.largest_unit <= ROOM_IN_A_UNIT


# What each job comes to is known before


class Plan(msgspec.Struct, frozen=True):
    """What becomes of a job; of a fan-out, of the first of its runs."""

    fate: Fate
    runs: int
    bad: int
    """How many of them; with none, a fan-out that cannot be made has no list."""


plans = st.lists(
    st.builds(
        Plan,
        st.sampled_from([*["succeeds"] * 8, *FATES]),
        st.sampled_from([0, 1, 2, 4]),
        st.sampled_from([0, 1, 2]),
    ),
    min_size=MAX_JOBS,
    max_size=MAX_JOBS,
)

OWN_ENDS = {
    "succeeds": "succeeded",
    "fails": "failed",
    "cannot be made": "failed",
    "is cancelled": "failed",
    "times out": "timed_out",
    "is late": "timed_out",
    "is not begun": "timed_out",
}


def own_end(job: WorkflowJob, plan: Plan) -> str:
    """Return how a job ends that is released."""
    if job.batch and plan.fate in ("times out", "is not begun"):
        return "succeeded"  # it has no attempts
    if not job.fans_out:
        return OWN_ENDS[plan.fate]
    if plan.fate == "cannot be made" and not plan.bad:
        return "failed"
    if plan.fate == "is late":
        return "timed_out" if plan.runs else "succeeded"
    bad = min(plan.bad, plan.runs) if plan.fate != "succeeds" else 0
    return "failed" if bad > (job.tolerated_failures or 0) else "succeeded"


def expected(details: WorkflowDetails, planned: list[Plan]) -> list[tuple[str, bool]] | None:
    """Return how each job ends, and whether its defaults are used; None if one fails the workflow."""
    found: list[tuple[str, bool]] = []
    for job, plan in zip(details.jobs, planned, strict=False):
        if any(found[other][0] != "succeeded" and not found[other][1] for other in (*job.needs, *job.after)):
            found.append(("skipped", False))
            continue
        end = own_end(job, plan)
        rule = job.on_timeout if end == "timed_out" else job.on_failure
        if end != "succeeded" and rule == "fail_workflow":
            return None
        found.append((end, end != "succeeded" and rule == "use_defaults"))
    return found


class Course:
    """A world in which all goes as planned, in any order."""

    def __init__(self, details: WorkflowDetails, planned: list[Plan], random: Random) -> None:
        self._planned: list[Plan] = planned
        self._random = random
        self.witness = Witness(details)
        self.world = World(details, items=self._items, is_possible=self._is_possible, see=self.witness.see)

    def run(self) -> World:
        """Let it end."""
        world = self.world
        while not world.ended:
            places = world.at_work()
            if self._random.random() < 0.15:
                self._disturb()
            elif world.goes_on and (not places or self._random.random() < 0.5):
                world.advance()
            elif world.state.paused and (not places or self._random.random() < 0.3):
                world.ask(ResumeWorkflow(id="w"))
            else:
                assert places, f"stuck: {world.state.status}, {world.state.ready}, {world.state.doomed}"
                self._act(self._random.choice(places))
        return world

    def let_all_succeed(self) -> None:
        self._planned = [Plan("succeeds", plan.runs, 0) for plan in self._planned]

    def _items(self, number: int) -> int | None:
        plan = self._planned[number]
        return None if plan.fate == "cannot be made" and not plan.bad else plan.runs

    def _is_possible(self, place: Place) -> bool:
        return self._fate(place) != "cannot be made"

    def _fate(self, place: Place) -> Fate:
        number, run = place
        plan = self._planned[number]
        return plan.fate if run is None or run < plan.bad or plan.fate == "is late" else "succeeds"

    def _disturb(self) -> None:
        """Let something happen that changes nothing in the end."""
        world = self.world
        match self._random.randrange(3):
            case 0:
                world.crash()
            case 1:
                world.ask(PauseWorkflow(id="w"))
            case _:
                retry = world.state.retry
                again = self._random.choice([command for in_, command in world.told if in_ == retry])
                if not isinstance(again, PauseWorkflow | ResumeWorkflow | RetryWorkflow):
                    world.ask(again)

    def _act(self, place: Place) -> None:
        """Let a job, run or batch go one step."""
        world, number = self.world, place[0]
        spec, state = world.details.jobs[number], world.state.jobs[number]
        if spec.batch and state.part.withdrawn:
            world.end(place, "cancelled")
            return
        if state.part.settled or world.state.status == "stopping":
            world.end(place)  # late
            return
        match self._fate(place):
            case "is late":
                world.pass_limit((number, None), "total")
            case "is not begun" if not spec.batch:
                world.pass_limit(place, "waiting")
            case "fails":
                world.end(place, "failed")
            case "times out" if not spec.batch:
                world.end(place, "timed_out")
            case "is cancelled":
                world.end(place, "cancelled")
            case _ if place in world.jobs and world.jobs[place].status == "queued":
                world.begin(place)
            case _:
                world.end(place)


@settings(max_examples=300)
@given(details=graphs(), planned=plans, seed=seeds)
def test_each_job_ends_as_its_rules_say_in_any_order(
    details: WorkflowDetails, planned: list[Plan], seed: int
) -> None:
    world = Course(details, planned, Random(seed)).run()

    ends = expected(details, planned)
    check(world)
    check_end(world)
    if ends is None:
        assert world.state.status == "failed"
        assert not world.at_work()
    else:
        assert [(job.part.status, job.fallback) for job in world.state.jobs] == ends
        whole = all(end == "succeeded" or fallback for end, fallback in ends)
        assert world.state.status == ("succeeded" if whole else "partly_failed")


@settings(max_examples=100)
@given(details=graphs(), planned=plans, seed=seeds)
def test_a_late_result_after_the_end_is_recorded_and_changes_nothing(
    details: WorkflowDetails, planned: list[Plan], seed: int
) -> None:
    world = Course(details, planned, Random(seed)).run()
    before_ = world.state

    for place in world.at_work():
        events = world.end(place)
        assert [(type(event), getattr(event, "late", None)) for event in events] in (
            [(WorkflowJobSucceeded, True)],
            [],  # it is a batch, and somebody else has seen to it
        )

    assert (world.state.status, world.state.failures()) == (before_.status, before_.failures())
    assert world.state.alive == 0
    check(world)


@settings(max_examples=200)
@given(details=graphs(), planned=plans, seed=seeds)
def test_a_retry_runs_all_that_has_no_output_and_nothing_else(
    details: WorkflowDetails, planned: list[Plan], seed: int
) -> None:
    course = Course(details, planned, Random(seed))
    world = course.run()
    if world.state.status == "succeeded":
        with pytest.raises(EndedError, match="has succeeded: nothing is left"):
            world.ask(RetryWorkflow(id="w"))
        return
    kept = {number for number, job in enumerate(world.state.jobs) if job.has_output}

    course.let_all_succeed()
    world.ask(RetryWorkflow(id="w"))
    course.run()

    check(world)
    assert course.world.state.status == "succeeded"
    again = {place[0] for place in course.witness.released}
    assert again == set(range(len(details.jobs))) - kept


# Commands out of order, and too many of them


MIXED = workflow(
    plain(defaults=Raw(b"\x80"), on_timeout="use_defaults", **LIMITS),
    fan_out(0, on_failure="fail_dependents", on_timeout="fail_dependents", **LIMITS),
    batch(0, **LIMITS),
    plain(1, 2, **LIMITS),
    timeout_seconds=100.0,
)
numbers = {"id": st.just("w"), "job": st.integers(0, 4)}
runs = st.sampled_from([None, None, 0, 1, 9])
times = st.sampled_from([NOW, NOW, NOW + timedelta(hours=1)])
commands: st.SearchStrategy[Any] = st.one_of(
    st.builds(ScheduleWorkflow, id=st.just("w"), details=st.just(MIXED)),
    st.builds(AdvanceWorkflow, id=st.just("w")),
    st.builds(ExpandWorkflowJob, **numbers, runs=st.integers(0, 2)),
    st.builds(StartWorkflowJob, **numbers, run=runs, attempt=st.integers(1, 3), started_at=st.just(NOW)),
    st.builds(
        EndWorkflowJob,
        **numbers,
        run=runs,
        outcome=st.sampled_from(["succeeded", "succeeded", "failed", "timed_out", "cancelled"]),
        made=st.booleans(),
    ),
    st.builds(
        ExpireWorkflowJob,
        **numbers,
        run=runs,
        limit=st.sampled_from(["waiting", "running", "total"]),
        since=times,
    ),
    st.builds(ExpireWorkflow, id=st.just("w"), since=times),
    st.builds(PauseWorkflow, id=st.just("w")),
    st.builds(ResumeWorkflow, id=st.just("w")),
    st.builds(CancelWorkflow, id=st.just("w")),
    st.builds(RetryWorkflow, id=st.just("w"), key=st.sampled_from([None, "a", "b"])),
)


@settings(max_examples=200)
@given(st.lists(commands, min_size=5, max_size=40))
def test_no_order_or_repetition_of_commands_breaks_a_workflow(some: list[WorkflowCommand]) -> None:
    history: list[Any] = decide(None, ScheduleWorkflow(id="w", details=MIXED), NOW)
    state = state_after(*history)
    for command in some:
        try:
            events = decide(state, command, NOW)
        except EndedError:
            continue
        history += events
        state = state_after(*history)
        check_state(state)

    assert [event.originator_version for event in history] == list(range(1, len(history) + 1))
    assert state_after(*(decode_event(encode(event)) for event in history)) == state
    assert msgspec.msgpack.decode(encode(state), type=WorkflowState) == state


@settings(max_examples=20)
@given(
    kinds=st.lists(
        st.sampled_from(["jobs", "fan-out", "empty fan-outs", "impossible jobs", "batches"]), min_size=1, max_size=3
    ),
    rule=st.sampled_from(RULES),
    seed=seeds,
    cancelled=st.booleans(),
)
def test_what_is_stored_together_is_bounded_however_much_there_is_to_do(
    kinds: list[str], rule: Rule, seed: int, *, cancelled: bool
) -> None:
    random = Random(seed)
    jobs: list[WorkflowJob] = []
    sizes: dict[int, int] = {}
    impossible: set[int] = set()
    how: dict[str, Any] = {"on_failure": rule, "defaults": Raw(b"\x80"), "tolerated_failures": 3}
    for kind in kinds:
        first = len(jobs)
        match kind:
            case "jobs":
                jobs += [plain(**how)] * 200
            case "fan-out":
                jobs += [fan_out(**how)] * 2
                sizes |= {first: 400, first + 1: 400}
            case "empty fan-outs":
                jobs += [fan_out(**how)] * 200
            case "impossible jobs":
                jobs += [plain(**how)] * 200
                impossible |= set(range(first, len(jobs)))
            case "batches":
                jobs += [batch(**how)] * 200
    world = World(
        workflow(*jobs, plain(*range(0, len(jobs), 7))),
        items=lambda number: sizes.get(number, 0),
        is_possible=lambda place: place[0] not in impossible,
    )

    if cancelled:
        world.go_on()
        with suppress(EndedError):
            world.ask(CancelWorkflow(id="w"))
    finish(world, random)
    impossible.clear()
    if world.state.status != "succeeded":
        world.ask(RetryWorkflow(id="w"))
        finish(world, random)

    check(world)
    check_end(world)
    assert world.largest_decision <= 2 * AT_ONCE
    assert world.largest_unit <= ROOM_IN_A_UNIT
