"""What may go wrong with a batch, and which of it is done again: its decider."""

from typing import Any

import msgspec
import pytest

from events.base import EndedError, Event
from events.batch import (
    BatchCompleted,
    BatchCompletedWithFailures,
    BatchFailed,
    BatchOpened,
    BatchRedriven,
    BatchSealed,
    FinishFile,
    FinishRedrive,
    JobsCounted,
    JobsRedriven,
    RedriveBatch,
    RowsQuarantined,
)
from events.batch_control import BatchChanged, BatchPaused, CancelBatch, ChangeBatch
from events.batch_decisions import decide
from events.batch_state import Redrive
from rota.batch_protocol import BadRowsAgain, FailedJobs, StreamRules, Tolerance
from tests.unit.batch_history import (
    DETAILS,
    FAILED,
    NOW,
    OPENED,
    SEALED,
    bad_rows,
    count,
    facts,
    failed_file,
    finished,
    known_after,
    quarantine,
    quarantined,
    state_after,
)

ONE_FAILED = [
    *SEALED,
    JobsCounted(**facts(5), until=90, succeeded=1, failed=1),
    BatchCompletedWithFailures(**facts(6), succeeded=1, failed=1, reason="1 of 2 jobs ended without success"),
]
REDRIVEN = [*ONE_FAILED, BatchRedriven(**facts(7), jobs=FailedJobs())]
FINISH = FinishRedrive(id="b", redrive=7, jobs=1)


def tolerating(**what: Any) -> BatchOpened:
    details = msgspec.structs.replace(DETAILS, tolerance=Tolerance(**what), bad_rows="quarantine")
    return BatchOpened(**facts(1), details=details)


def test_a_batch_with_failed_jobs_is_redriven_with_those_that_are_wished() -> None:
    jobs = FailedJobs(file="a.csv", error="KeyError")
    redriven = BatchRedriven(**facts(7), jobs=jobs)

    assert decide(state_after(*ONE_FAILED), RedriveBatch(id="b", jobs=jobs), NOW) == [redriven]
    state = known_after(*ONE_FAILED, redriven)
    assert (state.status, state.redrive) == ("sealed", Redrive(7, jobs))


def test_a_batch_does_not_judge_itself_before_its_jobs_run_again() -> None:
    assert decide(state_after(*REDRIVEN), count(95, 2, 0), NOW) == [
        JobsCounted(**facts(8), until=95, succeeded=2, failed=0)
    ]


def test_jobs_that_run_again_are_counted_by_their_reader_alone() -> None:
    """It has told by then how many have ended: one less, and maybe one more since."""
    told = JobsCounted(**facts(8), until=95, succeeded=1, failed=0)

    [redriven] = decide(state_after(*REDRIVEN, told), FINISH, NOW)

    assert redriven == JobsRedriven(**facts(9), redrive=7, jobs=1)
    state = known_after(*REDRIVEN, told, redriven)
    assert (state.status, state.succeeded, state.failed, state.redrive) == ("sealed", 1, 0, None)
    assert decide(state, FINISH, NOW) == []
    assert decide(state, count(99, 2), NOW) == [
        JobsCounted(**facts(10), until=99, succeeded=2, failed=0),
        BatchCompleted(**facts(11), succeeded=2, failed=0),
    ]


def test_a_batch_whose_jobs_ended_again_meanwhile_ends_with_its_redrive() -> None:
    told = JobsCounted(**facts(8), until=95, succeeded=1, failed=1)

    assert decide(state_after(*REDRIVEN, told), FINISH, NOW) == [
        JobsRedriven(**facts(9), redrive=7, jobs=1),
        BatchCompletedWithFailures(**facts(10), succeeded=1, failed=1, reason="1 of 2 jobs ended without success"),
    ]


@pytest.mark.parametrize("history", [SEALED, REDRIVEN], ids=["none", "another"])
def test_a_redrive_that_is_not_under_way_is_not_finished(history: list[Event]) -> None:
    assert decide(state_after(*history), FinishRedrive(id="b", redrive=6, jobs=1), NOW) == []


