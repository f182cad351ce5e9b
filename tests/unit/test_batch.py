"""The batch's decider: given events, when a command comes, then events."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.base import EndedError, Event, UnknownAggregateError
from events.batch import (
    AdvanceFile,
    BatchAdvanced,
    BatchCommand,
    BatchCompleted,
    BatchCompletedWithFailures,
    BatchDetails,
    BatchFailed,
    BatchOpened,
    BatchRedriven,
    BatchSealed,
    CutJob,
    FailBatch,
    FailFile,
    FileFailed,
    FileFault,
    FileFinished,
    FindFile,
    FinishFile,
    FinishRedrive,
    JobsCounted,
    ListFiles,
    OpenBatch,
    Position,
    QuarantineRows,
    RedriveBatch,
    RowsQuarantined,
)
from events.batch_control import (
    BatchControl,
    CancelBatch,
    ChangeBatch,
    FinishCancel,
    PauseBatch,
    ResumeBatch,
)
from events.batch_decisions import decide
from events.batch_results import BatchCollection, CollectResults, FailResults, FinishResults
from events.batch_state import BatchState, evolve
from events.catalog import decode_event, encode
from rota.batch_protocol import BadRowsAgain, FailedJobs, Manifest, Tolerance
from rota.protocol import ENDED_BATCH
from tests.unit.batch_history import (
    DETAILS,
    FAILED,
    FAULT,
    NOW,
    OPENED,
    READ_20,
    SEALED,
    SEARCHED,
    SEARCHING,
    advance,
    advanced,
    count,
    facts,
    failed_file,
    finished,
    found,
    listed,
    listing,
    quarantine,
    quarantined,
    state_after,
)


def test_a_batch_is_opened_once() -> None:
    opening = OpenBatch(id="b", details=DETAILS)

    assert decide(None, opening, NOW) == [OPENED]
    assert decide(state_after(OPENED), opening, NOW) == []


def test_a_file_is_found_once_in_its_version() -> None:
    first = FindFile(id="b", file_index=1, size=500, file_version="v1")
    again = FindFile(id="b", file_index=1, size=600, file_version="v2")

    assert decide(state_after(OPENED), first, NOW) == [found(2, 1)]
    assert decide(state_after(OPENED, found(2, 1)), again, NOW) == []
    state = state_after(OPENED, found(2, 1))
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
    assert decide(state_after(*SEALED), count(90, 2), NOW) == [
        JobsCounted(**facts(5), until=90, succeeded=2, failed=0),
        BatchCompleted(**facts(6), succeeded=2, failed=0),
    ]


def test_a_batch_some_of_whose_jobs_failed_says_so_at_its_end() -> None:
    assert decide(state_after(*SEALED), count(90, 1, 1), NOW)[1:] == [
        BatchCompletedWithFailures(**facts(6), succeeded=1, failed=1, reason="1 of 2 jobs ended without success"),
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


@pytest.mark.parametrize("entry", ["orders/", "orders/*.csv", "orders/ma?.csv", "orders/[a-m]*"])
def test_a_batch_with_a_directory_or_a_glob_does_not_know_its_files_yet(entry: str) -> None:
    details = msgspec.structs.replace(DETAILS, files=("a.csv", entry))
    state = state_after(BatchOpened(**facts(1), details=details))

    assert state
    assert (state.listed, state.files) == (False, ())


def test_files_are_listed_in_parts() -> None:
    assert decide(state_after(SEARCHING), listing(0, "orders/a", last=False), NOW) == [
        listed(2, 0, "orders/a", last=False)
    ]

    state = state_after(SEARCHING, listed(2, 0, "orders/a", last=False))
    assert state
    assert (state.listed, [file.path for file in state.files]) == (False, ["orders/a"])
    assert decide(state, listing(1, "orders/b", "more.csv"), NOW) == [listed(3, 1, "orders/b", "more.csv")]

    state = state_after(SEARCHING, listed(2, 0, "orders/a", last=False), listed(3, 1, "orders/b", "more.csv"))
    assert state
    assert (state.listed, [file.path for file in state.files]) == (True, ["orders/a", "orders/b", "more.csv"])


@pytest.mark.parametrize(
    "again",
    [
        listing(0, "orders/a", last=False),
        listing(0, "orders/a", "orders/b", "more.csv"),
        listing(3, "orders/d", last=False),
    ],
    ids=["the same part", "more than is known", "after a gap"],
)
def test_files_that_do_not_follow_those_that_are_listed_change_nothing(again: ListFiles) -> None:
    assert decide(state_after(SEARCHING, listed(2, 0, "orders/a", "orders/b", last=False)), again, NOW) == []


def test_nothing_is_listed_after_the_last_file() -> None:
    assert decide(state_after(SEARCHING, listed(2, 0, "orders/a")), listing(1, "orders/b"), NOW) == []
    assert decide(state_after(OPENED), listing(2, "c.csv"), NOW) == []


def test_a_batch_is_not_sealed_while_files_are_missing_from_its_list() -> None:
    part = listed(2, 0, "orders/a", last=False)
    state = state_after(SEARCHING, part)

    assert decide(state, FinishFile(id="b", file_index=0, rows=10, jobs=1), NOW) == [finished(3, 0)]
    assert decide(state_after(SEARCHING, part, finished(3, 0)), listing(1), NOW) == [
        listed(4, 1),
        BatchSealed(**facts(5), rows=10, jobs=1),
    ]


def test_a_batch_without_any_file_is_completed_at_once() -> None:
    assert decide(state_after(SEARCHING), listing(0), NOW) == [
        listed(2, 0),
        BatchSealed(**facts(3), rows=0, jobs=0),
        BatchCompleted(**facts(4), succeeded=0, failed=0),
    ]


def test_a_batch_whose_files_cannot_be_found_fails() -> None:
    assert decide(state_after(SEARCHING), FailBatch(id="b", reason="orders/ is not there"), NOW) == [
        BatchFailed(**facts(2), reason="orders/ is not there")
    ]


def test_a_batch_whose_files_are_found_does_not_fail_because_another_reader_cannot_find_them() -> None:
    late = FailBatch(id="b", reason="orders/ is not there")

    assert decide(state_after(SEARCHING, listed(2, 0, "orders/a")), late, NOW) == []
    assert decide(state_after(*SEALED), late, NOW) == []


def test_bad_rows_are_kept_with_their_places() -> None:
    assert decide(state_after(OPENED), quarantine(0, 3, 9), NOW) == [quarantined(2, 0, 3, 9)]

    state = state_after(OPENED, quarantined(2, 0, 3, 9))
    assert state
    assert state.files[0].quarantined == 2


@pytest.mark.parametrize(
    ("again", "expected"),
    [
        (quarantine(0, 3, 9), []),
        (quarantine(1, 9), []),
        (quarantine(0, 3, 9, 12), [quarantined(3, 2, 12)]),
        (quarantine(1, 9, 12, 15), [quarantined(3, 2, 12, 15)]),
        (quarantine(2, 12), [quarantined(3, 2, 12)]),
    ],
    ids=["the same", "a part", "one more", "overlapping", "the next"],
)
def test_a_bad_row_is_kept_once(again: QuarantineRows, expected: list[Event]) -> None:
    assert decide(state_after(OPENED, quarantined(2, 0, 3, 9)), again, NOW) == expected


def test_bad_rows_are_kept_from_where_a_batch_that_has_left_out_others_wishes_it() -> None:
    """The rows before were skipped, and the batch redriven with `quarantine`."""
    history = [*READ_20, *failed_file(4, bad=5), BatchRedriven(**facts(6), bad_rows="quarantine")]

    assert decide(state_after(*history), quarantine(5, 31, 32), NOW) == [quarantined(7, 5, 31, 32)]
    assert decide(state_after(*history, quarantined(7, 5, 31, 32)), quarantine(4, 30, 31, 32), NOW) == []


def test_a_file_tells_how_many_of_its_rows_could_not_be_read() -> None:
    finish = FinishFile(id="b", file_index=0, rows=10, jobs=1, bad=3)

    assert decide(state_after(OPENED), finish, NOW) == [
        FileFinished(**facts(2), file_index=0, rows=10, jobs=1, bad=3)
    ]


def test_columns_are_told_when_they_change() -> None:
    def one(jobs: int, columns: bytes) -> AdvanceFile:
        return AdvanceFile(
            id="b", file_index=0, position=Position(jobs), rows=jobs * 10, jobs=jobs, columns=columns
        )

    first = decide(state_after(OPENED), one(1, b"schema"), NOW)
    [same] = decide(state_after(OPENED, *first), one(2, b"schema"), NOW)
    [other] = decide(state_after(OPENED, *first), one(2, b"wider"), NOW)

    assert isinstance(same, BatchAdvanced)
    assert isinstance(other, BatchAdvanced)
    assert (same.columns, other.columns) == (None, b"wider")
    state = state_after(OPENED, *first, same)
    assert state
    assert state.files[0].columns == b"schema"


def test_a_failed_batch_is_redriven() -> None:
    redriven = BatchRedriven(**facts(6), jobs=FailedJobs())

    assert decide(state_after(*FAILED), RedriveBatch(id="b"), NOW) == [redriven]
    state = state_after(*FAILED, redriven)
    assert state
    assert (state.status, state.rows, state.jobs) == ("reading", 20, 2)
    assert decide(state, RedriveBatch(id="b"), NOW) == []


def test_what_was_read_stays_read_when_a_batch_is_redriven() -> None:
    state = state_after(OPENED, finished(2, 1), *failed_file(3), BatchRedriven(**facts(5), options={"quote": "'"}))

    assert state
    assert state.files[1].finished
    assert decide(state, FinishFile(id="b", file_index=0, rows=25, jobs=3), NOW) == [
        finished(6, 0, rows=25, jobs=3),
        BatchSealed(**facts(7), rows=35, jobs=4),
    ]


def test_a_batch_whose_files_could_not_be_found_looks_for_them_again_when_it_is_redriven() -> None:
    state = state_after(SEARCHING, BatchFailed(**facts(2), reason="no"), BatchRedriven(**facts(3)))

    assert decide(state, listing(0, "orders/a"), NOW) == [listed(4, 0, "orders/a")]


def test_jobs_that_ended_while_a_batch_was_failed_are_counted_when_it_is_redriven() -> None:
    assert decide(state_after(*FAILED), count(90, 2), NOW) == []
    assert decide(state_after(*FAILED, BatchRedriven(**facts(6))), count(90, 2), NOW) == [
        JobsCounted(**facts(7), until=90, succeeded=2, failed=0)
    ]


@pytest.mark.parametrize("redrive", [RedriveBatch(id="b"), RedriveBatch(id="b", format="json")])
@pytest.mark.parametrize(
    "history", [[OPENED], SEALED, [*FAILED, BatchRedriven(**facts(6))]], ids=["reading", "sealed", "redriven"]
)
def test_a_batch_that_has_not_failed_is_not_redriven(redrive: RedriveBatch, history: list[Event]) -> None:
    assert decide(state_after(*history), redrive, NOW) == []


def test_a_completed_batch_cannot_be_redriven() -> None:
    completed = BatchCompleted(**facts(5), succeeded=2, failed=0)

    with pytest.raises(EndedError, match="The batch b is completed: nothing is left to do"):
        decide(state_after(*SEALED, completed), RedriveBatch(id="b"), NOW)


def position_after(*events: Event) -> Position:
    state = state_after(*FAILED, *events)
    assert state
    return state.files[0].position


KEPT = Position(300, 20, 22)


def test_reading_goes_on_where_it_stopped_if_nothing_has_changed() -> None:
    assert position_after(BatchRedriven(**facts(6)), found(7)) == KEPT
    assert position_after(BatchRedriven(**facts(6), bad_rows="skip"), found(7)) == KEPT


@pytest.mark.parametrize(
    "events",
    [
        [BatchRedriven(**facts(6)), found(7, file_version="v2")],
        [BatchRedriven(**facts(6)), found(7, format_="tsv")],
        [BatchRedriven(**facts(6), format="tsv")],
        [BatchRedriven(**facts(6), options={"quote": "'"})],
    ],
    ids=["the file", "what it is found to be", "the format", "the options"],
)
def test_reading_begins_again_if_something_has_changed(events: list[Event]) -> None:
    state = state_after(*FAILED, *events)

    assert state
    assert (state.files[0].position, state.files[0].columns) == (Position(), None)
    assert (state.files[0].rows, state.files[0].jobs) == (20, 2)


def test_a_redrive_with_what_the_batch_has_changes_nothing_of_it() -> None:
    same = RedriveBatch(id="b", format="csv", options={}, bad_rows="skip")

    assert decide(state_after(*FAILED), same, NOW) == [
        BatchRedriven(**facts(6), bad_rows="skip", jobs=FailedJobs())
    ]


def test_what_a_redrive_changes_is_changed_for_good() -> None:
    redriven = BatchRedriven(**facts(6), format="tsv", options={"quote": "'"}, bad_rows="quarantine")
    state = state_after(*FAILED, redriven)

    assert state
    assert (state.details.format, state.details.options, state.details.bad_rows) == (
        "tsv",
        {"quote": "'"},
        "quarantine",
    )


@pytest.mark.parametrize(
    "history",
    [
        [*READ_20, *failed_file(4, bad=1)],
        [OPENED, quarantined(2, 0, 3), *failed_file(3)],
        [
            OPENED,
            BatchAdvanced(**facts(2), file_index=0, position=Position(300, 20, 23, bad=1), rows=20, jobs=2),
            FileFailed(**facts(3), file_index=1, fault=FAULT, rows=0, jobs=0),
            BatchFailed(**facts(4), reason=FAULT.message),
        ],
    ],
    ids=["skipped", "quarantined", "skipped before another file failed"],
)
@pytest.mark.parametrize(
    "redrive", [RedriveBatch(id="b", format="tsv"), RedriveBatch(id="b", options={"quote": "'"})]
)
def test_a_batch_that_has_left_out_rows_is_not_read_on_in_another_way(
    history: list[Event], redrive: RedriveBatch
) -> None:
    """Rows that were bad may be good then, and all that come after them would have other numbers."""
    with pytest.raises(EndedError, match="may have left out bad rows of a file that is not finished"):
        decide(state_after(*history), redrive, NOW)
    assert decide(state_after(*history), RedriveBatch(id="b", bad_rows="skip"), NOW)


SKIPPING = BatchOpened(**facts(1), details=msgspec.structs.replace(DETAILS, bad_rows="skip"))


def test_a_file_whose_reader_was_stopped_may_have_left_out_more_rows_than_it_told() -> None:
    """It tells how far it is twice a second, and what it scheduled since stays scheduled."""
    changes = RedriveBatch(id="b", options={"quote": "'"})

    assert decide(state_after(SKIPPING, found(2), *failed_file(3)), changes, NOW)
    with pytest.raises(EndedError, match="may have left out bad rows"):
        decide(state_after(SKIPPING, found(2), found(3, 1), *failed_file(4)), changes, NOW)
    assert decide(state_after(OPENED, found(2), found(3, 1), *failed_file(4)), changes, NOW)


def test_bad_rows_of_a_file_that_is_finished_are_no_obstacle() -> None:
    read = FileFinished(**facts(2), file_index=1, rows=10, jobs=1, bad=4)

    assert decide(state_after(OPENED, read, *failed_file(3)), RedriveBatch(id="b", format="tsv"), NOW) == [
        BatchRedriven(**facts(5), format="tsv", jobs=FailedJobs())
    ]


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
    st.builds(
        lambda before, faults: quarantine(before, *range(before, before + faults)),
        st.integers(0, 4),
        st.integers(1, 3),
    ),
)
listings = st.builds(
    lambda first, paths, last: listing(first, *("ab"[number] for number in range(first, paths)), last=last),
    st.integers(0, 2),
    st.integers(0, 2),
    st.booleans(),
)
failures: st.SearchStrategy[Any] = st.one_of(
    st.builds(
        FailFile,
        id=st.just("b"),
        file_index=indexes,
        fault=st.just(FAULT),
        rows=st.just(0),
        jobs=st.just(0),
        bad=st.integers(0, 1),
    ),
    st.builds(FailBatch, id=st.just("b"), reason=st.just("no")),
)
redrives: st.SearchStrategy[Any] = st.one_of(
    st.builds(
        RedriveBatch,
        id=st.just("b"),
        format=st.sampled_from([None, "csv", "tsv"]),
        options=st.sampled_from([None, {}, {"quote": "'"}]),
        bad_rows=st.sampled_from([None, "skip", "quarantine"]),
        rows=st.sampled_from([None, None, BadRowsAgain(), BadRowsAgain(file="b.csv")]),
    ),
    st.builds(FinishRedrive, id=st.just("b"), redrive=st.integers(1, 12), jobs=jobs_of),
)
steering: st.SearchStrategy[Any] = st.one_of(
    st.builds(PauseBatch, id=st.just("b")),
    st.builds(ResumeBatch, id=st.just("b")),
    st.builds(lambda failed: ChangeBatch(id="b", max_readers=2, tolerance=Tolerance(failed_jobs=failed)), jobs_of),
    st.builds(CutJob, id=st.just("b"), file_index=indexes, index=jobs_of, count=st.just(5)),
)
cancels: st.SearchStrategy[Any] = st.one_of(
    st.builds(CancelBatch, id=st.just("b")),
    st.builds(FinishCancel, id=st.just("b"), jobs=jobs_of, succeeded=jobs_of, failed=jobs_of),
)
MANIFEST = Manifest(batch="b", spec="load", format="ndjson", jobs={}, rows=0, size=0, sha256="")
collections = st.sampled_from(
    [
        CollectResults(id="b", collection="c", format="ndjson"),
        FinishResults(id="b", collection="c", manifest=MANIFEST),
        FailResults(id="b", collection="c", reason="no"),
    ]
)

AnyCommand = BatchCommand | BatchControl | BatchCollection


def names_a_file_that_is_not_listed(state: BatchState | None, command: AnyCommand) -> bool:
    """Say whether a command is of a reader that is ahead of the batch: none is."""
    return state is not None and getattr(command, "file_index", -1) >= len(state.files)


def decided(state: BatchState | None, command: AnyCommand) -> list[Event]:
    """Return what follows, nothing if it is refused: of a batch that is not there, or at its end."""
    try:
        return decide(state, command, NOW)
    except UnknownAggregateError:
        assert state is None
    except EndedError:
        assert state
        assert state.status in ENDED_BATCH or state.status == "cancelling" or isinstance(command, PauseBatch)
        assert isinstance(command, RedriveBatch | BatchControl)
    return []


@given(
    st.sampled_from([DETAILS, SEARCHED]),
    st.lists(
        st.one_of(commands, commands, commands, listings, failures, redrives, steering, cancels, collections),
        max_size=25,
    ),
)
def test_no_order_or_repetition_of_commands_breaks_a_batch(details: BatchDetails, some: list[AnyCommand]) -> None:
    state: BatchState | None = None
    history: list[Event] = []
    kept: list[FileFault] = []
    for command in some:
        if isinstance(command, OpenBatch):
            command = OpenBatch(id="b", details=details)  # noqa: PLW2901 - one kind of batch an example
        if names_a_file_that_is_not_listed(state, command):
            continue
        before = state
        events = decided(state, command)
        for event in events:
            history.append(event)
            state = evolve(state, event)  # type: ignore[arg-type] # list[Event] is wider than the union
        if state is None:
            continue
        assert decided(state, command) == []
        if before and before.status in ENDED_BATCH and not isinstance(command, RedriveBatch | BatchCollection):
            assert state == before
        for event in events:
            if isinstance(event, RowsQuarantined):
                assert not set(kept) & set(event.faults)
                kept += event.faults
        if state.status not in ("failed", "cancelling", "cancelled"):
            read = state.listed and all(file.finished for file in state.files)
            assert (state.status != "reading") == read
            ended = read and state.jobs_ended >= state.jobs and not state.redrive
            assert (state.status in ENDED_BATCH) == ended

    assert [event.originator_version for event in history] == list(range(1, len(history) + 1))
    assert state_after(*(decode_event(encode(event)) for event in history)) == state
