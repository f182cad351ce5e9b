"""The workflow's decider: given events, when a command comes, then events."""

from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest
from msgspec import Raw

from events.base import EndedError, InvalidCommandError, UnknownAggregateError
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
from events.workflow_decisions import decide
from events.workflow_parts import REPORT_TIME
from events.workflow_progress import AT_ONCE, has_more
from events.workflow_state import WorkflowState
from rota.protocol import JobFault
from rota.workflow_protocol import MAX_JOBS, MAX_RUNS
from tests.unit.workflow_model import LIMITS, NOW, World, batch, fan_out, plain, state_after, workflow

LATER = NOW + timedelta(hours=1)
FAULT = JobFault("ValueError", "no")
LATE = JobFault("TimeoutError", "It took longer than 60 s in all")
NOT_BEGUN = JobFault("TimeoutError", "No worker began it within 10 s")
CANCELLED = JobFault("Cancelled", "")
DEFAULTS: dict[str, Any] = {"defaults": Raw(b"\x80"), "on_timeout": "use_defaults", "on_failure": "use_defaults"}
DEPENDENTS: dict[str, Any] = {"on_timeout": "fail_dependents", "on_failure": "fail_dependents"}


def said(kind: Any, **fields: Any) -> Any:
    return kind(originator_id="w", originator_version=0, at=NOW, **fields)


def numbered(first: int, events: Any) -> list[Any]:
    return [
        msgspec.structs.replace(event, originator_version=version) for version, event in enumerate(events, first)
    ]


def scheduled(*jobs: WorkflowJob, **how: Any) -> Any:
    return said(WorkflowScheduled, details=workflow(*jobs, **how))


def released(job: int, run: int | None = None, **how: Any) -> Any:
    return said(WorkflowJobReleased, job=job, run=run, **how)


def succeeded(job: int, run: int | None = None, **how: Any) -> Any:
    return said(WorkflowJobSucceeded, job=job, run=run, **how)


def failed(job: int, run: int | None = None, fault: JobFault = FAULT, **how: Any) -> Any:
    return said(WorkflowJobFailed, job=job, run=run, fault=fault, **how)


def timed_out(job: int, run: int | None = None, **how: Any) -> Any:
    return said(WorkflowJobTimedOut, job=job, run=run, **{"limit": "total", "fault": LATE} | how)


def withdrawn(job: int, run: int | None = None) -> Any:
    return said(WorkflowJobWithdrawn, job=job, run=run)


def skipped(*jobs: int, because: int | None = None) -> Any:
    return said(WorkflowJobsSkipped, jobs=jobs, because=because)


def expanded(job: int, runs: int) -> Any:
    return said(WorkflowJobExpanded, job=job, runs=runs)


def stopping(outcome: str = "cancelled", reason: str = "") -> Any:
    return said(WorkflowStopping, outcome=outcome, reason=reason)


def end(job: int, outcome: Any = "succeeded", run: int | None = None, **how: Any) -> EndWorkflowJob:
    fault = FAULT if outcome in ("failed", "timed_out") else None
    return EndWorkflowJob(id="w", job=job, run=run, outcome=outcome, fault=fault, **how)


def expire(job: int, limit: Any, run: int | None = None, **how: Any) -> ExpireWorkflowJob:
    return ExpireWorkflowJob(id="w", job=job, run=run, limit=limit, **{"since": NOW} | how)


def start(job: int, attempt: int = 1) -> StartWorkflowJob:
    return StartWorkflowJob(id="w", job=job, attempt=attempt, started_at=NOW)


def given(*events: Any) -> WorkflowState:
    return state_after(*numbered(1, events))


def then(state: WorkflowState, command: WorkflowCommand, *expected: Any) -> WorkflowState:
    """Check what follows from a command; return the state after it."""
    events = decide(state, command, NOW)
    assert events == numbered(state.version + 1, expected)
    return state_after(*events, state=state)


# The order of jobs


def test_a_workflow_begins_with_the_jobs_that_wait_for_none() -> None:
    details = workflow(plain(), plain(0), plain())

    assert decide(None, ScheduleWorkflow(id="w", details=details), NOW) == numbered(
        1, [scheduled(*details.jobs), released(0), released(2)]
    )


def test_a_workflow_is_scheduled_once() -> None:
    other = ScheduleWorkflow(id="w", details=workflow(plain(), plain()))

    then(given(scheduled(plain()), released(0)), other)


def test_jobs_that_wait_for_each_other_are_refused_with_their_names() -> None:
    details = workflow(plain(), plain(0, after=(3,)), plain(1), plain(2))

    with pytest.raises(InvalidCommandError, match="wait for each other: j2 -> j3 -> j1 -> j2"):
        decide(None, ScheduleWorkflow(id="w", details=details), NOW)