def test_a_redrive_ends_with_the_failure_of_its_batch() -> None:
    history = [*FAILED, BatchRedriven(**facts(6), jobs=FailedJobs()), *failed_file(7)]

    assert known_after(*history).redrive is None
    assert decide(state_after(*history), FinishRedrive(id="b", redrive=6, jobs=1), NOW) == []


def test_a_redriven_batch_is_not_paused_any_more() -> None:
    paused = BatchPaused(**facts(2))
    history = [OPENED, paused, *failed_file(3), BatchRedriven(**facts(5), jobs=FailedJobs())]

    assert known_after(*history[:-1]).paused
    assert not known_after(*history).paused


QUARANTINED = [
    tolerating(),
    RowsQuarantined(**facts(2), file_index=0, bad_before=0, faults=bad_rows(3, 4)),
    finished(3, 0),
    finished(4, 1),
    BatchSealed(**facts(5), rows=20, jobs=2),
    JobsCounted(**facts(6), until=90, succeeded=2, failed=0),
    BatchCompletedWithFailures(**facts(7), succeeded=2, failed=0, reason="2 rows are in quarantine"),
]


def test_a_batch_with_quarantined_rows_is_completed_with_failures() -> None:
    assert decide(state_after(*QUARANTINED[:-2]), count(90, 2), NOW) == QUARANTINED[-2:]


def test_quarantined_rows_are_read_again_as_another_file() -> None:
    [redriven] = decide(state_after(*QUARANTINED), RedriveBatch(id="b", rows=BadRowsAgain()), NOW)

    assert redriven == BatchRedriven(**facts(8), jobs=FailedJobs(), mends=(0,))
    state = known_after(*QUARANTINED, redriven)
    assert (state.status, [(file.path, file.mends) for file in state.files]) == (
        "reading",
        [("a.csv", None), ("b.csv", None), ("a.csv", 0)],
    )


def test_rows_that_are_mended_are_in_quarantine_no_more() -> None:
    history = [
        *QUARANTINED,
        BatchRedriven(**facts(8), jobs=FailedJobs(), mends=(0,)),
        JobsRedriven(**facts(9), redrive=8, jobs=0),
    ]
    mended = FinishFile(id="b", file_index=2, rows=2, jobs=1)
    events = decide(state_after(*history), mended, NOW)
    assert events == [finished(10, 2, rows=2), BatchSealed(**facts(11), rows=22, jobs=3)]

    assert decide(state_after(*history, *events), count(95, 3), NOW)[1:] == [
        BatchCompleted(**facts(13), succeeded=3, failed=0)
    ]


def test_rows_that_are_still_bad_can_be_read_again() -> None:
    history = [
        *QUARANTINED,
        BatchRedriven(**facts(8), jobs=FailedJobs(), mends=(0,)),
        JobsRedriven(**facts(9), redrive=8, jobs=0),
        RowsQuarantined(**facts(10), file_index=2, bad_before=0, faults=bad_rows(4)),
        finished(11, 2, rows=1),
        BatchSealed(**facts(12), rows=21, jobs=3),
    ]
    events = decide(state_after(*history), count(95, 3), NOW)
    assert isinstance(events[-1], BatchCompletedWithFailures)
    assert events[-1].reason == "1 row is in quarantine"

    [redriven] = decide(state_after(*history, *events), RedriveBatch(id="b", rows=BadRowsAgain()), NOW)
    assert isinstance(redriven, BatchRedriven)
    assert redriven.mends == (2,)


def test_rows_of_a_file_without_bad_ones_are_not_read_again() -> None:
    with pytest.raises(EndedError, match=r"no quarantined rows of b\.csv that could be read again"):
        decide(state_after(*QUARANTINED), RedriveBatch(id="b", rows=BadRowsAgain(file="b.csv")), NOW)


