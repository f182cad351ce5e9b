"""The time limits of a workflow: when each is over, and which command says so."""

from datetime import datetime, timedelta
from typing import Any

import msgspec

from events.workflow import (
    CancelWorkflow,
    ExpireWorkflow,
    ExpireWorkflowJob,
    PauseWorkflow,
    RetryWorkflow,
    WorkflowJob,
)
from events.workflow_state import Part
from events.workflow_timers import GRACE_SECONDS, Timer, limits, part_timers, timers, whole_timer
from tests.unit.workflow_model import LIMITS, NOW, World, batch, fan_out, plain, workflow

BEGUN = NOW + timedelta(seconds=1)
"""When the first command came."""


def after(seconds: float) -> datetime:
    return BEGUN + timedelta(seconds=seconds)


def expire(job: int, limit: Any, run: int | None = None, *, since: float = 0) -> ExpireWorkflowJob:
    return ExpireWorkflowJob(id="w", job=job, run=run, limit=limit, since=after(since))


def set_of(world: World) -> list[Any]:
    return list(timers("w", world.state))


def of_jobs(*jobs: WorkflowJob, **how: Any) -> World:
    world = World(workflow(*jobs, **how))
    world.go_on()
    return world


def test_a_workflow_without_time_limits_has_no_timers() -> None:
    assert set_of(of_jobs(plain(), fan_out(), batch())) == []


def test_the_time_limit_of_a_workflow_begins_when_it_is_scheduled() -> None:
    world = of_jobs(plain(), timeout_seconds=90.0)

    assert set_of(world) == [Timer(ExpireWorkflow(id="w", since=BEGUN), after(90))]


def test_the_time_limits_of_a_job_begin_when_its_inputs_are_there() -> None:
    world = of_jobs(plain(**LIMITS), plain(0, **LIMITS))

    assert set_of(world) == [Timer(expire(0, "total"), after(60)), Timer(expire(0, "waiting"), after(10))]
    world.end((0, None))
    assert set_of(world) == [
        Timer(expire(1, "total", since=1), after(61)),
        Timer(expire(1, "waiting", since=1), after(11)),
    ]


def test_a_job_that_was_begun_has_a_time_limit_for_its_attempt_instead_of_that_for_waiting() -> None:
    world = of_jobs(plain(**LIMITS))

    world.begin((0, None))

    attempt = Timer(expire(0, "running"), after(20 + GRACE_SECONDS))
    assert set_of(world) == [Timer(expire(0, "total"), after(60)), attempt]


def test_an_attempt_that_has_expired_has_no_timer_and_the_next_has_one() -> None:
    world = of_jobs(plain(timeout_seconds=20.0))
    world.begin((0, None))

    [first] = set_of(world)
    world.expire(first)
    assert set_of(world) == []

    world.begin((0, None))
    [second] = set_of(world)
    assert second.due > first.due
    assert world.expire(first) == []


def test_a_batch_has_a_time_limit_in_all_alone() -> None:
    assert set_of(of_jobs(batch(**LIMITS))) == [Timer(expire(0, "total"), after(60))]


def test_a_fan_out_has_a_time_limit_in_all_and_its_runs_have_the_others() -> None:
    world = of_jobs(fan_out(**LIMITS))
    world.begin((0, 1))

    assert [timer.command for timer in set_of(world)] == [
        expire(0, "total"),
        expire(0, "waiting", 0, since=1),
        expire(0, "running", 1, since=1),
    ]


def test_time_limits_are_kept_while_a_workflow_is_paused() -> None:
    world = of_jobs(plain(**LIMITS), timeout_seconds=90.0)
    before = set_of(world)

    world.ask(PauseWorkflow(id="w"))

    assert set_of(world) == before


def test_a_workflow_that_stops_or_has_ended_has_no_timers() -> None:
    world = of_jobs(batch(**LIMITS), timeout_seconds=90.0)

    world.ask(CancelWorkflow(id="w"))
    assert (world.state.status, set_of(world)) == ("stopping", [])

    world.end((0, None), "cancelled")
    assert (world.state.status, set_of(world)) == ("cancelled", [])


def test_a_job_that_has_ended_has_no_timers() -> None:
    world = of_jobs(plain(**LIMITS), plain())

    world.end((0, None))

    assert set_of(world) == []


def test_timers_of_a_retry_are_others() -> None:
    world = of_jobs(plain(**LIMITS), timeout_seconds=90.0)
    world.end((0, None), "failed")

    world.ask(RetryWorkflow(id="w"))

    assert set_of(world) == [
        Timer(ExpireWorkflow(id="w", since=after(2)), after(92)),
        Timer(expire(0, "total", since=2), after(62)),
        Timer(expire(0, "waiting", since=2), after(12)),
    ]


def test_all_timers_that_may_be_under_way_can_be_cancelled_whatever_has_become_of_the_job() -> None:
    job = plain(**LIMITS)
    part = Part("succeeded", released_at=after(2), attempt=3, started_at=after(3))

    assert list(limits("w", job, 0, None, part)) == [
        expire(0, "total", since=2),
        expire(0, "waiting", since=2),
        expire(0, "running", since=3),
    ]
    assert list(part_timers("w", of_jobs(job).state, 0, None, part)) == []


def test_a_workflow_that_was_not_begun_has_no_timer() -> None:
    state = of_jobs(plain(), timeout_seconds=90.0).state

    assert whole_timer("w", msgspec.structs.replace(state, began_at=None)) is None