def test_a_job_that_depends_on_one_that_there_is_not_is_refused() -> None:
    with pytest.raises(InvalidCommandError, match="depends on one that there is not"):
        decide(None, ScheduleWorkflow(id="w", details=workflow(plain(1))), NOW)


def test_a_command_for_a_workflow_that_was_never_scheduled_is_refused() -> None:
    with pytest.raises(UnknownAggregateError, match="There is no workflow w"):
        decide(None, CancelWorkflow(id="w"), NOW)


@pytest.mark.parametrize("waiting", [plain(0, 1), plain(0, after=(1,)), plain(after=(0, 1))])
def test_a_job_starts_as_soon_as_all_that_it_waits_for_has_succeeded(waiting: WorkflowJob) -> None:
    state = given(scheduled(plain(), plain(), waiting), released(0), released(1))

    state = then(state, end(1), succeeded(1))
    then(state, end(0), succeeded(0), released(2))


def test_a_workflow_succeeds_with_its_last_job() -> None:
    state = given(scheduled(plain(), plain(0)), released(0), succeeded(0), released(1))

    then(state, end(1), succeeded(1), said(WorkflowSucceeded))


def test_a_batch_is_a_job_like_others() -> None:
    state = given(scheduled(batch(), plain(0)), released(0))

    then(state, end(0), succeeded(0), released(1))


# Rules


def test_a_failure_stops_the_workflow_and_all_that_runs() -> None:
    state = given(scheduled(plain(), plain(), plain(0)), released(0), released(1))

    then(
        state,
        end(0, "failed"),
        failed(0),
        stopping("failed", "The job j0 has failed: ValueError: no"),
        skipped(2),
        withdrawn(1),
        said(WorkflowFailed, reason="The job j0 has failed: ValueError: no"),
    )


def test_a_failure_skips_what_depends_on_it_and_the_rest_goes_on() -> None:
    jobs = [plain(**DEPENDENTS), plain(), plain(0), plain(1, after=(2,)), plain(1)]
    state = given(scheduled(*jobs), released(0), released(1))

    state = then(state, end(0, "failed"), failed(0), skipped(2, 3, because=0))
    state = then(state, end(1), succeeded(1), released(4))
    then(
        state,
        end(4),
        succeeded(4),
        said(WorkflowPartlyFailed, reason="3 of 5 jobs have no output"),
    )


def test_a_failure_lets_what_depends_on_it_run_with_defaults() -> None:
    state = given(scheduled(plain(**DEFAULTS), plain(0)), released(0))

    state = then(state, end(0, "failed"), failed(0), said(WorkflowFallbackApplied, job=0), released(1))
    then(state, end(1), succeeded(1), said(WorkflowSucceeded))


@pytest.mark.parametrize(
    ("rule", "outcome", "event"),
    [
        ("on_failure", "failed", failed(0)),
        ("on_timeout", "timed_out", timed_out(0, limit="running", fault=FAULT)),
    ],
)
def test_failures_and_time_outs_have_a_rule_each(rule: str, outcome: str, event: Any) -> None:
    other = {"on_failure": "on_timeout", "on_timeout": "on_failure"}[rule]

    def at_work(lenient: str) -> WorkflowState:
        return given(scheduled(plain(**{lenient: "fail_dependents"}), plain()), released(0), released(1))

    then(at_work(rule), end(0, outcome), event)
    assert state_after(*decide(at_work(other), end(0, outcome), NOW), state=at_work(other)).status == "failed"


def test_the_first_end_of_a_workflow_counts() -> None:
    state = given(scheduled(batch(), batch(), plain()), released(0), released(1), released(2))
    reason = "The job j2 has failed: ValueError: no"

    state = then(state, end(2, "failed"), failed(2), stopping("failed", reason), withdrawn(0), withdrawn(1))
    state = then(state, ExpireWorkflow(id="w", since=NOW))
    state = then(state, end(0, "failed"), failed(0))
    then(state, end(1, "cancelled"), said(WorkflowJobCancelled, job=1), said(WorkflowFailed, reason=reason))


def test_a_job_that_somebody_cancels_has_failed() -> None:
    state = given(scheduled(plain(**DEPENDENTS), plain(0)), released(0))

    then(
        state,
        end(0, "cancelled"),
        failed(0, fault=CANCELLED),
        skipped(1, because=0),
        said(WorkflowPartlyFailed, reason="2 of 2 jobs have no output"),
    )