def test_rows_of_a_stream_are_not_read_again() -> None:
    details = msgspec.structs.replace(DETAILS, files=("stream",), stream=StreamRules(), bad_rows="quarantine")
    history = [
        BatchOpened(**facts(1), details=details),
        quarantined(2, 0, 3),
        finished(3, 0),
        BatchSealed(**facts(4), rows=10, jobs=1),
        BatchCompletedWithFailures(**facts(5), succeeded=1, failed=0, reason="1 row is in quarantine"),
    ]

    with pytest.raises(EndedError, match="was streamed in without quarantine, and its bytes are gone"):
        decide(state_after(*history), RedriveBatch(id="b", rows=BadRowsAgain()), NOW)


def failure_of(history: list[Event], command: Any) -> str | None:
    """Return why the batch fails after a command."""
    *_, last = decide(state_after(*history), command, NOW)
    return last.reason if isinstance(last, BatchFailed) else None


def test_a_batch_fails_with_one_failed_job_more_than_it_tolerates() -> None:
    opened: list[Event] = [tolerating(failed_jobs=2)]

    assert failure_of(opened, count(90, 500, 2)) is None
    assert failure_of(opened, count(90, 0, 3)) == "3 jobs ended without success, and failed_jobs tolerates 2"


@pytest.mark.parametrize(
    ("succeeded", "failed", "fails"),
    [(0, 99, False), (90, 10, False), (89, 11, True), (900, 100, False), (899, 101, True)],
)
def test_a_share_of_failed_jobs_is_judged_when_many_have_ended(succeeded: int, failed: int, *, fails: bool) -> None:
    reason = failure_of([tolerating(failed_jobs_share=0.1)], count(90, succeeded, failed))

    jobs = succeeded + failed
    told = f"{failed} of {jobs} jobs ended without success, and failed_jobs_share tolerates 0.1"
    assert reason == (told if fails else None)


def test_a_share_of_failed_jobs_is_judged_when_all_have_ended() -> None:
    history = [tolerating(failed_jobs_share=0.4), *SEALED[1:]]

    assert failure_of(history, count(90, 1, 1)) is not None
    assert failure_of([tolerating(failed_jobs_share=0.5), *SEALED[1:]], count(90, 1, 1)) is None


def test_a_batch_fails_with_one_bad_row_more_than_it_tolerates() -> None:
    opened: list[Event] = [tolerating(bad_rows=2)]

    assert failure_of(opened, quarantine(0, 3, 4)) is None
    assert failure_of(opened, quarantine(0, 3, 4, 5)) == "3 rows cannot be read, and bad_rows tolerates 2"


def test_a_share_of_bad_rows_is_judged_when_many_rows_are_read_or_all() -> None:
    opened: list[Event] = [tolerating(bad_rows_share=0.1)]
    assert failure_of(opened, quarantine(0, 3, 4)) is None
    some = FinishFile(id="b", file_index=0, rows=8, jobs=1, bad=2)
    many = FinishFile(id="b", file_index=0, rows=8_000, jobs=1, bad=2_000)
    assert failure_of(opened, some) is None
    assert failure_of(opened, many) == "2000 of 10000 rows cannot be read, and bad_rows_share tolerates 0.1"

    read = [*opened, *decide(state_after(*opened), some, NOW)]
    rest = FinishFile(id="b", file_index=1, rows=0, jobs=0)
    assert failure_of(read, rest) == "2 of 10 rows cannot be read, and bad_rows_share tolerates 0.1"


def test_a_smaller_tolerance_counts_at_once() -> None:
    history = [OPENED, JobsCounted(**facts(2), until=90, succeeded=0, failed=3)]
    change = ChangeBatch(id="b", tolerance=Tolerance(failed_jobs=2))

    [changed, failed] = decide(state_after(*history), change, NOW)

    assert isinstance(changed, BatchChanged)
    assert isinstance(failed, BatchFailed)


