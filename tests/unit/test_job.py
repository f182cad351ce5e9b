"""The job's decider: given events, when a command comes, then events."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.base import EndedError, Event, Refusal, UnknownAggregateError
from events.catalog import decode_event, encode
from events.job import (
    CancelJob,
    JobAttemptFailed,
    JobCancelled,
    JobCommand,
    JobFailed,
    JobProgressed,
    JobQueued,
    JobRedriven,
    JobScheduled,
    JobStarted,
    JobState,
    JobSucceeded,
    JobTimedOut,
    RedriveJob,
    ReleaseJob,
    ScheduleJob,
    decide,
    evolve,
)
from rota.protocol import (
    ENDED_JOB,
    FailJob,
    JobDetails,
    JobFault,
    Payload,
    ProgressJob,
    Result,
    RetryPolicy,
    Rows,
    StartJob,
    SucceedJob,
)

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
STARTED = NOW - timedelta(seconds=2)
FAULT = JobFault("ValueError", "no")
RESULT = Result(value=msgspec.Raw(msgspec.msgpack.encode(42)))
DETAILS = JobDetails(
    spec="add",
    queue="sums",
    params=msgspec.Raw(b"\x80"),
    retry=RetryPolicy(max_attempts=3, delay_seconds=10, backoff=2),
)
AT_ONCE = msgspec.structs.replace(DETAILS, retry=RetryPolicy(max_attempts=2, delay_seconds=0))
ROWS = Rows("b", "a.csv", 0, 0, 0, 10, Payload("rota.payload.b_0-0", 5, "ab"))
OF_A_BATCH = msgspec.structs.replace(DETAILS, rows=ROWS)


def facts(version: int) -> dict[str, Any]:
    return {"originator_id": "j", "originator_version": version, "at": NOW}


def report(attempt: int = 1) -> dict[str, Any]:
    return {"id": "j", "attempt": attempt, "worker": "w"}


def failure(attempt: int = 1, **how: Any) -> FailJob:
    return FailJob(**report(attempt), **how, started_at=STARTED, fault=FAULT)


def success(attempt: int = 1) -> SucceedJob:
    return SucceedJob(**report(attempt), started_at=STARTED, result=RESULT)


def state_after(*events: Any) -> JobState | None:
    state = None
    for event in events:
        state = evolve(state, event)
    return state


def queued(version: int = 1, attempt: int = 1, details: JobDetails = DETAILS) -> JobQueued:
    return JobQueued(**facts(version), attempt=attempt, details=details)


def started(version: int = 2) -> JobStarted:
    return JobStarted(**facts(version), attempt=1, worker="w", started_at=STARTED)


def ended(version: int = 2) -> JobSucceeded:
    return JobSucceeded(**facts(version), attempt=1, worker="w", started_at=STARTED, result=RESULT)


def failed(version: int, attempt: int = 1) -> JobFailed:
    return JobFailed(**facts(version), attempt=attempt, worker="w", started_at=STARTED, fault=FAULT)


def attempt_failed(version: int, attempt: int, seconds: float) -> JobAttemptFailed:
    retry_at = NOW + timedelta(seconds=seconds)
    return JobAttemptFailed(
        **facts(version),
        attempt=attempt,
        worker="w",
        started_at=STARTED,
        fault=FAULT,
        timed_out=False,
        retry_at=retry_at,
    )


@pytest.mark.parametrize("run_at", [None, NOW, NOW - timedelta(days=1)])
def test_a_job_that_is_due_is_queued_at_once(run_at: datetime | None) -> None:
    assert decide(None, ScheduleJob(id="j", details=DETAILS, run_at=run_at), NOW) == [queued()]


def test_a_job_with_a_time_to_come_waits_for_it() -> None:
    assert decide(None, ScheduleJob(id="j", details=DETAILS, run_at=LATER), NOW) == [
        JobScheduled(**facts(1), details=DETAILS, run_at=LATER)
    ]


@pytest.mark.parametrize("history", [(queued(),), (queued(), ended())], ids=["queued", "ended"])
def test_a_job_is_scheduled_only_once(history: tuple[Any, ...]) -> None:
    assert decide(state_after(*history), ScheduleJob(id="j", details=AT_ONCE), NOW) == []


def test_its_time_queues_a_waiting_job() -> None:
    waiting = state_after(JobScheduled(**facts(1), details=DETAILS, run_at=LATER))

    assert decide(waiting, ReleaseJob(id="j", attempt=1), NOW) == [queued(version=2)]


@pytest.mark.parametrize("attempt", [1, 2, 4])
def test_a_timer_of_another_attempt_changes_nothing(attempt: int) -> None:
    waiting = state_after(queued(), attempt_failed(2, 1, 10), queued(3, 2), attempt_failed(4, 2, 20))

    assert decide(waiting, ReleaseJob(id="j", attempt=attempt), NOW) == []
    assert decide(waiting, ReleaseJob(id="j", attempt=3), NOW) == [queued(5, 3)]


def test_a_timer_that_comes_twice_queues_once() -> None:
    assert decide(state_after(queued()), ReleaseJob(id="j", attempt=1), NOW) == []


def test_a_report_of_a_start_makes_the_job_running() -> None:
    [event] = decide(state_after(queued()), StartJob(**report(), started_at=STARTED), NOW)

    assert event == started()
    assert evolve(state_after(queued()), started()).status == "running"


def test_progress_is_noted_and_changes_no_status() -> None:
    before = state_after(queued(), started())
    [event] = decide(before, ProgressJob(**report(), percent=40, message="half way"), NOW)

    assert event == JobProgressed(**facts(3), attempt=1, percent=40, message="half way")
    assert evolve(before, event).status == "running"


@pytest.mark.parametrize("history", [(queued(),), (queued(), started())], ids=["queued", "running"])
def test_a_report_of_success_ends_the_job(history: tuple[Any, ...]) -> None:
    assert decide(state_after(*history), success(), NOW) == [ended(len(history) + 1)]


def test_the_end_of_a_batch_job_names_its_batch() -> None:
    state = state_after(queued(details=OF_A_BATCH))

    assert [event.batch for event in decide(state, success(), NOW) if isinstance(event, JobSucceeded)] == ["b"]
    assert [event.batch for event in decide(state, failure(final=True), NOW) if isinstance(event, JobFailed)] == [
        "b"
    ]
    assert [event.batch for event in decide(state, CancelJob(id="j"), NOW) if isinstance(event, JobCancelled)] == [
        "b"
    ]


def test_a_failed_attempt_waits_longer_each_time() -> None:
    first = state_after(queued())
    second = state_after(queued(), attempt_failed(2, 1, 10), queued(3, 2))

    assert decide(first, failure(), NOW) == [attempt_failed(2, 1, 10)]
    assert decide(second, failure(2), NOW) == [attempt_failed(4, 2, 20)]


def test_a_failed_attempt_without_delay_is_queued_again_at_once() -> None:
    state = state_after(queued(details=AT_ONCE))

    assert decide(state, failure(), NOW) == [attempt_failed(2, 1, 0), queued(3, 2, AT_ONCE)]


@pytest.mark.parametrize(("timed_out", "kind"), [(False, JobFailed), (True, JobTimedOut)])
def test_the_last_attempt_ends_the_job(*, timed_out: bool, kind: type[JobFailed | JobTimedOut]) -> None:
    last = state_after(queued(1, 3))

    assert decide(last, failure(3, timed_out=timed_out), NOW) == [
        kind(**facts(2), attempt=3, worker="w", started_at=STARTED, fault=FAULT)
    ]


def test_a_final_failure_ends_the_job_whatever_attempts_are_left() -> None:
    assert decide(state_after(queued()), failure(final=True), NOW) == [
        JobFailed(**facts(2), attempt=1, worker="w", started_at=STARTED, fault=FAULT)
    ]


@pytest.mark.parametrize("late", [success(1), failure(1), StartJob(**report(1), started_at=STARTED)])
def test_a_report_of_an_earlier_attempt_changes_nothing(late: JobCommand) -> None:
    waiting = state_after(queued(), attempt_failed(2, 1, 10))
    again = state_after(queued(), attempt_failed(2, 1, 10), queued(3, 2))

    assert decide(waiting, late, NOW) == []
    assert decide(again, late, NOW) == []


@pytest.mark.parametrize("late", [success(), failure(), ReleaseJob(id="j", attempt=2)])
def test_a_job_that_has_ended_stays_as_it_is(late: JobCommand) -> None:
    assert decide(state_after(queued(), ended()), late, NOW) == []


@pytest.mark.parametrize(
    ("history", "attempt"),
    [((JobScheduled(**facts(1), details=DETAILS, run_at=LATER),), 0), ((queued(),), 1), ((queued(), started()), 1)],
    ids=["scheduled", "queued", "running"],
)
def test_a_job_can_be_cancelled_until_it_ends(history: tuple[Any, ...], attempt: int) -> None:
    version = len(history) + 1

    assert decide(state_after(*history), CancelJob(id="j", reason="no need"), NOW) == [
        JobCancelled(**facts(version), attempt=attempt, reason="no need")
    ]


def test_a_second_cancellation_changes_nothing() -> None:
    assert decide(state_after(queued(), JobCancelled(**facts(2), attempt=1)), CancelJob(id="j"), NOW) == []


def test_a_job_that_has_ended_cannot_be_cancelled() -> None:
    with pytest.raises(EndedError, match="Job j has already succeeded"):
        decide(state_after(queued(), ended()), CancelJob(id="j"), NOW)


@pytest.mark.parametrize(
    "history",
    [(queued(), ended()), (queued(), JobCancelled(**facts(2), attempt=1))],
    ids=["succeeded", "cancelled"],
)
def test_a_lenient_cancellation_is_no_fault_of_a_job_that_has_ended(history: tuple[Any, ...]) -> None:
    assert decide(state_after(*history), CancelJob(id="j", lenient=True), NOW) == []
    [cancelled] = decide(state_after(queued()), CancelJob(id="j", lenient=True), NOW)
    assert isinstance(cancelled, JobCancelled)


@pytest.mark.parametrize(
    ("end", "attempt"),
    [
        (failed(2), 2),
        (JobTimedOut(**facts(2), attempt=1, worker="w", started_at=STARTED, fault=FAULT), 2),
        (JobCancelled(**facts(2), attempt=1), 2),
    ],
    ids=["failed", "timed out", "cancelled"],
)
def test_a_job_that_ended_without_success_runs_again(end: Event, attempt: int) -> None:
    assert decide(state_after(queued(), end), RedriveJob(id="j", redrive=7), NOW) == [
        JobRedriven(**facts(3), redrive=7),
        queued(4, attempt),
    ]


@pytest.mark.parametrize(
    "history", [(queued(),), (queued(), started()), (queued(), ended())], ids=["queued", "running", "succeeded"]
)
def test_a_job_that_has_not_failed_does_not_run_again(history: tuple[Any, ...]) -> None:
    assert decide(state_after(*history), RedriveJob(id="j", redrive=7), NOW) == []


@pytest.mark.parametrize(("redrive", "runs"), [(6, False), (7, False), (8, True)])
def test_a_redrive_runs_a_job_again_once(redrive: int, *, runs: bool) -> None:
    history = (queued(), failed(2), JobRedriven(**facts(3), redrive=7), queued(4, 2), failed(5, 2))

    assert bool(decide(state_after(*history), RedriveJob(id="j", redrive=redrive), NOW)) == runs


def test_a_job_that_runs_again_has_as_many_attempts_as_at_first() -> None:
    history: tuple[Any, ...] = (queued(1, 3), failed(2, 3), JobRedriven(**facts(3), redrive=7), queued(4, 4))

    for attempt, version in ((4, 5), (5, 7)):
        [again] = decide(state_after(*history), failure(attempt), NOW)
        assert again == attempt_failed(version, attempt, 10 if attempt == 4 else 20)
        history = (*history, again, queued(version + 1, attempt + 1))
    [ended_again] = decide(state_after(*history), failure(6), NOW)
    assert isinstance(ended_again, JobFailed)


def test_the_redrive_of_a_batch_job_names_its_batch() -> None:
    history = (queued(details=OF_A_BATCH), failed(2))

    [redriven, _] = decide(state_after(*history), RedriveJob(id="j", redrive=7), NOW)

    assert isinstance(redriven, JobRedriven)
    assert redriven.batch == "b"


def test_a_report_of_an_attempt_before_the_redrive_changes_nothing() -> None:
    history = (queued(), failed(2), JobRedriven(**facts(3), redrive=7), queued(4, 2))

    assert decide(state_after(*history), success(1), NOW) == []
    assert decide(state_after(*history), failure(1), NOW) == []


@pytest.mark.parametrize("command", [CancelJob(id="j"), success(), ReleaseJob(id="j", attempt=1)])
def test_a_command_for_a_job_that_was_never_made_is_refused(command: JobCommand) -> None:
    with pytest.raises(UnknownAggregateError, match="There is no job j"):
        decide(None, command, NOW)


def test_a_delay_is_bounded_however_often_the_job_fails() -> None:
    policy = RetryPolicy(max_attempts=1000, delay_seconds=1, backoff=10, max_delay_seconds=60)

    assert [policy.delay_after(attempt) for attempt in (1, 2, 3, 1000)] == [1, 10, 60, 60]


attempts = st.integers(1, 4)
commands: st.SearchStrategy[Any] = st.one_of(
    st.builds(
        ScheduleJob,
        id=st.just("j"),
        details=st.sampled_from([DETAILS, AT_ONCE, OF_A_BATCH]),
        run_at=st.sampled_from([None, NOW, LATER]),
    ),
    st.builds(ReleaseJob, id=st.just("j"), attempt=attempts),
    st.builds(CancelJob, id=st.just("j"), lenient=st.booleans()),
    st.builds(RedriveJob, id=st.just("j"), redrive=st.integers(1, 3)),
    st.builds(lambda attempt: StartJob(**report(attempt), started_at=STARTED), attempts),
    st.builds(lambda attempt: ProgressJob(**report(attempt), percent=1), attempts),
    st.builds(success, attempts),
    st.builds(failure, attempts, timed_out=st.booleans(), final=st.booleans()),
)


@given(st.lists(commands, max_size=25))
def test_no_order_or_repetition_of_commands_breaks_a_job(some: list[JobCommand]) -> None:
    state: JobState | None = None
    history: list[Event] = []
    for command in some:
        before = state
        for delivered in (1, 2):
            try:
                events = decide(state, command, NOW)
            except Refusal:
                events = []
            held = state
            for event in events:
                history.append(event)
                state = evolve(state, event)  # type: ignore[arg-type] # list[Event] is wider than the union
            if delivered == 2 and held:
                assert state
                # A second report of a start or of progress may be noted again, but moves nothing.
                assert (state.status, state.attempt) == (held.status, held.attempt)
        if before and before.status in ENDED_JOB and not isinstance(command, RedriveJob):
            assert state == before
        if before and before.status == "succeeded":
            assert state == before

    assert [event.originator_version for event in history] == list(range(1, len(history) + 1))
    assert state_after(*(decode_event(encode(event)) for event in history)) == state