def test_a_job_that_cannot_be_made_of_its_inputs_has_failed() -> None:
    state = given(scheduled(plain(**DEFAULTS)), released(0))

    then(
        state,
        end(0, "failed", made=False),
        failed(0, made=False),
        said(WorkflowFallbackApplied, job=0),
        said(WorkflowSucceeded),
    )


@pytest.mark.parametrize(
    "again",
    [
        end(0),
        end(0, "failed"),
        end(1, "failed", run=0),
        end(2),
        start(0),
        expire(0, "total"),
        expire(1, "waiting", run=0),
        ExpandWorkflowJob(id="w", job=1, runs=7),
        ExpireWorkflow(id="w", since=LATER),
        AdvanceWorkflow(id="w"),
        ResumeWorkflow(id="w"),
    ],
)
def test_what_is_known_changes_nothing(again: WorkflowCommand) -> None:
    jobs = (plain(**LIMITS), fan_out(**LIMITS), plain(0, 1))
    state = given(
        scheduled(*jobs), released(0), released(1), succeeded(0), expanded(1, 2), released(1, 0), released(1, 1),
        succeeded(1, 0),
    )  # fmt: skip

    then(state, again)


# Time limits


def test_a_job_that_nobody_begins_in_time_is_withdrawn() -> None:
    state = given(scheduled(plain(**LIMITS, **DEFAULTS), plain(0)), released(0))

    then(
        state,
        expire(0, "waiting"),
        timed_out(0, limit="waiting", fault=NOT_BEGUN),
        withdrawn(0),
        said(WorkflowFallbackApplied, job=0),
        released(1),
    )


def test_a_job_that_was_begun_in_time_goes_on() -> None:
    state = given(scheduled(plain(**LIMITS)), released(0))

    state = then(state, start(0), said(WorkflowJobStarted, job=0, attempt=1, started_at=NOW))
    then(state, expire(0, "waiting"))


def test_a_start_is_noted_only_where_a_time_limit_hangs_on_it() -> None:
    then(given(scheduled(plain(total_timeout_seconds=9.0)), released(0)), start(0))


def test_an_attempt_that_takes_too_long_has_failed_and_the_next_is_another() -> None:
    begun = said(WorkflowJobStarted, job=0, attempt=1, started_at=NOW)
    state = given(scheduled(plain(**LIMITS)), released(0), begun)

    state = then(
        state,
        expire(0, "running"),
        said(WorkflowAttemptExpired, job=0, attempt=1, started_at=NOW),
    )
    state = then(state, expire(0, "running"))
    earlier = NOW - timedelta(seconds=1)
    again = StartWorkflowJob(id="w", job=0, attempt=2, started_at=earlier)
    state = then(state, again, said(WorkflowJobStarted, job=0, attempt=2, started_at=earlier))
    then(state, expire(0, "running"))


@pytest.mark.parametrize(("told", "counted"), [(LATER, NOW), (NOW - timedelta(hours=1), NOW - REPORT_TIME)])
def test_a_worker_whose_clock_is_wrong_gains_and_loses_no_time(told: datetime, counted: datetime) -> None:
    state = given(scheduled(plain(**LIMITS)), released(0))

    begun = StartWorkflowJob(id="w", job=0, attempt=1, started_at=told)
    then(state, begun, said(WorkflowJobStarted, job=0, attempt=1, started_at=counted))


def test_what_is_told_in_the_moment_of_a_release_releases_nothing_itself() -> None:
    state = given(scheduled(plain(**DEFAULTS), plain(0)), released(0))

    state = then(state, end(0, at_once=True), succeeded(0))
    assert has_more(state)
    then(state, AdvanceWorkflow(id="w"), released(1))


@pytest.mark.parametrize("id_", ["w-1", "w_1", "w" * 65])
def test_the_id_of_a_workflow_leaves_room_for_those_of_its_jobs(id_: str) -> None:
    with pytest.raises(InvalidCommandError):
        decide(None, ScheduleWorkflow(id=id_, details=workflow(plain())), NOW)


def test_a_job_that_takes_too_long_in_all_is_withdrawn_if_its_rule_does_not_wait_for_it() -> None:
    state = given(scheduled(plain(**LIMITS, **DEPENDENTS), plain(), plain(0)), released(0), released(1))

    then(state, expire(0, "total"), timed_out(0), skipped(2, because=0), withdrawn(0))


def test_a_batch_that_is_withdrawn_has_to_end_before_the_workflow_does() -> None:
    state = given(scheduled(batch(**LIMITS, **DEPENDENTS)), released(0))

    state = then(state, expire(0, "total"), timed_out(0), withdrawn(0))
    then(
        state,
        end(0, "cancelled"),
        said(WorkflowJobCancelled, job=0),
        said(WorkflowPartlyFailed, reason="1 of 1 jobs have no output"),
    )


