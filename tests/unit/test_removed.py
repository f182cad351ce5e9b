"""Folding `log.trimmed`: the same rows stay, however much of the log was purged after it."""

import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from events.batch import (
    BatchCompleted,
    BatchCompletedWithFailures,
    BatchDetails,
    BatchFailed,
    BatchOpened,
    BatchRedriven,
    FileFault,
    FileFound,
    RowsQuarantined,
)
from events.batch_results import ResultsFailed, ResultsRequested
from events.catalog import KINDS, AnyEvent, encode
from events.jetstream.log import Recorded
from events.jetstream.purge import ALL, Removed
from events.job import JobAttemptFailed, JobCancelled, JobFailed, JobQueued, JobRedriven, JobStarted, JobSucceeded
from events.log import LOG_ID, LogTrimmed
from events.workflow import (
    WorkflowDetails,
    WorkflowFailed,
    WorkflowFallbackApplied,
    WorkflowJob,
    WorkflowJobExpanded,
    WorkflowJobReleased,
    WorkflowJobSucceeded,
    WorkflowJobTimedOut,
    WorkflowRetried,
    WorkflowScheduled,
    WorkflowSucceeded,
)
from projections.removed import oldest_job, to_purge
from projections.tables import apply, create
from rota.protocol import JobDetails, JobFault, Payload, Result, Rows, WorkflowPlace

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
PARAMS = msgspec.Raw(encode({}))
FAULT = JobFault(type="E", message="no")
BATCH = BatchDetails(spec="s", queue="q", files=("a",), rows_per_job=1, max_jobs_in_flight=1, params=PARAMS)


def place(workflow: str | None) -> WorkflowPlace | None:
    return WorkflowPlace(workflow, 0, "each") if workflow else None


def details(batch: str | None, workflow: str | None) -> JobDetails:
    rows = Rows(batch, "a", 0, 0, 0, 1, Payload("x", 1, "")) if batch else None
    return JobDetails(spec="s", queue="q", params=PARAMS, rows=rows, workflow=place(workflow))


def job(id_: str, batch: str | None, *steps: str, workflow: str | None = None) -> list[AnyEvent]:
    """Return a job's history by the names of its events."""
    run: dict[str, Any] = {"attempt": 1, "worker": "w", "started_at": NOW}
    payload = Payload(f"rota.result.{id_}", 1, "")
    makers: dict[str, Callable[[dict[str, Any]], AnyEvent]] = {
        "queued": lambda facts: JobQueued(**facts, attempt=1, details=details(batch, workflow)),
        "started": lambda facts: JobStarted(**facts, **run),
        "attempt_failed": lambda facts: JobAttemptFailed(
            **facts, **run, fault=FAULT, timed_out=False, retry_at=NOW
        ),
        "succeeded": lambda facts: JobSucceeded(**facts, **run, batch=batch, result=Result()),
        "large": lambda facts: JobSucceeded(**facts, **run, batch=batch, result=Result(payload=payload)),
        "failed": lambda facts: JobFailed(**facts, **run, batch=batch, fault=FAULT),
        "cancelled": lambda facts: JobCancelled(**facts, attempt=1, batch=batch),
        "redriven": lambda facts: JobRedriven(**facts, redrive=1, batch=batch),
    }
    facts = [{"originator_id": id_, "originator_version": version, "at": NOW} for version in range(1, 9)]
    return [makers[step](fact) for step, fact in zip(steps, facts, strict=False)]


LATER = ["collected", "quarantined", "redriven"]
"""Batches of which something is told after their end, or before it."""


def batch(id_: str, end: str | None, workflow: str | None = None) -> list[AnyEvent]:
    facts: dict[str, Any] = {"originator_id": id_, "at": NOW}
    begun: list[AnyEvent] = [
        BatchOpened(**facts, originator_version=1, details=replace(BATCH, workflow=place(workflow))),
        FileFound(**facts, originator_version=2, file_index=0, size=1, file_version="1"),
    ]
    failures = BatchCompletedWithFailures(**facts, originator_version=3, succeeded=0, failed=1, reason="one")
    match end:
        case "completed":
            return [*begun, BatchCompleted(**facts, originator_version=3, succeeded=0, failed=0)]
        case "failed":
            return [*begun, BatchFailed(**facts, originator_version=3, reason="no")]
        case "redriven":
            return [*begun, failures, BatchRedriven(**facts, originator_version=4, mends=(0,))]
        case "collected":
            asked = ResultsRequested(**facts, originator_version=4, collection="c", format="ods")
            return [
                *begun,
                failures,
                asked,
                ResultsFailed(**facts, originator_version=5, collection="c", reason="no"),
            ]
        case "quarantined":
            faults = (FileFault("no"),)
            bad = RowsQuarantined(**facts, originator_version=3, file_index=0, bad_before=0, faults=faults)
            return [*begun, bad, replace(failures, originator_version=4)]
    return begun


