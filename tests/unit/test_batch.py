"""The batch's decider: given events, when a command comes, then events."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.base import Event, UnknownAggregateError
from events.batch import (
    AdvanceFile,
    BatchAdvanced,
    BatchCommand,
    BatchCompleted,
    BatchDetails,
    BatchFailed,
    BatchOpened,
    BatchSealed,
    CountJobs,
    FailFile,
    FileFailed,
    FileFault,
    FileFinished,
    FileFound,
    FindFile,
    FinishFile,
    JobsCounted,
    OpenBatch,
    Position,
)
from events.batch_decisions import BatchState, decide, evolve
from events.catalog import decode_event, encode
from rota.protocol import ENDED_BATCH

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
DETAILS = BatchDetails(
    spec="load",
    queue="default",
    files=("a.csv", "b.csv"),
    rows_per_job=10,
    max_jobs_in_flight=100,
    params=msgspec.Raw(b"\x80"),
)
FAULT = FileFault("b.csv, line 3: 2 columns, not 3: 'x,y'", line=3, text="x,y")


def facts(version: int) -> dict[str, Any]:
    return {"originator_id": "b", "originator_version": version, "at": NOW}


OPENED = BatchOpened(**facts(1), details=DETAILS)


def finished(version: int, index: int, *, rows: int = 10, jobs: int = 1) -> FileFinished:
    return FileFinished(**facts(version), file_index=index, rows=rows, jobs=jobs)


SEALED = [OPENED, finished(2, 0), finished(3, 1), BatchSealed(**facts(4), rows=20, jobs=2)]


def state_after(*events: Any) -> BatchState | None:
    state = None
    for event in events:
        state = evolve(state, event)
    return state


def advance(jobs: int, rows: int, offset: int) -> AdvanceFile:
    return AdvanceFile(id="b", file_index=0, position=Position(offset, rows, rows + 2), rows=rows, jobs=jobs)


def advanced(version: int, jobs: int, rows: int, offset: int) -> BatchAdvanced:
    position = Position(offset, rows, rows + 2)
    return BatchAdvanced(**facts(version), file_index=0, position=position, rows=rows, jobs=jobs)


def count(until: int, succeeded: int, failed: int = 0) -> CountJobs:
    return CountJobs(id="b", until=until, succeeded=succeeded, failed=failed)


def test_a_batch_is_opened_once() -> None:
    opening = OpenBatch(id="b", details=DETAILS)

    assert decide(None, opening, NOW) == [OPENED]
    assert decide(state_after(OPENED), opening, NOW) == []


def test_a_file_is_found_once_in_its_version() -> None:
    found = FileFound(**facts(2), file_index=1, size=500, file_version="v1")
    again = FindFile(id="b", file_index=1, size=600, file_version="v2")

    assert decide(state_after(OPENED), FindFile(id="b", file_index=1, size=500, file_version="v1"), NOW) == [found]
    assert decide(state_after(OPENED, found), again, NOW) == []
    state = state_after(OPENED, found)
    assert state
    assert state.files[1].version == "v1"


def test_progress_is_a_total_with_a_position_to_go_on_from() -> None:
    assert decide(state_after(OPENED), advance(2, 20, 300), NOW) == [advanced(2, 2, 20, 300)]

    state = state_after(OPENED, advanced(2, 2, 20, 300))
    assert state
    assert (state.rows, state.jobs, state.files[0].position) == (20, 2, Position(300, 20, 22))


@pytest.mark.parametrize("jobs", [1, 2])
def test_progress_that_says_nothing_new_changes_nothing(jobs: int) -> None:
    assert decide(state_after(OPENED, advanced(2, 2, 20, 300)), advance(jobs, jobs * 10, 1), NOW) == []


def test_a_batch_is_not_sealed_while_a_file_is_unread() -> None:
    assert decide(state_after(OPENED), FinishFile(id="b", file_index=0, rows=10, jobs=1), NOW) == [finished(2, 0)]


def test_a_file_is_finished_once() -> None:
    again = FinishFile(id="b", file_index=0, rows=99, jobs=9)

    assert decide(state_after(OPENED, finished(2, 0)), again, NOW) == []


def test_a_batch_is_sealed_with_its_last_file() -> None:
    state = state_after(OPENED, finished(2, 1))

    assert decide(state, FinishFile(id="b", file_index=0, rows=25, jobs=3), NOW) == [
        finished(3, 0, rows=25, jobs=3),
        BatchSealed(**facts(4), rows=35, jobs=4),
    ]


def test_a_sealed_batch_is_completed_by_its_last_job() -> None:
    assert decide(state_after(*SEALED), count(90, 1, 1), NOW) == [
        JobsCounted(**facts(5), until=90, succeeded=1, failed=1),
        BatchCompleted(**facts(6), succeeded=1, failed=1),
    ]


def test_a_sealed_batch_waits_for_its_last_job() -> None:
    assert decide(state_after(*SEALED), count(90, 1), NOW) == [
        JobsCounted(**facts(5), until=90, succeeded=1, failed=0)
    ]


def test_a_batch_whose_jobs_ended_first_is_completed_by_its_last_file() -> None:
    counted = JobsCounted(**facts(3), until=90, succeeded=2, failed=0)
    state = state_after(OPENED, finished(2, 0), counted)

    assert decide(state, FinishFile(id="b", file_index=1, rows=3, jobs=1), NOW) == [
        finished(4, 1, rows=3),
        BatchSealed(**facts(5), rows=13, jobs=2),
        BatchCompleted(**facts(6), succeeded=2, failed=0),
    ]


def test_a_batch_of_empty_files_is_completed_without_a_job() -> None:
    state = state_after(OPENED, finished(2, 0, rows=0, jobs=0))

    assert decide(state, FinishFile(id="b", file_index=1, rows=0, jobs=0), NOW)[-1] == BatchCompleted(
        **facts(5), succeeded=0, failed=0
    )


@pytest.mark.parametrize("until", [89, 90])
def test_a_count_that_says_nothing_new_changes_nothing(until: int) -> None:
    counted = JobsCounted(**facts(5), until=90, succeeded=1, failed=0)

    assert decide(state_after(*SEALED, counted), count(until, 2), NOW) == []


def test_a_file_that_cannot_be_read_fails_the_batch() -> None:
    assert decide(state_after(OPENED), FailFile(id="b", file_index=1, fault=FAULT, rows=0, jobs=0), NOW) == [
        FileFailed(**facts(2), file_index=1, fault=FAULT, rows=0, jobs=0),
        BatchFailed(**facts(3), reason=FAULT.message),
    ]


@pytest.mark.parametrize(
    "late",
    [
        count(90, 2),
        advance(5, 50, 700),
        FinishFile(id="b", file_index=0, rows=1, jobs=1),
        FailFile(id="b", file_index=0, fault=FAULT, rows=0, jobs=0),
    ],
)
def test_a_failed_batch_stays_failed(late: BatchCommand) -> None:
    failed = state_after(OPENED, BatchFailed(**facts(2), reason="no"))

    assert decide(failed, late, NOW) == []


def test_a_command_for_a_batch_that_was_never_opened_is_refused() -> None:
    with pytest.raises(UnknownAggregateError, match="There is no batch b"):
        decide(None, count(1, 1), NOW)


indexes = st.integers(0, 1)
jobs_of = st.integers(0, 4)
commands: st.SearchStrategy[Any] = st.one_of(
    st.builds(OpenBatch, id=st.just("b"), details=st.just(DETAILS)),
    st.builds(
        FindFile, id=st.just("b"), file_index=indexes, size=st.just(9), file_version=st.sampled_from(["1", "2"])
    ),
    st.builds(
        lambda index, jobs: AdvanceFile(
            id="b", file_index=index, position=Position(jobs, jobs, jobs), rows=jobs * 10, jobs=jobs
        ),
        indexes,
        jobs_of,
    ),
    st.builds(
        lambda index, jobs: FinishFile(id="b", file_index=index, rows=jobs * 10, jobs=jobs), indexes, jobs_of
    ),
    st.builds(count, st.integers(1, 50), jobs_of, jobs_of),
)
failures = st.builds(
    FailFile, id=st.just("b"), file_index=indexes, fault=st.just(FAULT), rows=st.just(0), jobs=st.just(0)
)


@given(st.lists(st.one_of(commands, commands, commands, failures), max_size=25))
def test_no_order_or_repetition_of_commands_breaks_a_batch(some: list[BatchCommand]) -> None:
    state: BatchState | None = None
    history: list[Event] = []
    for command in some:
        before = state
        try:
            events = decide(state, command, NOW)
        except UnknownAggregateError:
            assert state is None
            continue
        for event in events:
            history.append(event)
            state = evolve(state, event)  # type: ignore[arg-type] # list[Event] is wider than the union
        assert state
        assert decide(state, command, NOW) == []
        if before and before.status in ENDED_BATCH:
            assert state == before
        if state.status != "failed":
            read = all(file.finished for file in state.files)
            assert (state.status != "reading") == read
            assert (state.status == "completed") == (read and state.jobs_ended >= state.jobs)

    assert [event.originator_version for event in history] == list(range(1, len(history) + 1))
    assert state_after(*(decode_event(encode(event)) for event in history)) == state