def test_a_late_result_is_recorded_and_changes_nothing() -> None:
    state = given(scheduled(plain(**LIMITS, **DEFAULTS), plain(0)), released(0))

    state = then(state, expire(0, "total"), timed_out(0), said(WorkflowFallbackApplied, job=0), released(1))
    state = then(state, end(0), succeeded(0, late=True))
    state = then(state, end(0))
    then(state, end(1), succeeded(1), said(WorkflowSucceeded))


@pytest.mark.parametrize(
    ("outcome", "event"),
    [
        ("failed", failed(0, late=True)),
        ("timed_out", timed_out(0, limit="running", fault=FAULT, late=True)),
        ("cancelled", said(WorkflowJobCancelled, job=0)),
    ],
)
def test_a_late_failure_is_recorded_after_the_end_of_the_workflow_too(outcome: str, event: Any) -> None:
    fallback = said(WorkflowFallbackApplied, job=0)
    state = given(scheduled(plain(**LIMITS, **DEFAULTS)), released(0), timed_out(0), fallback)

    state = then(state, AdvanceWorkflow(id="w"), said(WorkflowSucceeded))
    then(state, end(0, outcome), event)


def test_a_late_job_counts_as_long_as_it_runs() -> None:
    state = given(scheduled(plain(**LIMITS, **DEFAULTS), plain(0), max_parallel=1), released(0))

    state = then(state, expire(0, "total"), timed_out(0), said(WorkflowFallbackApplied, job=0))
    then(state, end(0), succeeded(0, late=True), released(1))


def test_a_late_job_is_withdrawn_when_the_workflow_stops() -> None:
    fallback = said(WorkflowFallbackApplied, job=0)
    state = given(scheduled(plain(**LIMITS, **DEFAULTS), plain()), released(0), released(1), timed_out(0), fallback)

    then(
        state,
        CancelWorkflow(id="w"),
        stopping(),
        withdrawn(0),
        withdrawn(1),
        said(WorkflowCancelled),
    )


@pytest.mark.parametrize("limit", ["waiting", "running", "total"])
def test_a_time_limit_of_another_retry_changes_nothing(limit: str) -> None:
    begun = said(WorkflowJobStarted, job=0, attempt=1, started_at=NOW)
    history = [scheduled(plain(**LIMITS), timeout_seconds=90.0), released(0), begun, failed(0), *FAILED]
    again = [RETRIED, released(0, retry=1, again=True)]
    state = given(*history, *(msgspec.structs.replace(event, at=LATER) for event in again))

    then(state, expire(0, limit))
    then(state, ExpireWorkflow(id="w", since=NOW))


def test_a_workflow_that_takes_too_long_is_stopped() -> None:
    state = given(scheduled(plain(), plain(0), timeout_seconds=90.0), released(0))
    reason = "It took longer than 90 s"

    then(
        state,
        ExpireWorkflow(id="w", since=NOW),
        stopping("timed_out", reason),
        skipped(1),
        withdrawn(0),
        said(WorkflowTimedOut, reason=reason),
    )


# Fan-outs


def test_the_runs_of_a_fan_out_start_when_its_list_is_known() -> None:
    state = given(scheduled(fan_out()), released(0))

    state = then(state, ExpandWorkflowJob(id="w", job=0, runs=2), expanded(0, 2))
    assert has_more(state)
    then(state, AdvanceWorkflow(id="w"), released(0, 0), released(0, 1))


def test_a_fan_out_succeeds_with_its_last_run() -> None:
    state = given(
        scheduled(fan_out(), plain(0)), released(0), expanded(0, 2), released(0, 0), released(0, 1), succeeded(0, 1)
    )

    then(state, end(0, run=0), succeeded(0, 0), succeeded(0), released(1))


def test_a_fan_out_over_an_empty_list_has_succeeded() -> None:
    state = given(scheduled(fan_out(), plain(0)), released(0))

    state = then(state, ExpandWorkflowJob(id="w", job=0, runs=0), expanded(0, 0), succeeded(0))
    then(state, AdvanceWorkflow(id="w"), released(1))


def test_a_fan_out_whose_list_cannot_be_made_has_failed() -> None:
    state = given(scheduled(fan_out(**DEPENDENTS), plain(0), plain()), released(0), released(2))

    state = then(state, end(0, "failed", made=False), failed(0, made=False), skipped(1, because=0))
    then(state, ExpandWorkflowJob(id="w", job=0, runs=2))