ENDS = ["succeeded", "failed", "late", "retried"]
"""How a workflow ends; `late`: it is told of a job after that."""


def workflow(id_: str, end: str | None) -> list[AnyEvent]:
    """Return the history of a workflow with a fan-out, and a job after it."""
    jobs = (
        WorkflowJob("each", "s", "q", PARAMS, for_each=msgspec.Raw(b"\x90")),
        WorkflowJob("last", "s", "q", PARAMS, needs=(0,)),
    )
    plan: list[tuple[Any, dict[str, Any]]] = [
        (WorkflowScheduled, {"details": WorkflowDetails("w", jobs)}),
        (WorkflowJobReleased, {"job": 0}),
        (WorkflowJobExpanded, {"job": 0, "runs": 1}),
        (WorkflowJobReleased, {"job": 0, "run": 0}),
    ]
    ends: dict[str | None, list[tuple[Any, dict[str, Any]]]] = {
        None: [],
        "succeeded": [(WorkflowJobSucceeded, {"job": 0, "run": 0}), (WorkflowSucceeded, {})],
        "failed": [(WorkflowFailed, {"reason": "no"})],
        "late": [
            (WorkflowJobTimedOut, {"job": 0, "limit": "total", "fault": FAULT}),
            (WorkflowFallbackApplied, {"job": 0}),
            (WorkflowSucceeded, {}),
            (WorkflowJobSucceeded, {"job": 0, "run": 0, "late": True}),
        ],
        "retried": [(WorkflowFailed, {}), (WorkflowRetried, {"retry": 1})],
    }
    return [
        type_(originator_id=id_, originator_version=version, at=NOW, **facts)
        for version, (type_, facts) in enumerate([*plan, *ends[end]], start=1)
    ]


def in_order(*events: AnyEvent) -> list[Recorded]:
    return [Recorded(sequence, event) for sequence, event in enumerate(events, start=1)]


def folded(recorded: list[Recorded]) -> sqlite3.Connection:
    connection = create()
    apply(connection, recorded)
    return connection


def trimmed(recorded: list[Recorded], until: int) -> Recorded:
    """Return what is appended to a log that ends with these events."""
    event = LogTrimmed(
        originator_id=LOG_ID,
        originator_version=1,
        at=NOW,
        before=NOW,
        until=until,
        oldest_job=oldest_job(folded(recorded), until),
    )
    return Recorded(recorded[-1].sequence + 1, event)


TABLES = (
    *("jobs", "batches", "batch_files", "batch_jobs", "batch_bad_rows", "batch_results"),
    *("workflows", "workflow_jobs", "workflow_runs"),
)
NOTHING: dict[str, list[Any]] = {table: [] for table in TABLES}


def rows(connection: sqlite3.Connection) -> dict[str, list[Any]]:
    """Return all that the tables show."""
    return {table: connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall() for table in TABLES}


def shown(connection: sqlite3.Connection, table: str) -> list[str]:
    return [id_ for (id_,) in connection.execute(f"SELECT id FROM {table} ORDER BY id")]


def after(*events: AnyEvent, until: int) -> sqlite3.Connection:
    recorded = in_order(*events)
    return folded([*recorded, trimmed(recorded, until)])


def test_a_job_that_has_ended_by_then_goes_and_others_stay() -> None:
    old, late, waiting = (
        job("old", None, "queued", "succeeded"),
        job("late", None, "queued", "succeeded"),
        "waits",
    )
    tables = after(*old, late[0], *job(waiting, None, "queued"), late[1], until=4)

    assert shown(tables, "jobs") == ["late", "waits"]


def test_the_jobs_of_a_batch_go_only_together_with_it() -> None:
    ended = job("b-0", "b", "queued", "succeeded")

    assert shown(after(*batch("b", None), *ended, until=4), "jobs") == ["b-0"]
    tables = after(*batch("b", None), *ended, batch("b", "completed")[2], until=5)
    assert shown(tables, "jobs") == []
    assert rows(tables) == NOTHING


