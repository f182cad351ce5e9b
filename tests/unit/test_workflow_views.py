"""The events of workflows folded into tables and read as views, in memory."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from statistics import mean
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw
from msgspec.structs import replace

from events.base import Refusal
from events.batch import BatchDetails, BatchOpened
from events.batch_control import BatchPaused
from events.catalog import encode
from events.jetstream.log import Recorded
from events.job import JobAttemptFailed, JobQueued, JobRedriven, JobStarted, JobSucceeded
from events.workflow import (
    CancelWorkflow,
    ExpireWorkflow,
    PauseWorkflow,
    ResumeWorkflow,
    RetryWorkflow,
    WorkflowCancelled,
    WorkflowCommand,
    WorkflowDetails,
    WorkflowFailed,
    WorkflowFallbackApplied,
    WorkflowJob,
    WorkflowJobCancelled,
    WorkflowJobExpanded,
    WorkflowJobFailed,
    WorkflowJobReleased,
    WorkflowJobsSkipped,
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
)
from events.workflow_state import JobState, WorkflowState
from projections.tables import apply, create
from projections.views import Views, fold
from rota.protocol import JobDetails, JobFault, Result, WorkflowPlace
from rota.workflow_protocol import ENDED_WORKFLOW, WorkflowJobView, WorkflowView
from tests.unit.workflow_model import World, batch, fan_out, plain, workflow

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
EMPTY = Raw(b"\x80")
FAULT = JobFault("ValueError", "no such thing")
LATE = JobFault("TimeoutError", "It took longer than 5 s in all")
BATCH = BatchDetails(spec="load", queue="q", files=("a",), rows_per_job=1, max_jobs_in_flight=1, params=EMPTY)


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def job(name: str, *needs: int, spec: str = "add", **how: Any) -> WorkflowJob:
    return WorkflowJob(name=name, spec=spec, queue="sums", inputs=EMPTY, needs=needs, **how)


class History:
    """Events of a workflow `w` and its jobs, one second after the other."""

    def __init__(self, *jobs: WorkflowJob, id_: str = "w", name: str = "nightly", **how: Any) -> None:
        self.events: list[Any] = []
        self.started: dict[str, datetime] = {}
        self.id = id_
        self.add(WorkflowScheduled, details=WorkflowDetails(name=name, jobs=jobs, **how))

    def add(self, type_: Any, of: str = "", **facts: Any) -> None:
        """Add an event of the workflow, or of another aggregate."""
        id_ = of or self.id
        version = 1 + sum(event.originator_id == id_ for event in self.events)
        at = after(len(self.events))
        self.events.append(type_(originator_id=id_, originator_version=version, at=at, **facts))

    def release(self, number: int, run: int | None = None, **facts: Any) -> str:
        """Release a job or a run, which is queued; return its id."""
        self.add(WorkflowJobReleased, job=number, run=run, **facts)
        id_ = f"w-{number}" if run is None else f"w-{number}-{run}"
        place = WorkflowPlace("w", number, "x", run)
        self.add(JobQueued, id_, attempt=1, details=JobDetails("add", "sums", EMPTY, workflow=place))
        return id_

    def start(self, id_: str) -> None:
        self.started[id_] = after(len(self.events))
        self.add(JobStarted, id_, attempt=1, worker="v", started_at=self.started[id_])

    def succeed(self, number: int, run: int | None = None) -> None:
        id_ = f"w-{number}" if run is None else f"w-{number}-{run}"
        started_at = self.started.get(id_, after(len(self.events) - 0.5))
        self.add(JobSucceeded, id_, attempt=1, worker="v", started_at=started_at, result=Result())
        self.add(WorkflowJobSucceeded, job=number, run=run)

    @property
    def views(self) -> Views:
        return fold(Recorded(sequence, event) for sequence, event in enumerate(self.events, start=1))

    def view(self, now: datetime | None = None) -> WorkflowView:
        view = self.views.workflow("w", now)
        assert view
        return view

    def job(self, number: int) -> WorkflowJobView:
        return self.view().jobs[number]


def test_a_workflow_shows_what_it_was_scheduled_with() -> None:
    history = History(
        job("fetch"),
        job("clean", 0, spec="scrub", after=(2,)),
        job("other"),
        params=Raw(encode({"table": "people"})),
        timeout_seconds=60.0,
        labels={"team": "blue"},
        rerun_of="v",
    )

    assert history.view() == WorkflowView(
        id="w",
        name="nightly",
        status="running",
        jobs=[
            WorkflowJobView(name="fetch", spec="add", status="waiting", critical=True),
            WorkflowJobView(
                name="clean",
                spec="scrub",
                status="waiting",
                needs=["fetch"],
                after=["other"],
                waits_for="for fetch, other",
                critical=True,
            ),
            WorkflowJobView(name="other", spec="add", status="waiting"),
        ],
        counts={"waiting": 3, "total": 3},
        progress=0.0,
        critical_path=["fetch", "clean"],
        params={"table": "people"},
        scheduled_at=NOW,
        timeout_at=after(60),
        rerun_of="v",
        labels={"team": "blue"},
    )
    assert history.views.workflow("v") is None


def test_a_job_at_work_is_as_its_own_events_say() -> None:
    history = History(job("a"))
    id_ = history.release(0)
    shown = history.job(0)
    assert (shown.status, shown.job, shown.attempt, shown.waits_for) == (
        "queued",
        "w-0",
        1,
        "for a worker of queue sums",
    )
    assert (shown.released_at, shown.started_at) == (after(1), None)

    history.start(id_)
    shown = history.job(0)
    assert (shown.status, shown.started_at, shown.waits_for) == ("running", after(3), "")

    run = {"attempt": 1, "worker": "v", "started_at": after(3), "timed_out": False}
    history.add(JobAttemptFailed, id_, fault=FAULT, retry_at=after(60), **run)
    shown = history.job(0)
    assert (shown.status, shown.error) == ("scheduled", FAULT)
    assert shown.waits_for == "its attempt failed and the next is due at 2026-05-01T12:01:00.000Z"


def test_a_job_that_has_ended_is_as_the_workflow_was_told() -> None:
    history = History(job("a"), job("b"))
    history.release(0)
    history.release(1)
    history.succeed(0)
    history.add(WorkflowJobFailed, job=1, fault=FAULT)

    good, bad = history.view().jobs
    assert (good.status, good.ended_at, good.error) == ("succeeded", after(6), None)
    assert (bad.status, bad.ended_at, bad.error) == ("failed", after(7), FAULT)
    assert history.view().counts == {"succeeded": 1, "failed": 1, "total": 2}
    assert history.view().progress == 1.0


def test_a_job_of_which_the_views_do_not_know_yet_is_queued() -> None:
    history = History(job("a"))
    history.add(WorkflowJobReleased, job=0)

    assert (history.job(0).status, history.job(0).job) == ("queued", "w-0")


def test_a_job_that_could_not_be_made_has_no_id() -> None:
    history = History(job("a"))
    history.add(WorkflowJobReleased, job=0)
    history.add(WorkflowJobFailed, job=0, fault=FAULT, made=False)

    assert (history.job(0).status, history.job(0).job) == ("failed", None)


def test_the_runs_of_a_fan_out_are_counted_by_state() -> None:
    history = History(job("each", for_each=Raw(b"\x90")), job("one"))
    history.add(WorkflowJobReleased, job=0)
    assert (history.job(0).status, history.job(0).runs, history.job(0).job) == ("waiting", None, None)

    history.add(WorkflowJobExpanded, job=0, runs=6)
    assert history.job(0).runs == {"waiting": 6, "total": 6}
    ids = [history.release(0, run) for run in range(4)]
    assert (history.job(0).status, history.job(0).waits_for) == ("queued", "for a worker of queue sums")
    history.start(ids[0])
    assert (history.job(0).status, history.job(0).waits_for) == ("running", "")
    history.succeed(0, 1)
    history.add(WorkflowJobFailed, job=0, run=2, fault=FAULT)

    shown = history.view()
    assert shown.jobs[0].status == "running"
    assert shown.jobs[0].runs == {"waiting": 2, "queued": 1, "running": 1, "succeeded": 1, "failed": 1, "total": 6}
    assert shown.counts == {"running": 1, "waiting": 1, "total": 2}
    assert shown.progress == pytest.approx(1 / 6)


def test_runs_that_never_ran_of_a_fan_out_that_has_ended_are_skipped() -> None:
    history = History(job("each", for_each=Raw(b"\x90")))
    history.add(WorkflowJobReleased, job=0)
    history.add(WorkflowJobExpanded, job=0, runs=3)
    history.release(0, 0)
    history.release(0, 1)
    history.succeed(0, 0)
    history.add(WorkflowJobFailed, job=0, fault=FAULT)
    history.add(WorkflowJobWithdrawn, job=0, run=1)

    assert history.job(0).runs == {"succeeded": 1, "cancelled": 1, "skipped": 1, "total": 3}


def test_a_run_that_was_late_for_its_workflow_stays_that() -> None:
    history = History(job("each", for_each=Raw(b"\x90")))
    history.add(WorkflowJobReleased, job=0)
    history.add(WorkflowJobExpanded, job=0, runs=1)
    history.release(0, 0)
    history.add(WorkflowJobTimedOut, job=0, run=0, limit="waiting", fault=LATE)
    history.add(WorkflowJobWithdrawn, job=0, run=0)

    assert history.job(0).runs == {"timed_out": 1, "total": 1}


def test_a_batch_runs_until_the_workflow_is_told_of_its_end() -> None:
    history = History(job("load", batch=BATCH))
    history.add(WorkflowJobReleased, job=0, retry=2, opened=2)
    history.add(BatchOpened, "w_0r2", details=replace(BATCH, workflow=WorkflowPlace("w", 0, "load")))

    shown = history.job(0)
    assert (shown.status, shown.batch, shown.job, shown.waits_for) == ("running", "w_0r2", None, "")
    history.add(BatchPaused, "w_0r2")
    assert history.job(0).waits_for == "its batch is paused"
    history.add(WorkflowJobWithdrawn, job=0)
    assert history.job(0).status == "running"
    history.add(WorkflowJobCancelled, job=0)
    assert (history.job(0).status, history.job(0).batch) == ("cancelled", "w_0r2")


def test_defaults_stand_for_an_output_and_what_comes_late_is_noted() -> None:
    history = History(job("a", on_timeout="use_defaults", defaults=Raw(b"\xc0")), job("b", 0))
    history.release(0)
    history.add(WorkflowJobTimedOut, job=0, limit="total", fault=LATE)
    history.add(WorkflowFallbackApplied, job=0)

    first, second = history.view().jobs
    assert (first.status, first.fallback, first.late, first.ended_at) == ("timed_out", True, None, after(3))
    assert second.waits_for == ""
    history.add(WorkflowJobSucceeded, job=0, late=True)
    first = history.job(0)
    assert (first.status, first.late, first.error, first.ended_at) == ("timed_out", "succeeded", LATE, after(3))


@pytest.mark.parametrize(
    ("ended", "says"),
    [
        (WorkflowJobFailed, "skipped: a has failed"),
        (WorkflowJobTimedOut, "skipped: a has timed out"),
    ],
)
def test_a_job_that_was_skipped_tells_for_whose_end(ended: Any, says: str) -> None:
    history = History(job("a"), job("b", 0), job("c", 1))
    history.release(0)
    history.add(ended, job=0, fault=FAULT, **({"limit": "total"} if ended is WorkflowJobTimedOut else {}))
    history.add(WorkflowJobsSkipped, jobs=(1, 2), because=0)
    history.add(WorkflowPartlyFailed, reason="3 of 3 jobs have no output")

    shown = history.view()
    assert [one.status for one in shown.jobs[1:]] == ["skipped", "skipped"]
    assert [one.waits_for for one in shown.jobs[1:]] == [says, says]
    assert (shown.status, shown.error, shown.progress) == ("partly_failed", "3 of 3 jobs have no output", 1.0)


def test_a_workflow_that_stops_shows_why_and_ends_so() -> None:
    history = History(job("a"), job("b", 0), timeout_seconds=60.0)
    history.release(0)
    history.add(WorkflowPaused)
    history.add(WorkflowStopping, outcome="cancelled", reason="the wrong year")
    history.add(WorkflowJobsSkipped, jobs=(1,))
    shown = history.view()
    assert (shown.status, shown.error, shown.ended_at) == ("stopping", "the wrong year", None)
    assert shown.jobs[1].waits_for == "skipped: the wrong year"

    history.add(WorkflowJobWithdrawn, job=0)
    history.add(WorkflowCancelled, reason="the wrong year")
    shown = history.view()
    assert (shown.status, shown.error, shown.ended_at) == ("cancelled", "the wrong year", after(7))
    assert (shown.jobs[0].status, shown.timeout_at) == ("cancelled", None)


def test_a_retry_lets_all_that_has_no_output_wait_again() -> None:
    history = History(
        job("good"),
        job("bad", 0),
        job("default", defaults=Raw(b"\xc0")),
        job("each", for_each=Raw(b"\x90")),
        job("last", 1),
    )
    history.release(0)
    history.succeed(0)
    history.release(1)
    history.add(WorkflowJobFailed, job=1, fault=FAULT)
    history.release(2)
    history.add(WorkflowJobFailed, job=2, fault=FAULT)
    history.add(WorkflowFallbackApplied, job=2)
    history.add(WorkflowJobReleased, job=3)
    history.add(WorkflowJobExpanded, job=3, runs=2)
    history.release(3, 0)
    history.release(3, 1)
    history.succeed(3, 0)
    history.add(WorkflowJobFailed, job=3, run=1, fault=FAULT)
    history.add(WorkflowJobFailed, job=3, fault=FAULT)
    history.add(WorkflowJobsSkipped, jobs=(4,), because=1)
    history.add(WorkflowFailed, reason="no")
    history.add(WorkflowRetried, retry=1)

    shown = history.view()
    assert (shown.status, shown.error, shown.ended_at, shown.retries) == ("running", None, None, 1)
    assert [one.status for one in shown.jobs] == ["succeeded", "waiting", "failed", "waiting", "waiting"]
    assert [one.error for one in shown.jobs] == [None, None, FAULT, None, None]
    assert [one.waits_for for one in shown.jobs] == ["", "", "", "", "for bad"]
    assert shown.jobs[3].runs == {"succeeded": 1, "waiting": 1, "total": 2}

    history.add(WorkflowJobReleased, job=1, retry=1, again=True)
    history.add(JobRedriven, "w-1", redrive=1)
    history.add(JobQueued, "w-1", attempt=2, details=JobDetails("add", "sums", EMPTY))
    assert (history.job(1).status, history.job(1).attempt) == ("queued", 2)


def test_the_time_limit_of_a_retry_counts_from_its_beginning() -> None:
    history = History(job("a"), timeout_seconds=60.0)
    history.add(WorkflowFailed, reason="no")
    history.add(WorkflowRetried, retry=1)

    assert history.view().timeout_at == after(2 + 60)


def test_a_job_tells_what_it_waits_for() -> None:
    history = History(job("a"), job("b"), job("c", 0, 1), max_parallel=1)
    history.release(0)
    assert history.job(1).waits_for == "max_parallel is reached"
    assert history.job(2).waits_for == "for a, b"

    history.succeed(0)
    assert history.job(2).waits_for == "for b"
    history.add(WorkflowPaused)
    assert history.job(1).waits_for == "the workflow is paused"
    history.add(WorkflowResumed)
    assert history.job(1).waits_for == "max_parallel is reached"


def test_a_job_that_waits_for_very_many_names_some() -> None:
    history = History(*(job(f"j{number}") for number in range(9)), job("all", *range(9)))

    assert history.job(9).waits_for == "for j0, j1, j2, j3, j4 and 4 more"


def test_the_critical_path_is_the_chain_that_takes_longest_by_now() -> None:
    history = History(job("a"), job("short", 0), job("long", 0), job("end", 1, 2))
    history.release(0)
    history.succeed(0)
    for id_ in (history.release(2), history.release(1)):
        history.start(id_)
    history.succeed(1)
    assert history.view(after(100)).critical_path == ["a", "long", "end"]
    history.succeed(2)
    history.release(3)

    shown = history.view(after(100))
    assert shown.critical_path == ["a", "long", "end"]
    assert [one.name for one in shown.jobs if one.critical] == ["a", "long", "end"]


def test_what_took_several_attempts_took_the_time_of_all_of_them() -> None:
    history = History(job("quick"), job("again"))
    id_ = history.release(1)
    history.add(
        JobAttemptFailed, id_, attempt=1, worker="v", started_at=NOW, timed_out=False, fault=FAULT, retry_at=NOW
    )
    history.release(0)
    history.succeed(0)
    history.add(JobQueued, id_, attempt=2, details=JobDetails("add", "sums", EMPTY))
    started_at = after(len(history.events))
    history.add(JobSucceeded, id_, attempt=2, worker="v", started_at=started_at, result=Result())
    history.add(WorkflowJobSucceeded, job=1)

    assert history.view().critical_path == ["again"]


def test_workflows_are_listed_newest_first_and_without_their_jobs() -> None:
    histories = [History(job("a"), id_=f"w{number}", name=name) for number, name in enumerate(["x", "y", "x"])]
    histories[2].add(WorkflowPaused)
    histories[1].add(WorkflowJobReleased, job=0)
    histories[1].add(WorkflowJobSucceeded, job=0)
    histories[1].add(WorkflowSucceeded)
    events = [event for history in histories for event in history.events]
    views = fold(Recorded(sequence, event) for sequence, event in enumerate(events, start=1))

    def ids(**wanted: Any) -> list[str]:
        return [one.id for one in views.workflows(**wanted).workflows]

    assert ids() == ["w2", "w1", "w0"]
    assert (ids(name="x"), ids(status="paused"), ids(status="running")) == (["w2", "w0"], ["w2"], ["w0"])
    assert ids(status="succeeded", name="y") == ["w1"]
    page = views.workflows(limit=2)
    assert ids(limit=2, after=page.next) == ["w0"]
    assert page.workflows[1] == replace(views.workflow("w1"), jobs=[], critical_path=[], params=None)  # type: ignore[type-var]
    assert page.workflows[0].status == "paused"


def test_jobs_and_batches_tell_of_which_workflow_they_are() -> None:
    history = History(job("a"), job("b"))
    history.release(0)
    history.add(JobQueued, "alone", attempt=1, details=JobDetails("add", "sums", EMPTY))
    history.add(BatchOpened, "w_1", details=replace(BATCH, workflow=WorkflowPlace("w", 1, "b")))
    history.add(BatchOpened, "b", details=BATCH)
    views = history.views

    assert [one.id for one in views.jobs(workflow="w").jobs] == ["w-0"]
    assert [(one.id, one.workflow) for one in views.jobs().jobs] == [("alone", None), ("w-0", "w")]
    assert [(one.id, one.workflow) for one in views.batches().batches] == [("b", None), ("w_1", "w")]


STEPS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 99)), min_size=4, max_size=40)
OUTCOMES = ("succeeded", "succeeded", "failed", "succeeded", "timed_out", "cancelled")
RULES = st.sampled_from(["fail_workflow", "fail_dependents", "use_defaults"])
STEERING: tuple[WorkflowCommand, ...] = (
    PauseWorkflow(id="w"),
    ResumeWorkflow(id="w"),
    RetryWorkflow(id="w"),
    CancelWorkflow(id="w", reason="enough"),
)


@st.composite
def workflows(draw: st.DrawFn) -> WorkflowDetails:
    jobs = []
    for number in range(draw(st.integers(1, 5))):
        needs = draw(st.sets(st.integers(0, number - 1), max_size=2)) if number else set()
        rule = draw(RULES)
        how: dict[str, Any] = {"on_failure": rule, "on_timeout": rule, "defaults": Raw(b"\xc0")}
        limits = draw(st.sampled_from([{}, {"total_timeout_seconds": 60.0}, {"waiting_timeout_seconds": 10.0}]))
        make = draw(st.sampled_from([plain, plain, fan_out, batch]))
        if make is fan_out:
            how["tolerated_failures"] = draw(st.sampled_from([None, 1]))
        jobs.append(make(*needs, **how, **limits))
    return workflow(*jobs, max_parallel=draw(st.sampled_from([None, None, 2])), timeout_seconds=60.0)


@settings(max_examples=300)
@given(workflows(), STEPS, st.integers(0, 3))
def test_the_views_show_what_the_state_of_the_workflow_is(
    details: WorkflowDetails, steps: list[tuple[int, int]], items: int
) -> None:
    world = World(details, items=lambda _: items, is_possible=lambda place: sum(filter(None, place)) % 7 != 5)
    for step, choice in steps:
        carry_out(world, step, choice)
    recorded = [Recorded(sequence, event) for sequence, event in enumerate(world.history, start=1)]
    views = fold(recorded)

    shown = views.workflow("w", world.now)
    assert shown
    assert_same(shown, world.state)
    assert views.workflows().workflows == [replace(shown, jobs=[], critical_path=[], params=None)]
    assert views.jobs().jobs == []
    one_by_one = create()
    for one in recorded:
        apply(one_by_one, [one])
    assert Views(one_by_one).workflow("w", world.now) == shown


def carry_out(world: World, step: int, choice: int) -> None:
    """Let something happen in a world, if it can."""
    at_work = world.at_work()
    place = at_work[choice % len(at_work)] if at_work else None
    try:
        match step:
            case 0 | 1 | 2 | 3 | 4 if place:
                world.end(place, OUTCOMES[choice % len(OUTCOMES)])  # type: ignore[arg-type] # one of the outcomes
            case 5 if place in world.jobs and world.jobs[place].status == "queued":
                world.begin(place)
            case 6 if world.armed:
                world.expire(world.armed[choice % len(world.armed)])
            case 7:
                world.go_on()
            case 8:
                overdue = ExpireWorkflow(id="w", since=world.state.began_at or world.now)
                steering = (*STEERING, overdue)
                world.ask(steering[choice % len(steering)])
            case 9:
                world.ask(RetryWorkflow(id="w"))
    except Refusal:
        pass


def assert_same(shown: WorkflowView, state: WorkflowState) -> None:
    """Compare a view with the state that decisions are made of; of jobs themselves nothing is known here."""
    assert shown.status == ("paused" if state.paused else state.status)
    assert (shown.retries, shown.ended_at is not None) == (state.retry, state.status in ENDED_WORKFLOW)
    if state.status not in ENDED_WORKFLOW:
        assert state.began_at
        assert (shown.error or "", shown.timeout_at) == (state.reason, state.began_at + timedelta(seconds=60))
    for one, known in zip(shown.jobs, state.jobs, strict=True):
        part, fan = known.part, known.fan_out
        at_work = {"queued", "running", "waiting"} if fan else {"queued", "running"}
        assert one.status in (at_work if part.status == "released" else {part.status})
        assert (one.fallback, one.released_at) == (known.fallback, part.released_at)
        assert (one.ended_at is not None) == (part.settled and part.status != "skipped")
        assert (one.runs is None) == (fan is None)
        if fan:
            names = {"released": "queued", "waiting": "skipped" if part.settled else "waiting"}
            counts: Counter[str] = Counter(names.get(run.status, run.status) for run in fan.runs)
            assert one.runs == {**counts, "total": len(fan.runs)}
    statuses: Counter[str] = Counter(one.status for one in shown.jobs)
    assert shown.counts == {**statuses, "total": len(shown.jobs)}
    assert shown.progress == pytest.approx(mean(map(share_ended, state.jobs)))


def share_ended(known: JobState) -> float:
    if known.part.settled:
        return 1.0
    runs = known.fan_out.runs if known.fan_out else ()
    return sum(run.settled for run in runs) / max(1, len(runs))