def test_what_is_no_fan_out_has_no_runs() -> None:
    then(given(scheduled(batch()), released(0)), ExpandWorkflowJob(id="w", job=0, runs=2))


def test_no_more_runs_than_allowed_are_at_work() -> None:
    state = given(scheduled(fan_out(max_parallel=2)), released(0), expanded(0, 4))

    state = then(state, AdvanceWorkflow(id="w"), released(0, 0), released(0, 1))
    assert not has_more(state)
    then(state, end(0, run=1), succeeded(0, 1), released(0, 2))


@pytest.mark.parametrize(
    ("tolerated", "why"),
    [
        ({}, "1 of 4 runs ended without success"),
        ({"tolerated_failures": 0}, "1 of 4 runs ended without success, and tolerated_failures is 0"),
        (
            {"tolerated_failures_share": 0.2},
            "1 of 4 runs ended without success, and tolerated_failures_share is 0.2",
        ),
        (
            {"tolerated_failures": 1, "tolerated_failures_share": 0.2},
            "1 of 4 runs ended without success, and tolerated_failures_share is 0.2",
        ),
    ],
)
def test_a_fan_out_fails_as_soon_as_more_of_its_runs_have_failed_than_is_tolerated(
    tolerated: dict[str, Any], why: str
) -> None:
    job = fan_out(max_parallel=2, **tolerated, **DEPENDENTS)
    state = given(scheduled(job), released(0), expanded(0, 4), released(0, 0), released(0, 1))

    then(
        state,
        end(0, "failed", run=0),
        failed(0, 0),
        failed(0, fault=JobFault("FailedRuns", why)),
        withdrawn(0, 1),
        said(WorkflowPartlyFailed, reason="1 of 1 jobs have no output"),
    )


@pytest.mark.parametrize("tolerated", [{"tolerated_failures": 1}, {"tolerated_failures_share": 0.25}])
def test_failed_runs_that_are_tolerated_change_nothing(tolerated: dict[str, Any]) -> None:
    runs = [event for run in range(4) for event in (released(0, run), succeeded(0, run))]
    state = given(scheduled(fan_out(**tolerated)), released(0), expanded(0, 4), *runs[:-1])

    then(state, end(0, "failed", run=3), failed(0, 3), succeeded(0), said(WorkflowSucceeded))


def test_a_run_that_nobody_begins_in_time_is_a_failed_run() -> None:
    job = fan_out(tolerated_failures=1, **LIMITS)
    state = given(scheduled(job), released(0), expanded(0, 2), released(0, 0), released(0, 1))

    then(
        state,
        expire(0, "waiting", run=1),
        timed_out(0, 1, limit="waiting", fault=NOT_BEGUN),
        withdrawn(0, 1),
    )


def test_nobody_waits_for_the_other_runs_of_a_fan_out_that_has_failed() -> None:
    state = given(scheduled(fan_out(**DEFAULTS)), released(0), expanded(0, 2), released(0, 0), released(0, 1))
    why = JobFault("FailedRuns", "1 of 2 runs ended without success")

    then(
        state,
        end(0, "failed", run=0),
        failed(0, 0),
        failed(0, fault=why),
        said(WorkflowFallbackApplied, job=0),
        withdrawn(0, 1),
        said(WorkflowSucceeded),
    )


def test_runs_of_a_fan_out_that_is_late_end_late_and_no_more_are_started() -> None:
    job = fan_out(max_parallel=1, **LIMITS, **DEFAULTS)
    state = given(scheduled(job, plain(0)), released(0), expanded(0, 2), released(0, 0))

    state = then(state, expire(0, "total"), timed_out(0), said(WorkflowFallbackApplied, job=0), released(1))
    then(state, end(0, run=0), succeeded(0, 0, late=True))


# Limits


def test_no_more_jobs_runs_and_batches_than_allowed_are_at_work() -> None:
    state = given(
        scheduled(fan_out(), batch(), plain(), max_parallel=3),
        released(0),
        released(1),
        released(2),
        expanded(0, 2),
    )

    state = then(state, AdvanceWorkflow(id="w"), released(0, 0))
    state = then(state, end(1), succeeded(1), released(0, 1))
    then(state, end(2), succeeded(2))


def test_one_decision_releases_a_part_of_very_many_jobs() -> None:
    details = workflow(*[plain()] * (AT_ONCE + 50))

    state = state_after(*decide(None, ScheduleWorkflow(id="w", details=details), NOW))

    assert state.alive == AT_ONCE
    assert has_more(state)
    state = then(state, AdvanceWorkflow(id="w"), *map(released, range(AT_ONCE, AT_ONCE + 50)))
    assert not has_more(state)