def test_a_batch_that_failed_by_its_jobs_is_redriven_with_another_tolerance() -> None:
    history = [
        tolerating(failed_jobs=0),
        *SEALED[1:],
        JobsCounted(**facts(5), until=90, succeeded=0, failed=1),
        BatchFailed(**facts(6), reason="1 jobs ended without success, and failed_jobs tolerates 0"),
    ]
    redrive = RedriveBatch(id="b", tolerance=Tolerance(failed_jobs=5))
    events = decide(state_after(*history), redrive, NOW)
    state = known_after(*history, *events)

    assert (state.status, state.details.tolerance) == ("sealed", Tolerance(failed_jobs=5))
    assert failure_of([*history, *events], FinishRedrive(id="b", redrive=7, jobs=0)) is None


def test_a_batch_that_is_being_cancelled_does_not_run_jobs_again() -> None:
    [cancelling] = decide(state_after(*REDRIVEN), CancelBatch(id="b"), NOW)

    assert known_after(*REDRIVEN, cancelling).redrive is None


def streamed(*, keeps: bool) -> list[Event]:
    details = msgspec.structs.replace(
        DETAILS, files=("stream",), stream=StreamRules(), bad_rows="quarantine", keeps_stream=keeps
    )
    return [
        BatchOpened(**facts(1), details=details),
        quarantined(2, 0, 3),
        finished(3, 0),
        BatchSealed(**facts(4), rows=10, jobs=1),
        BatchCompletedWithFailures(**facts(5), succeeded=1, failed=0, reason="1 row is in quarantine"),
    ]


def test_rows_of_a_stream_that_is_kept_are_read_again_in_another_way() -> None:
    options = {"column_types": {"id": "string"}}
    redrive = RedriveBatch(id="b", rows=BadRowsAgain(), jobs=None, options=options)

    [redriven] = decide(state_after(*streamed(keeps=True)), redrive, NOW)

    assert redriven == BatchRedriven(**facts(6), mends=(0,), options=options)


def test_a_stream_whose_bytes_are_gone_is_read_on_as_it_was_begun_alone() -> None:
    details = msgspec.structs.replace(DETAILS, files=("stream",), stream=StreamRules())
    history = [BatchOpened(**facts(1), details=details), *failed_file(2)]

    with pytest.raises(EndedError, match="bytes that were read are gone"):
        decide(state_after(*history), RedriveBatch(id="b", options={"delimiter": ";"}), NOW)
    assert decide(state_after(*history), RedriveBatch(id="b", bad_rows="skip"), NOW)


def test_a_redrive_that_is_asked_for_twice_under_a_key_is_done_once() -> None:
    asked = RedriveBatch(id="b", key="again")
    [redriven] = decide(state_after(*ONE_FAILED), asked, NOW)
    failed_again = [
        *ONE_FAILED,
        redriven,
        JobsRedriven(**facts(8), redrive=7, jobs=1),
        BatchCompletedWithFailures(**facts(9), succeeded=1, failed=1, reason="1 of 2 jobs ended without success"),
    ]

    assert decide(state_after(*failed_again), asked, NOW) == []
    assert decide(state_after(*failed_again), RedriveBatch(id="b", key="once more"), NOW)


def test_rows_that_are_read_again_count_once_for_what_is_tolerated() -> None:
    """What was bad the first time is judged by what is bad the second time."""
    history = [
        tolerating(bad_rows=3),
        quarantined(2, 0, 3, 4, 5),
        finished(3, 0),
        finished(4, 1),
        BatchSealed(**facts(5), rows=20, jobs=2),
        BatchCompletedWithFailures(**facts(6), succeeded=2, failed=0, reason="3 rows are in quarantine"),
        BatchRedriven(**facts(7), mends=(0,)),
    ]
    again = msgspec.structs.replace(quarantine(0, 3, 4), file_index=2)

    assert failure_of(history, again) is None
    assert (
        failure_of([tolerating(bad_rows=1), *history[1:]], again)
        == "2 rows cannot be read, and bad_rows tolerates 1"
    )


def test_a_share_of_rows_is_of_those_that_are_told_together() -> None:
    """Quarantined rows are told before the good ones beside them."""
    opened = tolerating(bad_rows_share=0.01)

    assert failure_of([opened], quarantine(0, *range(3, 203))) is None
