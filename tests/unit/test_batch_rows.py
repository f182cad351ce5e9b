"""Which job of a batch had a row: found in the views."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.batch import (
    BatchAdvanced,
    BatchDetails,
    BatchFailed,
    BatchOpened,
    BatchRedriven,
    FileFinished,
    FilesListed,
    Position,
)
from events.catalog import encode
from events.ids import batch_job_id
from events.jetstream.log import Recorded
from events.job import JobFailed, JobQueued
from projections.views import Views, fold
from rota.batch_protocol import RowView
from rota.errors import InvalidRequestError, NotFoundError, UnavailableError
from rota.protocol import JobDetails, JobFault, Payload, Rows

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
PARAMS = msgspec.Raw(encode({}))


def make(type_: Any, version: int, id_: str = "b", **facts: Any) -> Any:
    return type_(originator_id=id_, originator_version=version, at=NOW, **facts)


def opened(*files: str) -> Any:
    details = BatchDetails(spec="s", queue="q", files=files, rows_per_job=10, max_jobs_in_flight=1, params=PARAMS)
    return make(BatchOpened, 1, details=details)


def queued(index: int, first_row: int, count: int, file_index: int = 0) -> Any:
    rows = Rows("b", "a.csv", file_index, index, first_row, count, Payload("x", 1, ""))
    details = JobDetails(spec="s", queue="q", params=PARAMS, rows=rows)
    return make(JobQueued, 1, batch_job_id("b", file_index, index), attempt=1, details=details)


def finished(rows: int, jobs: int, version: int = 2, file_index: int = 0, passed: int = 0) -> Any:
    return make(FileFinished, version, file_index=file_index, rows=rows, jobs=jobs, passed=passed)


def views(*events: Any) -> Views:
    return fold(Recorded(sequence, event) for sequence, event in enumerate(events, start=1))


def jobs_of(*sizes: int, passed: int = 0) -> list[Any]:
    first_rows = [passed + sum(sizes[:index]) for index in range(len(sizes))]
    return [queued(index, first, size) for index, (first, size) in enumerate(zip(first_rows, sizes, strict=True))]


def test_a_row_has_its_job_with_what_became_of_it() -> None:
    fault = JobFault("ValueError", "42 is no good")
    failed = make(JobFailed, 2, "b_0-1", attempt=1, worker="w", started_at=NOW, fault=fault, batch="b")
    found = views(opened("a.csv"), *jobs_of(10, 10, 3), failed, finished(23, 3))

    assert found.row("b", "a.csv", 12) == RowView(
        file="a.csv",
        file_index=0,
        row=12,
        job="b_0-1",
        status="failed",
        first_row=10,
        last_row=19,
        error={"type": "ValueError", "message": "42 is no good"},
    )


@given(st.lists(st.integers(1, 4), min_size=1, max_size=40), st.integers(0, 5), st.booleans(), st.data())
def test_each_row_is_found_whatever_the_sizes_and_whether_the_batch_was_told(
    sizes: list[int],
    passed: int,
    told: bool,  # noqa: FBT001 - it is drawn
    data: st.DataObject,
) -> None:
    row = data.draw(st.integers(passed, passed + sum(sizes) - 1))
    end = [finished(sum(sizes), len(sizes), passed=passed)] if told else []
    found = views(opened("a.csv"), *jobs_of(*sizes, passed=passed), *end).row("b", "a.csv", row)

    assert found.first_row <= row <= found.last_row
    index = int(found.job.rpartition("-")[2])
    assert found.first_row == passed + sum(sizes[:index])


@pytest.mark.parametrize(
    ("events", "row", "says"),
    [
        ([*jobs_of(10, 3), finished(13, 2)], 13, r"read to its end, and rows 0 to 12 are in jobs"),
        ([finished(0, 0)], 0, r"read to its end, and none is in jobs"),
        ([*jobs_of(4, passed=10), finished(4, 1, passed=10)], 9, r"passed over: the first .* in a job is 10"),
        (
            [*jobs_of(10), make(BatchAdvanced, 2, file_index=0, position=Position(), rows=10, jobs=1)],
            10,
            r"not read as far as row 10: 10 of its rows are in jobs by now",
        ),
        ([], 0, r"not read as far as row 0: 0 of its rows"),
    ],
)
def test_a_row_without_a_job_is_told_why(events: list[Any], row: int, says: str) -> None:
    with pytest.raises(NotFoundError, match=says):
        views(opened("a.csv"), *events).row("b", "a.csv", row)


def test_a_job_that_the_views_do_not_have_yet_may_be_asked_for_again() -> None:
    found = views(opened("a.csv"), *jobs_of(10), finished(20, 2))

    with pytest.raises(UnavailableError, match=r"do not have the job with row 15 of a\.csv yet: try again"):
        found.row("b", "a.csv", 15)


def test_a_file_is_named_by_its_path_or_number() -> None:
    found = views(opened("a.csv", "7"), queued(0, 0, 5, file_index=1), finished(5, 1, file_index=1))

    assert found.row("b", "7", 2).file_index == 1
    assert found.row("b", "1", 2).file_index == 1
    assert found.row("b", 1, 2).file == "7"
    with pytest.raises(NotFoundError, match="has no file 'b' by now"):
        found.row("b", "b", 0)
    with pytest.raises(NotFoundError, match="has no file '2'"):
        found.row("b", "2", 0)
    with pytest.raises(UnavailableError, match="do not have the batch c yet"):
        found.row("c", "a.csv", 0)


def test_the_only_file_need_not_be_named() -> None:
    found = views(opened("a.csv"), *jobs_of(5), finished(5, 1))
    assert found.row("b", None, 2).job == "b_0-0"

    with pytest.raises(InvalidRequestError, match="has 2 files: name the one"):
        views(opened("a.csv", "b.csv")).row("b", None, 0)


def test_a_path_means_the_file_and_not_what_mends_it() -> None:
    history = [
        opened("o/"),
        make(FilesListed, 2, first=0, paths=("o/a",), last=True),
        *jobs_of(5),
        finished(5, 1, version=3),
        make(BatchFailed, 4, reason="no"),
        make(BatchRedriven, 5, mends=(0,)),
        queued(0, 0, 2, file_index=1),
        finished(2, 1, version=6, file_index=1),
    ]

    found = views(*history)
    assert found.row("b", "o/a", 1).job == "b_0-0"
    assert found.row("b", None, 1).job == "b_0-0"
    assert (found.row("b", 1, 1).job, found.row("b", 1, 1).file) == ("b_1-0", "o/a")