def many_at_work(*jobs: WorkflowJob) -> World:
    """Return a workflow with a fan-out at work of which one decision cannot withdraw all, and others."""
    world = World(
        workflow(fan_out(**LIMITS, **DEPENDENTS), *jobs), items=lambda number: 2 if number else 3 * AT_ONCE
    )
    world.go_on()
    return world


def test_one_decision_withdraws_a_part_of_very_many_runs() -> None:
    world = many_at_work()

    world.ask(CancelWorkflow(id="w"))
    for left in (2 * AT_ONCE, AT_ONCE):
        assert (world.state.status, world.state.alive) == ("stopping", left)
        world.advance()

    world.advance()
    assert (world.state.status, world.state.alive) == ("cancelled", 0)


def test_a_workflow_does_not_end_before_all_is_withdrawn_that_nobody_waits_for() -> None:
    world = many_at_work()

    world.end((0, 0), "failed")
    assert (world.state.status, world.state.unsettled, world.state.alive) == ("running", 0, 2 * AT_ONCE - 1)

    world.go_on()
    assert (world.state.status, world.state.alive) == ("partly_failed", 0)


def test_that_a_withdrawn_job_is_cancelled_is_known() -> None:
    """What follows is stored together: it must not go on with what was too much at once."""
    world = many_at_work()

    events = decide(world.state, CancelWorkflow(id="w"), NOW)
    state = state_after(*events, state=world.state)

    assert has_more(state)
    then(state, end(0, "cancelled", run=0))


# What people ask


def test_a_paused_workflow_starts_no_more_jobs() -> None:
    state = given(scheduled(plain(), plain(0)), released(0))

    state = then(state, PauseWorkflow(id="w", reason="lunch"), said(WorkflowPaused, reason="lunch"))
    state = then(state, PauseWorkflow(id="w"))
    state = then(state, end(0), succeeded(0))
    then(state, ResumeWorkflow(id="w"), said(WorkflowResumed), released(1))


def test_a_paused_workflow_ends_when_nothing_is_left_to_start() -> None:
    state = given(scheduled(plain()), released(0), said(WorkflowPaused))

    state = then(state, end(0), succeeded(0), said(WorkflowSucceeded))
    assert not state.paused


def test_time_limits_pass_while_a_workflow_is_paused() -> None:
    jobs = [plain(**LIMITS, **DEFAULTS), plain(0)]
    state = given(scheduled(*jobs, timeout_seconds=90.0), released(0), said(WorkflowPaused))
    reason = "It took longer than 90 s"

    state = then(state, expire(0, "total"), timed_out(0), said(WorkflowFallbackApplied, job=0))
    then(
        state,
        ExpireWorkflow(id="w", since=NOW),
        stopping("timed_out", reason),
        skipped(1),
        withdrawn(0),
        said(WorkflowTimedOut, reason=reason),
    )


def test_a_cancelled_workflow_ends_when_all_that_ran_has_ended() -> None:
    state = given(scheduled(batch(), plain(), plain(0)), released(0), released(1), said(WorkflowPaused))
    cancel = CancelWorkflow(id="w", reason="no need")

    state = then(state, cancel, stopping(reason="no need"), skipped(2), withdrawn(0), withdrawn(1))
    state = then(state, cancel)
    state = then(state, PauseWorkflow(id="w"))
    state = then(
        state,
        end(0, "cancelled"),
        said(WorkflowJobCancelled, job=0),
        said(WorkflowCancelled, reason="no need"),
    )
    then(state, cancel)


def test_a_fan_out_that_has_begun_is_cancelled_and_not_skipped() -> None:
    state = given(scheduled(fan_out(), plain(0)), released(0), expanded(0, 2), said(WorkflowPaused))

    then(state, CancelWorkflow(id="w"), stopping(), skipped(1), withdrawn(0), said(WorkflowCancelled))


def test_a_workflow_that_was_cancelled_while_it_was_paused_is_not_paused_when_it_is_retried() -> None:
    paused = [scheduled(plain()), released(0), said(WorkflowPaused)]

    state = given(*paused, stopping(), withdrawn(0), said(WorkflowCancelled))

    then(state, RetryWorkflow(id="w"), RETRIED, released(0, retry=1, again=True))


def test_a_workflow_that_stops_for_another_reason_cannot_be_cancelled() -> None:
    state = given(scheduled(batch()), released(0), stopping("failed", "The job j1 has failed"), withdrawn(0))

    with pytest.raises(EndedError, match="is stopping already: The job j1 has failed"):
        decide(state, CancelWorkflow(id="w"), NOW)