def test_a_job_that_was_redriven_stays_until_it_has_ended_again() -> None:
    redriven = job("j", None, "queued", "failed", "redriven", "queued", "succeeded")

    assert shown(after(*redriven[:4], until=4), "jobs") == ["j"]
    tables = after(*redriven, until=5)
    assert shown(tables, "jobs") == []
    assert to_purge(tables, 9) == [Removed(1, "job", ALL, 0, 5, 0)]
    waits = after(*redriven[:1], *job("waits", None, "queued"), *redriven[1:], until=6)
    assert to_purge(waits, 9)[0] == Removed(1, "job", "j", 1, 6, 5)


def test_a_batch_goes_with_all_that_was_told_of_it_after_its_end() -> None:
    collected = batch("b", "collected")

    assert shown(after(*collected, until=4), "batches") == ["b"]
    tables = after(*collected, until=5)
    assert rows(tables) == NOTHING
    assert to_purge(tables, 9)[0] == Removed(1, "batch", "b", 0, 5, 5)


def test_the_bad_rows_of_a_batch_go_with_it() -> None:
    quarantined = batch("b", "quarantined")

    assert len(rows(after(*quarantined, until=3))["batch_bad_rows"]) == 1
    assert rows(after(*quarantined, until=4)) == NOTHING


def test_a_workflow_goes_with_its_jobs_its_batches_and_the_jobs_of_these() -> None:
    parts = [
        *job("w-0-0", None, "queued", "succeeded", workflow="w"),
        *batch("w_1", "completed", "w"),
        *job("w_1-0", "w_1", "queued", "succeeded"),
    ]
    whole = workflow("w", "succeeded")

    tables = after(*whole[:-1], *parts, whole[-1], until=len(whole + parts) - 1)
    assert (shown(tables, "workflows"), shown(tables, "batches")) == (["w"], ["w_1"])
    assert shown(tables, "jobs") == ["w-0-0", "w_1-0"]
    tables = after(*whole[:-1], *parts, whole[-1], until=len(whole + parts))
    assert rows(tables) == NOTHING
    assert to_purge(tables, 9) == [
        Removed(1, "workflow", "w", 0, 13, 6),
        Removed(2, "batch", "w_1", 0, 10, 3),
        Removed(3, "job", ALL, 0, 13, 0),
    ]


@pytest.mark.parametrize(
    "running",
    [
        job("w-0-0", None, "queued", workflow="w"),
        batch("w_1", None, "w"),
        [*batch("w_1", "failed", "w"), *job("w_1-0", "w_1", "queued")],
    ],
    ids=["a job", "a batch", "a job of a batch"],
)
def test_a_workflow_stays_as_long_as_one_of_its_parts_runs(running: list[AnyEvent]) -> None:
    ended = job("w-0-1", None, "queued", "succeeded", workflow="w")
    tables = after(*workflow("w", "succeeded"), *ended, *running, until=20)

    assert shown(tables, "workflows") == ["w"]
    assert "w-0-1" in shown(tables, "jobs")
    assert to_purge(tables, 9) == [Removed(1, "job", ALL, 0, 6, 0)]


def test_a_workflow_goes_with_what_came_late() -> None:
    late = workflow("w", "late")

    assert shown(after(*late, until=7), "workflows") == ["w"]
    tables = after(*late, until=8)
    assert rows(tables) == NOTHING
    assert to_purge(tables, 9)[0] == Removed(1, "workflow", "w", 0, 8, 8)


def test_a_workflow_that_was_retried_stays() -> None:
    assert shown(after(*workflow("w", "retried"), until=6), "workflows") == ["w"]


def test_a_batch_that_was_redriven_stays() -> None:
    assert shown(after(*batch("b", "redriven"), until=4), "batches") == ["b"]


def test_a_failed_batch_stays_as_long_as_one_of_its_jobs_runs() -> None:
    tables = after(
        *batch("b", "failed"), *job("b-0", "b", "queued", "succeeded"), *job("b-1", "b", "queued"), until=6
    )

    assert shown(tables, "batches") == ["b"]
    assert shown(tables, "jobs") == ["b-0", "b-1"]


