"""Events folded into tables and read as views, in memory."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from events.base import Refusal
from events.batch import (
    BatchAdvanced,
    BatchCompleted,
    BatchCompletedWithFailures,
    BatchDetails,
    BatchFailed,
    BatchOpened,
    BatchRedriven,
    BatchSealed,
    FileFailed,
    FileFault,
    FileFinished,
    FileFound,
    FilesListed,
    JobsCounted,
    Position,
    RowsQuarantined,
)
from events.batch_control import BatchCancelled, BatchCancelling, BatchPaused, BatchResumed
from events.batch_results import ResultsCollected, ResultsFailed, ResultsRequested
from events.catalog import encode
from events.jetstream.log import Recorded
from events.job import (
    JOB,
    CancelJob,
    JobAttemptFailed,
    JobCancelled,
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
)
from events.spec import Definition, SpecChanged, SpecRegistered
from projections.batch_queries import BadRows
from projections.tables import apply, create
from projections.views import Views, fold
from rota.batch_protocol import BatchView, FailedJobs, FileView, Manifest, ResultsView
from rota.errors import InvalidRequestError, NotFoundError, UnavailableError
from rota.protocol import (
    ENDED_JOB,
    FailJob,
    JobDetails,
    JobFault,
    JobView,
    Payload,
    ProgressJob,
    Result,
    RetryPolicy,
    Rows,
    SpecView,
    StartJob,
    SucceedJob,
)

NOW = datetime(2026, 5, 1, 12, 0, 0, 123456, tzinfo=UTC)
FAULT = JobFault("ValueError", "no such thing", "Traceback")


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def rows_of(batch: str, index: int = 0, first_row: int = 0, count: int = 1, file_index: int = 0) -> Rows:
    payload = Payload("rota.payload.x", 1, "digest")
    return Rows(batch, "a.csv", file_index, index, first_row, count, payload, "json", "v1", 700, {"id": "int64"})


def details(*, batch: str | None = None, **changes: Any) -> JobDetails:
    rows = rows_of(batch) if batch else None
    known: dict[str, Any] = {"spec": "add", "queue": "sums", "params": msgspec.Raw(encode({"a": 1})), "rows": rows}
    return JobDetails(**known | changes)


def make(type_: Any, id_: str, version: int, at: datetime = NOW, **facts: Any) -> Any:
    return type_(originator_id=id_, originator_version=version, at=at, **facts)


def queued(id_: str = "j", version: int = 1, *, attempt: int = 1, at: datetime = NOW, **changes: Any) -> JobQueued:
    return JobQueued(
        originator_id=id_, originator_version=version, at=at, attempt=attempt, details=details(**changes)
    )


def ended(type_: Any, id_: str = "j", version: int = 2, *, attempt: int = 1, at: datetime = NOW) -> Any:
    facts: dict[str, Any] = {"worker": "w", "started_at": NOW}
    facts |= {"result": Result()} if type_ is JobSucceeded else {"fault": FAULT}
    return make(type_, id_, version, at, attempt=attempt, **facts)


def views(*events: Any) -> Views:
    return fold(Recorded(sequence, event) for sequence, event in enumerate(events, start=1))


def job(*events: Any) -> JobView:
    view = views(*events).job("j")
    assert view
    return view


def batch(*events: Any) -> BatchView:
    view = views(*events).batch("b")
    assert view
    return view


def test_a_queued_job_shows_what_it_was_scheduled_with() -> None:
    assert job(queued(labels={"team": "blue"}, batch="b")) == JobView(
        id="j",
        spec="add",
        queue="sums",
        status="queued",
        attempt=1,
        params={"a": 1},
        labels={"team": "blue"},
        batch="b",
        scheduled_at=NOW,
        queued_at=NOW,
        rows=rows_of("b"),
    )


def test_a_job_for_later_is_scheduled_until_its_time() -> None:
    scheduled = make(JobScheduled, "j", 1, details=details(), run_at=after(60))

    view = job(scheduled)
    assert (view.status, view.attempt, view.run_at, view.queued_at) == ("scheduled", 0, after(60), None)

    view = job(scheduled, queued(version=2, at=after(60.5)))
    assert (view.status, view.attempt) == ("queued", 1)
    assert (view.scheduled_at, view.run_at, view.queued_at) == (NOW, after(60), after(60.5))


def test_a_running_job_shows_its_worker_and_progress() -> None:
    started = make(JobStarted, "j", 2, after(2), attempt=1, worker="w", started_at=after(1))

    view = job(queued(), started, make(JobProgressed, "j", 3, after(3), attempt=1, percent=40.0))

    assert (view.status, view.worker, view.started_at, view.progress) == ("running", "w", after(1), 40.0)


def test_a_job_that_is_over_at_once_has_its_start_and_end_from_one_event() -> None:
    view = job(
        queued(), make(JobSucceeded, "j", 2, after(2), attempt=1, worker="w", started_at=NOW, result=Result())
    )

    assert (view.status, view.worker, view.started_at, view.ended_at) == ("succeeded", "w", NOW, after(2))


def test_a_failed_attempt_waits_with_its_fault_and_the_next_begins_afresh() -> None:
    failed = make(
        JobAttemptFailed,
        "j",
        3,
        after(2),
        attempt=1,
        worker="w",
        started_at=NOW,
        fault=FAULT,
        timed_out=False,
        retry_at=after(10),
    )
    history = [queued(), make(JobProgressed, "j", 2, attempt=1, percent=40.0), failed]

    view = job(*history)
    assert (view.status, view.attempt, view.run_at, view.error) == ("scheduled", 1, after(10), FAULT)
    assert (view.worker, view.started_at) == ("w", NOW)

    view = job(*history, queued(version=4, attempt=2, at=after(10)))
    assert (view.status, view.attempt, view.queued_at, view.error) == ("queued", 2, after(10), FAULT)
    assert (view.worker, view.started_at, view.progress) == (None, None, None)
    assert (view.scheduled_at, view.run_at) == (NOW, after(10))


@pytest.mark.parametrize(("type_", "status"), [(JobFailed, "failed"), (JobTimedOut, "timed_out")])
def test_a_job_that_failed_shows_its_fault(type_: Any, status: str) -> None:
    view = job(queued(), ended(type_, at=after(2)))

    assert (view.status, view.error, view.worker, view.ended_at) == (status, FAULT, "w", after(2))


def test_a_cancelled_job_has_ended() -> None:
    view = job(queued(), make(JobCancelled, "j", 2, after(2), attempt=1))

    assert (view.status, view.ended_at) == ("cancelled", after(2))


def test_a_time_without_a_zone_is_utc_and_every_microsecond_is_kept() -> None:
    started_at = datetime(9999, 12, 31, 23, 59, 59, 999999)  # noqa: DTZ001 - what a worker may send
    started = make(JobStarted, "j", 2, attempt=1, worker="w", started_at=started_at)

    assert job(queued(), started).started_at == started_at.replace(tzinfo=UTC)


def test_what_is_not_known_is_none() -> None:
    empty = views()

    assert (empty.job("j"), empty.batch("b"), empty.spec("add"), empty.specs()) == (None, None, None, [])
    assert (empty.jobs().jobs, empty.jobs().next, empty.position()) == ([], None, 0)


def test_jobs_are_listed_newest_first_page_by_page() -> None:
    found = views(*(queued(f"j-{number}") for number in range(5)), ended(JobSucceeded, "j-0"))

    pages = [found.jobs(limit=2)]
    while pages[-1].next:
        pages.append(found.jobs(limit=2, after=pages[-1].next))

    assert [[view.id for view in page.jobs] for page in pages] == [["j-4", "j-3"], ["j-2", "j-1"], ["j-0"]]


def test_a_page_that_is_just_full_is_the_last() -> None:
    assert views(queued("j-0"), queued("j-1")).jobs(limit=2).next is None


@pytest.mark.parametrize("cursor", ["", "zz", "-1", "1 OR 1", "f" * 16])
def test_a_cursor_that_no_page_gave_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidRequestError, match="no cursor"):
        views(queued()).jobs(after=cursor)


FILTERS: list[tuple[dict[str, Any], list[str]]] = [
    ({"status": "queued"}, ["other-spec", "other-queue", "member"]),
    ({"status": "succeeded"}, ["done"]),
    ({"status": "failed"}, ["failed"]),
    ({"queue": "slow"}, ["other-queue"]),
    ({"spec": "load"}, ["other-spec"]),
    ({"batch": "b"}, ["member"]),
    ({"status": "queued", "queue": "sums", "spec": "add"}, ["member"]),
    ({"status": "running"}, []),
    ({"queue": "nowhere"}, []),
]


def some_jobs() -> Views:
    return views(
        queued("done"),
        queued("failed"),
        queued("member", batch="b"),
        queued("other-queue", queue="slow"),
        queued("other-spec", spec="load"),
        ended(JobSucceeded, "done"),
        ended(JobFailed, "failed"),
    )


@pytest.mark.parametrize(("filters", "expected"), FILTERS)
def test_jobs_are_filtered(filters: dict[str, Any], expected: list[str]) -> None:
    assert [view.id for view in some_jobs().jobs(**filters).jobs] == expected


@pytest.mark.parametrize("filters", [filters for filters, _ in FILTERS if filters != {"status": "succeeded"}])
def test_no_filter_reads_all_jobs(filters: dict[str, Any]) -> None:
    found = some_jobs()
    queries: list[str] = []
    found._connection.set_trace_callback(queries.append)

    found.jobs(**filters)

    found._connection.set_trace_callback(None)
    plan = [row["detail"] for row in found._connection.execute(f"EXPLAIN QUERY PLAN {queries[0]}")]
    assert len(plan) == 1
    assert plan[0].startswith("SEARCH jobs USING INDEX jobs_by_"), plan


def opened(*files: str) -> BatchOpened:
    asked = BatchDetails(
        spec="add",
        queue="sums",
        files=files,
        rows_per_job=1000,
        max_jobs_in_flight=10,
        params=msgspec.Raw(encode({})),
        labels={"team": "blue"},
    )
    return BatchOpened(originator_id="b", originator_version=1, at=NOW, details=asked)


def test_a_batch_shows_its_files_as_they_are_read() -> None:
    history = [
        opened("a.csv", "b.csv", "c.csv"),
        make(FileFound, "b", 2, file_index=0, size=700, file_version="v"),
        make(BatchAdvanced, "b", 3, file_index=0, position=Position(), rows=1000, jobs=1),
        make(FileFinished, "b", 4, file_index=0, rows=1500, jobs=2),
        make(FileFound, "b", 5, file_index=1, size=None, file_version=None),
        make(BatchAdvanced, "b", 6, file_index=1, position=Position(), rows=1000, jobs=1),
    ]

    assert batch(*history) == BatchView(
        id="b",
        spec="add",
        status="reading",
        files=[
            FileView(path="a.csv", status="finished", size=700, version="v", format="csv", rows=1500, jobs=2),
            FileView(path="b.csv", status="reading", format="csv", rows=1000, jobs=1),
        ],
        files_total=3,
        rows=2500,
        jobs={"total": 0},
        opened_at=NOW,
        labels={"team": "blue"},
    )


def test_a_batch_is_sealed_and_completed() -> None:
    history = [
        opened("a.csv"),
        make(FileFinished, "b", 2, file_index=0, rows=0, jobs=0),
        make(BatchSealed, "b", 3, after(1), rows=0, jobs=0),
        make(JobsCounted, "b", 4, until=7, succeeded=0, failed=0),
    ]

    view = batch(*history)
    assert (view.status, view.sealed_at, view.ended_at) == ("sealed", after(1), None)
    assert view.seconds_left is None

    view = batch(*history, make(BatchCompleted, "b", 5, after(2), succeeded=0, failed=0))
    assert (view.status, view.sealed_at, view.ended_at) == ("completed", after(1), after(2))


def failing(message: str) -> BatchView:
    return batch(
        opened("a.csv", "b.csv"),
        make(BatchAdvanced, "b", 2, file_index=0, position=Position(), rows=1000, jobs=1),
        make(FileFailed, "b", 3, file_index=0, rows=1000, jobs=1, fault=FileFault(message, line=1002)),
        make(BatchFailed, "b", 4, after(1), reason=f"a.csv: {message}"),
    )


def test_a_batch_that_failed_names_the_place() -> None:
    message = "a.csv, line 1002: 2 columns, not 3: 'x,y'"

    view = failing(message)

    assert (view.status, view.ended_at, view.rows, view.error) == ("failed", after(1), 1000, message)
    assert view.files == [FileView(path="a.csv", status="failed", rows=1000, jobs=1, error=message)]


def test_a_fault_that_does_not_name_the_file_gets_its_path() -> None:
    assert failing("too long a row").error == "a.csv: too long a row"


def test_a_file_can_fail_before_it_was_found() -> None:
    view = batch(
        opened("a.csv"),
        make(FileFailed, "b", 2, file_index=0, rows=0, jobs=0, fault=FileFault("a.csv is not there")),
    )

    assert view.files == [FileView(path="a.csv", status="failed", error="a.csv is not there")]


def test_a_batch_shows_no_files_before_they_are_found() -> None:
    view = batch(opened("orders/", "more/*.csv"))

    assert (view.files, view.files_total, view.status) == ([], 0, "reading")


def test_files_that_are_listed_in_parts_have_the_numbers_of_one_list() -> None:
    history = [
        opened("orders/"),
        make(FilesListed, "b", 2, first=0, paths=("orders/a", "orders/b"), last=False),
        make(FilesListed, "b", 3, first=2, paths=("orders/c",), last=True),
        make(FileFound, "b", 4, file_index=2, size=7, file_version="v", format="json"),
        make(FileFinished, "b", 5, file_index=1, rows=5, jobs=1),
    ]

    view = batch(*history)
    assert view.files_total == 3
    assert view.files == [
        FileView(path="orders/b", status="finished", rows=5, jobs=1),
        FileView(path="orders/c", status="reading", size=7, version="v", format="json"),
    ]


def test_a_batch_whose_files_cannot_be_found_says_why() -> None:
    view = batch(opened("orders/"), make(BatchFailed, "b", 2, after(1), reason="orders/ is not there"))

    assert (view.status, view.error, view.ended_at) == ("failed", "orders/ is not there", after(1))


FAULTS = (FileFault("a.csv, line 3: no"), FileFault("a.csv, line 9: no"))


def test_a_file_shows_how_many_of_its_rows_could_not_be_read() -> None:
    history = [
        opened("a.csv"),
        make(RowsQuarantined, "b", 2, file_index=0, bad_before=0, faults=FAULTS),
        make(BatchAdvanced, "b", 3, file_index=0, position=Position(bad=1), rows=1000, jobs=1),
    ]

    assert batch(*history[:2]).files == [FileView(path="a.csv", status="reading", bad_rows=2)]
    assert batch(*history).files == [FileView(path="a.csv", status="reading", rows=1000, jobs=1, bad_rows=2)]
    finish = make(FileFinished, "b", 4, file_index=0, rows=1500, jobs=2, bad=5)
    assert batch(*history, finish).files == [
        FileView(path="a.csv", status="finished", rows=1500, jobs=2, bad_rows=5)
    ]


def test_bad_rows_that_are_skipped_are_counted_as_reading_goes_on() -> None:
    view = batch(
        opened("a.csv"),
        make(BatchAdvanced, "b", 2, file_index=0, position=Position(bad=3), rows=1000, jobs=1),
        make(FileFailed, "b", 3, file_index=0, rows=1500, jobs=2, bad=4, fault=FileFault("a.csv is cut")),
    )

    assert view.files == [
        FileView(path="a.csv", status="failed", rows=1500, jobs=2, bad_rows=4, error="a.csv is cut")
    ]


def test_a_batch_that_is_redriven_has_not_failed() -> None:
    """What was read stays; the file that had failed is read on."""
    history = [
        opened("a.csv", "b.csv"),
        make(FileFinished, "b", 2, file_index=1, rows=5, jobs=1),
        make(FileFailed, "b", 3, file_index=0, rows=1000, jobs=1, bad=2, fault=FileFault("a.csv: no")),
        make(BatchFailed, "b", 4, after(1), reason="a.csv: no"),
        make(BatchRedriven, "b", 5, after(2), bad_rows="skip"),
    ]

    view = batch(*history)
    assert (view.status, view.error, view.ended_at, view.rows) == ("reading", None, None, 1005)
    assert view.files == [
        FileView(path="a.csv", status="reading", rows=1000, jobs=1, bad_rows=2),
        FileView(path="b.csv", status="finished", rows=5, jobs=1),
    ]

    ended = [
        make(FileFinished, "b", 6, file_index=0, rows=2000, jobs=2, bad=3),
        make(BatchSealed, "b", 7, after(3), rows=2005, jobs=3),
        make(BatchCompleted, "b", 8, after(4), succeeded=3, failed=0),
    ]
    view = batch(*history, *ended)
    assert (view.status, view.error, view.ended_at, view.rows) == ("completed", None, after(4), 2005)


def test_the_jobs_of_a_batch_are_counted_by_state() -> None:
    view = batch(
        opened("a.csv"),
        *(queued(f"b_0-{number}", batch="b") for number in range(4)),
        queued("of-another", batch="other"),
        queued("alone"),
        ended(JobSucceeded, "b_0-0"),
        ended(JobSucceeded, "b_0-1"),
        ended(JobFailed, "b_0-2"),
    )

    assert view.jobs == {"succeeded": 2, "failed": 1, "queued": 1, "total": 4}


def test_a_job_that_is_redriven_waits_as_one_that_never_ended() -> None:
    history = [queued(batch="b"), ended(JobFailed, at=after(2)), make(JobRedriven, "j", 3, redrive=1, batch="b")]

    view = job(*history)
    assert (view.status, view.ended_at, view.error) == ("scheduled", None, None)

    view = job(*history, queued(version=4, attempt=2, at=after(5), batch="b"))
    assert (view.status, view.attempt, view.ended_at, view.error, view.worker) == ("queued", 2, None, None, None)

    again = [*history, queued(version=4, attempt=2, batch="b"), ended(JobSucceeded, version=5, attempt=2)]
    found = views(opened("a.csv"), *again)
    assert found.batch("b").jobs == {"succeeded": 1, "total": 1}  # type: ignore[union-attr] # it is there
    [row] = found._connection.execute("SELECT last_sequence, events FROM jobs").fetchall()
    assert tuple(row) == (6, 5)


def test_a_batch_that_is_paused_says_so_until_it_is_resumed() -> None:
    history = [opened("a.csv"), make(BatchPaused, "b", 2, reason="lunch")]

    assert batch(*history).status == "paused"
    assert batch(*history, make(BatchResumed, "b", 3)).status == "reading"


def test_a_batch_that_is_sealed_while_it_is_paused_stays_sealed() -> None:
    history = [
        opened("a.csv"),
        make(BatchPaused, "b", 2),
        make(FileFinished, "b", 3, file_index=0, rows=5, jobs=1),
        make(BatchSealed, "b", 4, after(1), rows=5, jobs=1),
    ]

    assert batch(*history).status == "sealed"
    assert batch(*history, make(BatchResumed, "b", 5)).status == "sealed"


def test_a_batch_that_is_cancelled_says_why_from_the_beginning() -> None:
    history = [opened("a.csv"), make(BatchCancelling, "b", 2, reason="wrong file")]

    view = batch(*history)
    assert (view.status, view.error, view.ended_at) == ("cancelling", "wrong file", None)

    over = make(BatchCancelled, "b", 3, after(2), jobs=5, succeeded=1, failed=4, reason="wrong file")
    view = batch(*history, over)
    assert (view.status, view.error, view.ended_at) == ("cancelled", "wrong file", after(2))


def test_a_batch_that_is_cancelled_without_a_reason_has_no_error() -> None:
    cancelled = make(BatchCancelled, "b", 3, jobs=0, succeeded=0, failed=0)

    assert batch(opened("a.csv"), make(BatchCancelling, "b", 2), cancelled).error is None


def with_failures(*, at: datetime = NOW) -> list[Any]:
    """Return a batch of two files that is completed, with a failed job and rows in quarantine."""
    return [
        opened("a.csv", "b.csv"),
        make(RowsQuarantined, "b", 2, file_index=1, bad_before=0, faults=FAULTS),
        make(FileFinished, "b", 3, file_index=0, rows=5, jobs=1),
        make(FileFinished, "b", 4, file_index=1, rows=5, jobs=1, bad=2),
        make(BatchSealed, "b", 5, at, rows=10, jobs=2),
        make(BatchCompletedWithFailures, "b", 6, at, succeeded=1, failed=1, reason="1 of 2 jobs; 2 rows"),
    ]


def test_a_batch_that_is_completed_with_failures_says_which() -> None:
    view = batch(*with_failures(at=after(3)))

    assert (view.status, view.error, view.ended_at) == (
        "completed_with_failures",
        "1 of 2 jobs; 2 rows",
        after(3),
    )
    assert (view.rows, view.bad_rows) == (10, 2)


def test_a_batch_whose_jobs_alone_are_redriven_has_nothing_left_to_read() -> None:
    view = batch(*with_failures(), make(BatchRedriven, "b", 7, jobs=FailedJobs()))

    assert (view.status, view.error, view.ended_at, view.sealed_at) == ("sealed", None, None, NOW)
    assert [file.status for file in view.files] == ["finished", "finished"]


def test_a_file_that_is_mended_comes_again_at_the_end() -> None:
    view = batch(*with_failures(), make(BatchRedriven, "b", 7, jobs=FailedJobs(), mends=(1,)))

    assert (view.status, view.sealed_at, view.files_total) == ("reading", None, 3)
    assert view.files[2] == FileView(path="b.csv", status="reading", mends=1)

    read = [
        make(FileFound, "b", 8, file_index=2, size=9, file_version="v2"),
        make(FileFinished, "b", 9, file_index=2, rows=2, jobs=1),
        make(BatchSealed, "b", 10, after(1), rows=12, jobs=3),
        make(BatchCompleted, "b", 11, after(2), succeeded=3, failed=0),
    ]
    view = batch(*with_failures(), make(BatchRedriven, "b", 7, mends=(1,)), *read)
    assert (view.status, view.rows, view.files[2].version) == ("completed", 12, "v2")
    # A second redrive finds all files read.
    again = [*with_failures(), make(BatchRedriven, "b", 7, mends=(1,)), *read[:3]]
    failed = make(BatchFailed, "b", 11, reason="too much")
    assert batch(*again, failed, make(BatchRedriven, "b", 12, jobs=FailedJobs())).status == "sealed"


def test_files_that_are_listed_after_a_mended_one_have_numbers_behind_it() -> None:
    view = batch(
        opened("orders/"),
        make(FilesListed, "b", 2, first=0, paths=("orders/a",), last=False),
        make(RowsQuarantined, "b", 3, file_index=0, bad_before=0, faults=FAULTS),
        make(FileFinished, "b", 4, file_index=0, rows=5, jobs=1, bad=2),
        make(BatchFailed, "b", 5, reason="orders/ is away"),
        make(BatchRedriven, "b", 6, mends=(0,)),
        make(FilesListed, "b", 7, first=2, paths=("orders/b",), last=True),
        make(FileFinished, "b", 8, file_index=2, rows=1, jobs=1),
    )

    assert (view.status, view.files_total) == ("reading", 3)
    assert [(file.path, file.mends) for file in view.files] == [
        ("orders/a", None),
        ("orders/a", 0),
        ("orders/b", None),
    ]


def test_a_file_shows_its_columns_and_how_far_it_is_read() -> None:
    schema = pa.schema([("id", pa.int64()), ("tags", pa.list_(pa.string()))]).serialize().to_pybytes()
    first = make(BatchAdvanced, "b", 2, file_index=0, position=Position(70, 10), rows=12, jobs=1, columns=schema)
    second = make(BatchAdvanced, "b", 3, file_index=0, position=Position(140, 20), rows=25, jobs=2)

    [file] = batch(opened("a.csv"), first, second).files

    assert file.columns == {"id": "int64", "tags": "list<item: string>"}
    # The jobs reach five rows into the block that begins at byte 140, which is seven bytes a row.
    assert file.read_bytes == 175


@pytest.mark.parametrize(("compression", "read_bytes"), [("none", 150), ("gzip", 175)])
def test_no_more_of_a_file_is_read_than_it_has(compression: Any, read_bytes: int) -> None:
    """How far jobs reach is an estimate; a compressed file has more bytes than its size."""
    [file] = batch(
        opened("a.csv"),
        make(FileFound, "b", 2, file_index=0, size=150, file_version="v", compression=compression),
        make(BatchAdvanced, "b", 3, file_index=0, position=Position(140, 20), rows=25, jobs=2),
    ).files

    assert file.read_bytes == read_bytes


def test_a_file_that_was_read_at_once_shows_the_columns_of_its_first_job() -> None:
    view = batch(
        opened("a.csv", "b.csv"),
        queued("b_0-0", batch="b"),
        make(FileFinished, "b", 2, file_index=0, rows=1, jobs=1),
        make(FileFinished, "b", 3, file_index=1, rows=0, jobs=0),
    )

    assert [file.columns for file in view.files] == [{"id": "int64"}, {}]


def test_a_schema_that_cannot_be_read_shows_no_columns() -> None:
    advanced = make(BatchAdvanced, "b", 2, file_index=0, position=Position(), rows=1, jobs=1, columns=b"?")

    [file] = batch(opened("a.csv"), advanced).files
    assert (file.columns, file.read_bytes) == ({}, None)


def test_rates_count_up_to_the_time_of_the_look() -> None:
    found = views(
        opened("a.csv"),
        make(FileFound, "b", 2, file_index=0, size=1000, file_version="v"),
        make(BatchAdvanced, "b", 3, file_index=0, position=Position(200, 80), rows=100, jobs=4),
        *(queued(f"b_0-{number}", batch="b") for number in range(4)),
        *(ended(JobSucceeded, f"b_0-{number}") for number in range(2)),
    )

    view = found.batch("b", after(10))
    assert view
    assert (view.rows_per_second, view.jobs_per_second) == (10, 0.2)
    # A quarter is read: 16 jobs in all, of which 14 are left, five seconds each.
    assert view.seconds_left == 70
    without = found.batch("b")
    assert without
    assert (without.rows_per_second, without.jobs_per_second, without.seconds_left) == (None, None, None)


def test_rates_of_what_is_over_stay() -> None:
    found = views(*with_failures(at=after(4)), queued("b_0-0", batch="b"), ended(JobSucceeded, "b_0-0"))

    for now in (None, after(100)):
        view = found.batch("b", now)
        assert view
        assert (view.rows_per_second, view.jobs_per_second, view.seconds_left) == (2.5, 0.25, None)


def slow(*again: Any) -> Views:
    """Return a batch that has failed after a long time with a job of its four, is begun again, and reads on."""
    return views(
        opened("a.csv"),
        make(FileFound, "b", 2, file_index=0, size=1000, file_version="v"),
        make(BatchAdvanced, "b", 3, file_index=0, position=Position(400, 80), rows=80, jobs=4),
        *(queued(f"b_0-{number}", batch="b") for number in range(4)),
        *(ended(JobSucceeded, f"b_0-{number}") for number in range(3)),
        ended(JobFailed, "b_0-3"),
        *again,
    )


def on(at: datetime) -> list[Any]:
    """Return what is done after a batch was begun again: a job more, which ends."""
    return [
        make(BatchAdvanced, "b", 6, at, file_index=0, position=Position(500, 100), rows=100, jobs=5),
        queued("b_0-4", batch="b"),
        ended(JobSucceeded, "b_0-4"),
    ]


def test_rates_count_from_the_last_redrive() -> None:
    redriven = [
        make(BatchFailed, "b", 4, after(1000), reason="too much"),
        make(BatchRedriven, "b", 5, after(5000), jobs=FailedJobs()),
    ]
    view = slow(*redriven).batch("b", after(5010))
    assert view
    assert (view.rows_per_second, view.jobs_per_second, view.seconds_left) == (0, 0, None)

    again = [
        make(JobRedriven, "b_0-3", 3, redrive=5, batch="b"),
        queued("b_0-3", 4, attempt=2, batch="b"),
        ended(JobSucceeded, "b_0-3", 5, attempt=2),
    ]
    view = slow(*redriven, *again, *on(after(5005))).batch("b", after(5010))
    assert view
    assert (view.rows_per_second, view.jobs_per_second) == (2, 0.2)
    # Half is read, and a fifth of that in these ten seconds: the other half takes 50 s.
    assert view.seconds_left == pytest.approx(50)


def test_rates_count_from_the_last_resume() -> None:
    paused = make(BatchPaused, "b", 4, after(10))
    assert slow(paused, *on(after(20))).batch("b", after(30)).seconds_left is None  # type: ignore[union-attr] # it is there
    resumed = make(BatchResumed, "b", 5, after(5000))

    view = slow(paused, resumed, *on(after(5005))).batch("b", after(5010))

    assert view
    assert (view.opened_at, view.rows_per_second, view.jobs_per_second) == (NOW, 2, 0.1)
    assert view.seconds_left == pytest.approx(50)


def test_rates_are_the_same_however_the_log_is_cut() -> None:
    """Within one cut, ends of jobs may be folded after a redrive that follows them in the log."""
    history = [
        opened("a.csv"),
        *(queued(f"b_0-{number}", batch="b") for number in range(3)),
        ended(JobFailed, "b_0-0"),
        ended(JobFailed, "b_0-1"),
        make(BatchFailed, "b", 2, reason="too much"),
        make(BatchRedriven, "b", 3, after(100), jobs=FailedJobs()),
        make(JobRedriven, "b_0-0", 3, redrive=3, batch="b"),
        ended(JobSucceeded, "b_0-2"),
    ]
    recorded = [Recorded(sequence, event) for sequence, event in enumerate(history, start=1)]
    for cut in range(len(recorded)):
        connection = create()
        apply(connection, recorded[:cut])
        apply(connection, recorded[cut:])
        # That of job 1: job 0 is redriven, and job 2 ended later.
        assert tuple(*connection.execute("SELECT begun_jobs FROM batches")) == (1,)
        assert Views(connection).batch("b", after(110)).jobs_per_second == 0.1  # type: ignore[union-attr] # it is there


def test_nobody_can_tell_how_long_a_paused_batch_takes() -> None:
    found = views(
        opened("a.csv"), queued("b_0-0", batch="b"), ended(JobSucceeded, "b_0-0"), make(BatchPaused, "b", 2)
    )

    assert found.batch("b", after(1)).seconds_left is None  # type: ignore[union-attr] # it is there


def some_batches() -> Views:
    return views(
        *(replace(opened("a.csv"), originator_id=f"b{number}") for number in range(4)),
        make(FileFinished, "b1", 2, file_index=0, rows=7, jobs=1, bad=2),
        make(BatchPaused, "b2", 2),
        queued("b1_0-0", batch="b1"),
    )


def test_batches_are_listed_newest_first_page_by_page_without_files() -> None:
    found = some_batches()

    first = found.batches(limit=3, now=after(1))
    rest = found.batches(limit=3, after=first.next)

    assert [view.id for view in first.batches] == ["b3", "b2", "b1"]
    assert ([view.id for view in rest.batches], rest.next) == (["b0"], None)
    listed = first.batches[2]
    assert (listed.files, listed.files_total, listed.rows, listed.bad_rows) == ([], 1, 7, 2)
    assert (listed.jobs, listed.rows_per_second) == ({"queued": 1, "total": 1}, 7)


def test_batches_are_filtered() -> None:
    found = some_batches()

    assert [view.id for view in found.batches(status="paused").batches] == ["b2"]
    assert [view.id for view in found.batches(spec="add", limit=1).batches] == ["b3"]
    assert found.batches(spec="load").batches == []


def collecting(version: int, collection: str = "c") -> Any:
    asked: dict[str, Any] = {"format": "ndjson", "connection": "lake", "path": "out"}
    return make(ResultsRequested, "b", version, collection=collection, **asked)


MANIFEST = Manifest(batch="b", spec="add", format="ndjson", jobs={"total": 0}, rows=0, size=0, sha256="")


def test_a_collection_of_results_is_asked_for_and_ends() -> None:
    history = [opened("a.csv"), collecting(2)]
    asked = ResultsView(id="c", status="collecting", format="ndjson", connection="lake", path="out")

    assert views(*history).results("b") == [asked]
    manifest = replace(MANIFEST, pending=["b_0-0"], failed=[{"job": "b_0-1"}])
    collected = make(ResultsCollected, "b", 3, collection="c", manifest=manifest)
    # The jobs that a manifest names are not shown.
    assert views(*history, collected).results("b") == [replace(asked, status="collected", manifest=MANIFEST)]
    failed = make(ResultsFailed, "b", 3, collection="c", reason="no room")
    assert views(*history, failed).results("b") == [replace(asked, status="failed", error="no room")]


def test_collections_are_listed_newest_first() -> None:
    found = views(opened("a.csv"), *(collecting(2 + index, name) for index, name in enumerate("cab")))

    assert [view.id for view in found.results("b")] == ["b", "a", "c"]
    assert [view.id for view in found.results("b", limit=2)] == ["b", "a"]
    assert views(opened("a.csv")).results("b") == []
    with pytest.raises(UnavailableError, match="do not have the batch other yet"):
        found.results("other")


def test_what_is_told_of_a_batch_after_its_end_counts_for_its_removal() -> None:
    collected = make(ResultsCollected, "b", 8, collection="c", manifest=MANIFEST)
    found = views(*with_failures(), collecting(7), collected)

    [row] = found._connection.execute("SELECT status, last_sequence, events FROM batches").fetchall()
    assert tuple(row) == ("completed_with_failures", 8, 8)
    found = views(opened("a.csv"), collecting(2))
    assert found._connection.execute("SELECT last_sequence FROM batches").fetchone()[0] is None


def test_quarantined_rows_are_found_in_the_order_of_files_and_rows() -> None:
    found = views(
        opened("a.csv", "b.csv"),
        make(RowsQuarantined, "b", 2, file_index=1, bad_before=0, faults=FAULTS),
        make(RowsQuarantined, "b", 3, file_index=0, bad_before=0, faults=FAULTS),
        make(RowsQuarantined, "b", 4, file_index=1, bad_before=2, faults=FAULTS[:1]),
    )
    first, second, third = BadRows("a.csv", 0, 0, 2, 3), BadRows("b.csv", 1, 0, 2, 2), BadRows("b.csv", 1, 2, 1, 4)

    assert found.bad_rows("b") == [first, second, third]
    assert found.bad_rows("b", limit=2) == [first, second]
    assert found.bad_rows("b", after=(0, 0)) == [first, second, third]
    assert found.bad_rows("b", after=(0, 1)) == [second, third]
    assert found.bad_rows("b", after=(1, 1)) == [third]
    assert found.bad_rows("b", after=(1, 2)) == []
    assert found.bad_rows("b", file="a.csv") == [first]
    with pytest.raises(NotFoundError, match=r"no file 'c\.csv'"):
        found.bad_rows("b", file="c.csv")
    with pytest.raises(UnavailableError, match="do not have the batch other yet"):
        found.bad_rows("other")


def test_a_spec_is_as_it_was_defined_last() -> None:
    first = Definition(description="Adds.")
    last = Definition("Adds two.", {"type": "object"}, "arrow", "sums", RetryPolicy(max_attempts=7), 30.0)
    found = views(
        make(SpecRegistered, "add", 1, definition=first),
        make(SpecRegistered, "a", 1, definition=first),
        make(SpecChanged, "add", 2, definition=last),
    )

    assert found.spec("add") == SpecView(
        name="add",
        description="Adds two.",
        params_schema={"type": "object"},
        rows="arrow",
        queue="sums",
        retry=RetryPolicy(max_attempts=7),
        timeout_seconds=30.0,
    )
    assert [spec.name for spec in found.specs()] == ["a", "add"]


JOBS = [f"j-{number}" for number in range(4)]


def command(job_id: str, verb: str, attempt: int) -> Any:
    facts: dict[str, Any] = {"id": job_id, "attempt": attempt, "worker": "w"}
    retry = RetryPolicy(max_attempts=2, delay_seconds=attempt % 2)
    match verb:
        case "schedule":
            asked = details(batch="b" if job_id < "j-2" else None, retry=retry)
            return ScheduleJob(id=job_id, details=asked, run_at=after(60) if attempt == 2 else None)
        case "release":
            return ReleaseJob(id=job_id, attempt=attempt)
        case "cancel":
            return CancelJob(id=job_id)
        case "redrive":
            return RedriveJob(id=job_id, redrive=attempt)
        case "start":
            return StartJob(**facts, started_at=NOW)
        case "progress":
            return ProgressJob(**facts, percent=50)
        case "succeed":
            return SucceedJob(**facts, started_at=NOW, result=Result())
        case _:
            return FailJob(**facts, started_at=NOW, fault=FAULT, timed_out=verb == "time out")


VERBS = ["schedule", "release", "cancel", "redrive", "start", "progress", "succeed", "fail", "time out"]
COMMANDS = st.lists(
    st.builds(command, st.sampled_from(JOBS), st.sampled_from(["schedule", *VERBS]), st.sampled_from([1, 2])),
    max_size=60,
)


@settings(deadline=None)
@given(COMMANDS, st.data())
def test_views_agree_with_the_states_however_the_log_is_cut(commands: list[Any], data: st.DataObject) -> None:
    states: dict[str, JobState | None] = {}
    history: list[Any] = []
    for one in commands:
        state = states.get(one.id)
        try:
            happened = JOB.decide(state, one, NOW)
        except Refusal:
            continue
        for event in happened:
            state = JOB.evolve(state, event)
        states[one.id] = state
        history += happened

    recorded = [Recorded(sequence, event) for sequence, event in enumerate(history, start=1)]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(recorded)), max_size=5)))
    connection = create()
    for start, end in zip([0, *cuts], [*cuts, len(recorded)], strict=True):
        apply(connection, recorded[start:end])
    pieces, whole = Views(connection), fold(recorded)

    known = {id_: state for id_, state in states.items() if state}
    shown = {view.id: view for view in whole.jobs().jobs}
    assert pieces.jobs() == whole.jobs()
    assert {id_: (view.status, view.attempt) for id_, view in shown.items()} == {
        id_: (state.status, state.attempt) for id_, state in known.items()
    }
    counted = Counter(state.status for state in known.values() if state.details.batch)
    rows = connection.execute("SELECT status, count FROM batch_jobs WHERE count > 0").fetchall()
    assert {row["status"]: row["count"] for row in rows} == counted
    ended = connection.execute("SELECT id FROM jobs WHERE last_sequence NOTNULL AND ended_at NOTNULL").fetchall()
    assert {row["id"] for row in ended} == {id_ for id_, state in known.items() if state.status in ENDED_JOB}