@pytest.mark.parametrize("command", [CancelWorkflow(id="w"), PauseWorkflow(id="w"), ResumeWorkflow(id="w")])
def test_a_workflow_that_has_ended_cannot_be_steered(command: WorkflowCommand) -> None:
    failure = said(WorkflowPartlyFailed)

    with pytest.raises(EndedError, match="The workflow w has ended: partly failed"):
        decide(given(scheduled(plain(**DEPENDENTS)), released(0), failed(0), failure), command, NOW)


def test_a_success_while_a_workflow_stops_is_kept() -> None:
    state = given(scheduled(batch()), released(0), stopping(), withdrawn(0))

    state = then(state, end(0), succeeded(0), said(WorkflowCancelled))
    then(state, RetryWorkflow(id="w"), said(WorkflowRetried, retry=1), said(WorkflowSucceeded))


# Retries

FAILED = [stopping("failed"), said(WorkflowFailed)]
RETRIED = said(WorkflowRetried, retry=1)


def test_a_retry_runs_what_has_no_output_and_keeps_what_has() -> None:
    jobs = [plain(), plain(), plain(0, 1), plain(**DEFAULTS)]
    fallback = [failed(3), said(WorkflowFallbackApplied, job=3)]
    history = [scheduled(*jobs), released(0), released(1), released(3), *fallback, succeeded(0), failed(1)]
    state = given(*history, stopping("failed"), skipped(2), said(WorkflowFailed))

    state = then(
        state,
        RetryWorkflow(id="w", key="a"),
        said(WorkflowRetried, retry=1, key="a"),
        released(1, retry=1, again=True),
    )
    state = then(state, RetryWorkflow(id="w", key="a"))
    state = then(state, end(1), succeeded(1), released(2, retry=1, opened=1))
    then(state, end(2), succeeded(2), said(WorkflowSucceeded))


def test_a_workflow_at_work_is_not_retried() -> None:
    with pytest.raises(EndedError, match="is at work: retry it when it has ended"):
        decide(given(scheduled(plain()), released(0)), RetryWorkflow(id="w"), NOW)


def test_a_workflow_that_has_succeeded_is_not_retried() -> None:
    state = given(scheduled(plain()), released(0), succeeded(0), said(WorkflowSucceeded))

    with pytest.raises(EndedError, match="has succeeded: nothing is left"):
        decide(state, RetryWorkflow(id="w"), NOW)


def test_the_time_limit_of_a_workflow_begins_again_with_a_retry() -> None:
    history = [scheduled(plain(), timeout_seconds=90.0), released(0), failed(0), *FAILED]

    state = given(*history, msgspec.structs.replace(RETRIED, at=LATER))

    assert state.began_at == LATER


@pytest.mark.parametrize(
    ("job", "made", "again"),
    [
        (plain(), failed(0), {"again": True}),
        (plain(), failed(0, made=False), {"opened": 1}),
        (plain(), withdrawn(0), {"again": True}),
        (batch(), failed(0), {"again": True}),
        (batch(), failed(0, made=False), {"opened": 1}),
    ],
    ids=["job", "job that could not be made", "withdrawn job", "batch", "batch that could not be made"],
)
def test_a_retry_lets_jobs_and_batches_run_again_if_there_are_any(
    job: WorkflowJob, made: Any, again: dict[str, Any]
) -> None:
    state = given(scheduled(job), released(0), made, *FAILED)

    then(state, RetryWorkflow(id="w"), RETRIED, released(0, retry=1, **again))


def test_a_batch_that_was_cancelled_is_opened_anew() -> None:
    by_somebody = then(
        given(scheduled(batch()), released(0)),
        end(0, "cancelled"),
        failed(0, fault=CANCELLED, made=False),
        stopping("failed", "The job j0 has failed: Cancelled"),
        said(WorkflowFailed, reason="The job j0 has failed: Cancelled"),
    )
    withdrawn_ = given(
        scheduled(batch()), released(0), stopping(), withdrawn(0), said(WorkflowJobCancelled, job=0), *FAILED[1:]
    )

    for state in (by_somebody, withdrawn_):
        then(state, RetryWorkflow(id="w"), RETRIED, released(0, retry=1, opened=1))


def test_a_batch_that_fails_again_keeps_its_name() -> None:
    history = [
        scheduled(batch()), released(0), failed(0, made=False), *FAILED,
        RETRIED, released(0, retry=1, opened=1), failed(0), *FAILED,
    ]  # fmt: skip

    then(
        given(*history),
        RetryWorkflow(id="w"),
        said(WorkflowRetried, retry=2),
        released(0, retry=2, again=True, opened=1),
    )