def test_what_goes_is_listed_for_the_purge_and_most_jobs_all_at_once() -> None:
    old, straddling = (
        job("old", None, "queued", "succeeded"),
        job("straddling", None, "queued", "started", "failed"),
    )
    large = job("large", None, "queued", "large")
    tables = after(*old, *large, straddling[0], *job("waits", None, "queued"), *straddling[1:], until=8)

    assert to_purge(tables, 9) == [
        Removed(1, "job", "large", 3, 4, 0, large_result=True),
        Removed(2, "job", "straddling", 5, 8, 3),
        Removed(3, "job", ALL, 0, 5, 0),
    ]


def test_a_job_of_which_a_killed_server_has_kept_the_first_event_alone_stays_away() -> None:
    recorded = in_order(*job("old", None, "queued", "succeeded"), *job("waits", None, "queued"))
    trim = trimmed(recorded, 2)

    assert shown(folded([recorded[0], recorded[2], trim]), "jobs") == ["waits"]


STEPS = st.sampled_from(
    [
        ("queued",),
        ("queued", "cancelled"),
        ("queued", "succeeded"),
        ("queued", "large"),
        ("queued", "started"),
        ("queued", "started", "failed"),
        ("queued", "attempt_failed"),
        ("queued", "attempt_failed", "queued", "succeeded"),
        ("queued", "failed", "redriven", "queued"),
        ("queued", "failed", "redriven", "queued", "succeeded"),
    ]
)


@st.composite
def logs(draw: st.DrawFn) -> list[Recorded]:
    """Return the histories of some workflows, batches and jobs, mixed; a whole begins before its parts."""
    wholes = [f"w{number}" for number in range(draw(st.integers(0, 2)))]
    histories = [workflow(id_, draw(st.sampled_from([None, *ENDS]))) for id_ in wholes]
    batches = [f"b{number}" for number in range(draw(st.integers(0, 2)))]
    for id_ in batches:
        end = draw(st.sampled_from([None, "completed", "failed", *LATER]))
        histories.append(batch(id_, end, draw(st.sampled_from([None, *wholes]))))
    begun = len(histories)
    for number, steps in enumerate(draw(st.lists(STEPS, max_size=6))):
        of = draw(st.sampled_from([None, *wholes, *batches]))
        parent = {"batch": of if of in batches else None, "workflow": of if of in wholes else None}
        histories.append(job(f"j{number}", parent["batch"], *steps, workflow=parent["workflow"]))
    events: list[AnyEvent] = [history.pop(0) for history in histories[:begun]]
    while left := [history for history in histories if history]:
        events.append(draw(st.sampled_from(left)).pop(0))
    return in_order(*events)


@settings(deadline=None, max_examples=200)
@given(logs().filter(bool), st.data())
def test_a_purge_that_was_interrupted_anywhere_changes_no_fold(
    recorded: list[Recorded], data: st.DataObject
) -> None:
    until = data.draw(st.integers(0, len(recorded)))
    trim = trimmed(recorded, until)
    expected = folded([*recorded, trim])
    todo = to_purge(expected, 1000)
    done = data.draw(st.integers(0, len(todo)))

    left = [one for one in recorded if not any(purged(item, one) for item in todo[:done])]
    if done < len(todo):
        begun = [one for one in left if purged(todo[done], one)]
        if todo[done].id == ALL:  # the server may have kept any of them
            gone = begun and data.draw(st.lists(st.sampled_from(begun)))
        else:
            gone = begun[: data.draw(st.integers(0, len(begun)))]
        left = [one for one in left if one not in gone]

    assert rows(folded([*left, trim])) == rows(expected)


@given(logs().filter(bool), st.data())
def test_what_stays_keeps_all_its_events(recorded: list[Recorded], data: st.DataObject) -> None:
    tables = folded([*recorded, trimmed(recorded, data.draw(st.integers(0, len(recorded))))])
    kept = {id_ for table in ("jobs", "batches", "workflows") for id_ in shown(tables, table)}

    for one in recorded:
        gone = any(purged(item, one) for item in to_purge(tables, 1000))
        assert gone == (one.event.originator_id not in kept)


def purged(item: Removed, one: Recorded) -> bool:
    """Say whether an event goes with an item of the list."""
    if KINDS[type(one.event)] != item.kind or one.sequence > item.last:
        return False
    return item.id == ALL or (item.events > 0 and item.id == one.event.originator_id)