def test_a_batch_that_ended_by_itself_when_it_was_withdrawn_is_not_opened_anew() -> None:
    state = given(scheduled(batch(**LIMITS, **DEPENDENTS)), released(0), timed_out(0), withdrawn(0))

    state = then(
        state, end(0), succeeded(0, late=True), said(WorkflowPartlyFailed, reason="1 of 1 jobs have no output")
    )
    then(state, RetryWorkflow(id="w"), RETRIED, released(0, retry=1, again=True))


def test_a_job_that_a_retry_did_not_come_to_runs_again_in_the_next() -> None:
    history = [
        scheduled(plain(), plain(), max_parallel=1), released(0), failed(0), *FAILED[:1], skipped(1), FAILED[1],
        RETRIED, released(0, retry=1, again=True), succeeded(0), released(1, retry=1, opened=1), failed(1), *FAILED,
        said(WorkflowRetried, retry=2), stopping(), skipped(1), said(WorkflowCancelled),
    ]  # fmt: skip

    then(
        given(*history),
        RetryWorkflow(id="w"),
        said(WorkflowRetried, retry=3),
        released(1, retry=3, again=True, opened=1),
    )


def test_a_fan_out_keeps_its_runs_that_have_succeeded() -> None:
    runs = [released(0, 0), released(0, 1), released(0, 2), succeeded(0, 1), failed(0, 0), failed(0, 2, made=False)]
    state = given(scheduled(fan_out()), released(0), expanded(0, 3), *runs, failed(0), *FAILED)

    state = then(
        state,
        RetryWorkflow(id="w"),
        RETRIED,
        released(0, retry=1, opened=1),
        released(0, 0, retry=1, again=True),
        released(0, 2, retry=1),
    )
    state = then(state, end(0, run=0), succeeded(0, 0))
    then(state, end(0, run=2), succeeded(0, 2), succeeded(0), said(WorkflowSucceeded))


def test_a_fan_out_all_of_whose_runs_have_succeeded_meanwhile_has_nothing_left_to_run() -> None:
    world = many_at_work(fan_out(), plain(1))

    world.ask(CancelWorkflow(id="w"))
    world.end((1, 0))
    world.end((1, 1))
    world.go_on()
    world.ask(RetryWorkflow(id="w"))

    world.go_on()
    assert world.state.jobs[1].part.status == "succeeded"
    assert world.state.jobs[2].part.status == "released"


def test_a_job_that_nobody_waits_for_is_withdrawn_at_once_even_if_there_is_too_much_to_withdraw() -> None:
    """Else it might succeed before, its success would be lost, and it could not run again."""
    world = many_at_work(plain(**LIMITS, **DEPENDENTS))
    world.pass_limit((0, None), "total")
    assert world.goes_on

    world.pass_limit((1, None), "total")

    assert world.jobs[1, None].status == "cancelled"


def test_a_job_that_somebody_cancels_while_the_workflow_stops_runs_again_in_a_retry() -> None:
    world = many_at_work(plain())
    world.ask(CancelWorkflow(id="w"))

    events = world.end((1, None), "cancelled")

    assert isinstance(events[0], WorkflowJobCancelled)
    world.go_on()
    world.ask(RetryWorkflow(id="w"))
    world.go_on()
    assert world.jobs[1, None].status == "queued"


def test_a_late_job_stays_late_in_a_retry() -> None:
    jobs = [plain(**LIMITS, **DEFAULTS), plain(**DEPENDENTS)]
    late = [released(0), released(1), timed_out(0), said(WorkflowFallbackApplied, job=0)]
    state = given(scheduled(*jobs), *late, failed(1), said(WorkflowPartlyFailed))

    state = then(state, RetryWorkflow(id="w"), RETRIED, released(1, retry=1, again=True))
    state = then(state, end(0), succeeded(0, late=True))
    then(state, end(1), succeeded(1), said(WorkflowSucceeded))


def test_a_workflow_has_no_more_runs_than_can_be_kept() -> None:
    jobs = [fan_out(on_failure="fail_dependents") for _ in range(MAX_RUNS // MAX_JOBS + 1)]
    last = len(jobs) - 1
    begun = [scheduled(*jobs), *map(released, range(len(jobs)))]
    state = given(*begun, *(expanded(number, MAX_JOBS) for number in range(last)))
    assert state.runs == MAX_RUNS

    events = decide(state, ExpandWorkflowJob(id="w", job=last, runs=1), NOW)

    assert isinstance(events[0], WorkflowJobFailed)
    assert events[0].fault == JobFault("TooManyRuns", "With its 1 runs the workflow has more than 50000")
