"""What people may do with a batch at work: its decider."""

from typing import Any

import pytest

from events.base import EndedError, Event
from events.batch import (
    BatchCompleted,
    BatchSealed,
    CountJobs,
    CutJob,
    FailBatch,
    FailFile,
    JobCut,
    JobsCounted,
)
from events.batch_control import (
    BatchCancelled,
    BatchCancelling,
    BatchChanged,
    BatchPaused,
    BatchResumed,
    CancelBatch,
    ChangeBatch,
    FinishCancel,
    PauseBatch,
    ResumeBatch,
)
from events.batch_decisions import decide
from events.batch_results import (
    CollectResults,
    FailResults,
    FinishResults,
    ResultsCollected,
    ResultsFailed,
    ResultsRequested,
)
from rota.batch_protocol import Manifest, Tolerance
from tests.unit.batch_history import (
    FAILED,
    FAULT,
    NOW,
    OPENED,
    SEALED,
    SEARCHING,
    advance,
    advanced,
    facts,
    finished,
    known_after,
    listing,
    state_after,
)

PAUSED = BatchPaused(**facts(2), reason="lunch")
CANCELLING = BatchCancelling(**facts(2), reason="wrong file")
COMPLETED: list[Event] = [*SEALED, BatchCompleted(**facts(5), succeeded=2, failed=0)]


def test_a_batch_is_paused_and_resumed_once() -> None:
    pause, resume = PauseBatch(id="b", reason="lunch"), ResumeBatch(id="b")

    assert decide(state_after(OPENED), pause, NOW) == [PAUSED]
    assert decide(state_after(OPENED, PAUSED), pause, NOW) == []
    assert decide(state_after(OPENED, PAUSED), resume, NOW) == [BatchResumed(**facts(3))]
    assert decide(state_after(OPENED), resume, NOW) == []


def test_what_is_scheduled_already_is_noted_while_a_batch_is_paused() -> None:
    assert decide(state_after(OPENED, PAUSED), advance(2, 20, 300), NOW) == [advanced(3, 2, 20, 300)]


def test_a_batch_that_is_read_cannot_be_paused() -> None:
    with pytest.raises(EndedError, match="The batch b is sealed: no more jobs will be scheduled"):
        decide(state_after(*SEALED), PauseBatch(id="b"), NOW)


def test_limits_and_tolerance_are_changed_where_they_differ() -> None:
    change = ChangeBatch(id="b", max_jobs_in_flight=100, max_readers=3, tolerance=Tolerance(bad_rows=5))
    changed = BatchChanged(**facts(2), max_readers=3, tolerance=Tolerance(bad_rows=5))

    assert decide(state_after(OPENED), change, NOW) == [changed]
    state = known_after(OPENED, changed)
    assert (state.details.max_readers, state.details.tolerance) == (3, Tolerance(bad_rows=5))
    assert decide(state, change, NOW) == []


@pytest.mark.parametrize(
    "history", [COMPLETED, FAILED, [OPENED, CANCELLING]], ids=["completed", "failed", "cancelling"]
)
@pytest.mark.parametrize("command", [PauseBatch(id="b"), ResumeBatch(id="b"), ChangeBatch(id="b", max_readers=3)])
def test_a_batch_that_has_ended_is_not_steered(history: list[Event], command: Any) -> None:
    with pytest.raises(EndedError, match="The batch b has ended"):
        decide(state_after(*history), command, NOW)


@pytest.mark.parametrize("history", [COMPLETED, FAILED], ids=["completed", "failed"])
def test_a_batch_that_has_ended_is_not_cancelled(history: list[Event]) -> None:
    with pytest.raises(EndedError, match="The batch b has ended"):
        decide(state_after(*history), CancelBatch(id="b"), NOW)


def test_a_batch_is_cancelled_once() -> None:
    cancel = CancelBatch(id="b", reason="wrong file")

    assert decide(state_after(OPENED), cancel, NOW) == [CANCELLING]
    assert decide(state_after(OPENED, CANCELLING), cancel, NOW) == []
    cancelled = BatchCancelled(**facts(3), jobs=2, succeeded=1, failed=1, reason="wrong file")
    assert decide(state_after(OPENED, CANCELLING, cancelled), cancel, NOW) == []


def test_a_cancelled_batch_ends_when_its_jobs_have() -> None:
    finish = FinishCancel(id="b", jobs=2, succeeded=1, failed=1)
    cancelled = BatchCancelled(**facts(3), jobs=2, succeeded=1, failed=1, reason="wrong file")

    assert decide(state_after(OPENED, CANCELLING), finish, NOW) == [cancelled]
    state = known_after(OPENED, CANCELLING, cancelled)
    assert (state.status, state.succeeded, state.failed) == ("cancelled", 1, 1)
    assert decide(state, finish, NOW) == []
    assert decide(state_after(OPENED), finish, NOW) == []


@pytest.mark.parametrize(
    "command",
    [
        FailFile(id="b", file_index=0, fault=FAULT, rows=0, jobs=0),
        CountJobs(id="b", until=90, succeeded=0, failed=9),
    ],
    ids=["a file fails", "all jobs have ended"],
)
def test_a_batch_that_is_being_cancelled_ends_in_no_other_way(command: Any) -> None:
    history = [OPENED, CANCELLING, finished(3, 1)]

    state = known_after(*history, *decide(state_after(*history), command, NOW))

    assert state.status == "cancelling"


def test_a_batch_that_is_being_cancelled_does_not_fail_for_want_of_files() -> None:
    cancelling = BatchCancelling(**facts(2))

    assert decide(state_after(SEARCHING, cancelling), FailBatch(id="b", reason="no"), NOW) == []
    assert decide(state_after(SEARCHING, cancelling), listing(0), NOW)
    assert known_after(
        SEARCHING, cancelling, *decide(state_after(SEARCHING, cancelling), listing(0), NOW)
    ).status == ("cancelling")


def test_a_job_that_is_cut_early_is_told_once_until_it_is_scheduled() -> None:
    cut = CutJob(id="b", file_index=0, index=2, count=4)
    happened = JobCut(**facts(2), file_index=0, index=2, count=4)

    assert decide(state_after(OPENED), cut, NOW) == [happened]
    assert decide(state_after(OPENED, happened), cut, NOW) == []
    assert known_after(OPENED, happened).files[0].cuts == ((2, 4),)
    later = [OPENED, happened, advanced(3, 3, 24, 300)]
    assert known_after(*later).files[0].cuts == ()
    assert decide(state_after(*later), cut, NOW) == []


MANIFEST = Manifest(batch="b", spec="load", format="ndjson", jobs={"total": 2}, rows=9, size=90, sha256="ab")
COLLECT = CollectResults(id="b", collection="c", format="ndjson", path="out.ndjson", connection="lake")


@pytest.mark.parametrize("history", [[OPENED], COMPLETED, FAILED], ids=["reading", "completed", "failed"])
def test_results_are_collected_at_any_time_and_once(history: list[Event]) -> None:
    version = len(history)
    requested = ResultsRequested(
        **facts(version + 1), collection="c", format="ndjson", path="out.ndjson", connection="lake"
    )
    collected = ResultsCollected(**facts(version + 2), collection="c", manifest=MANIFEST)
    finish = FinishResults(id="b", collection="c", manifest=MANIFEST)
    fail = FailResults(id="b", collection="c", reason="no room")

    assert decide(state_after(*history), COLLECT, NOW) == [requested]
    assert decide(state_after(*history), finish, NOW) == []
    asked = [*history, requested]
    assert decide(state_after(*asked), COLLECT, NOW) == []
    assert decide(state_after(*asked), finish, NOW) == [collected]
    for again in (COLLECT, finish, fail):
        assert decide(state_after(*asked, collected), again, NOW) == []


def test_results_that_cannot_be_collected_change_nothing_of_the_batch() -> None:
    history = [OPENED, ResultsRequested(**facts(2), collection="c", format="ndjson")]
    failed = ResultsFailed(**facts(3), collection="c", reason="no room")

    assert decide(state_after(*history), FailResults(id="b", collection="c", reason="no room"), NOW) == [failed]
    assert known_after(*history, failed).status == "reading"
    assert decide(state_after(*history, failed), COLLECT, NOW) == []


def test_what_is_counted_seals_nothing_that_is_not_read() -> None:
    history = [OPENED, PAUSED, finished(3, 0), JobsCounted(**facts(4), until=90, succeeded=1, failed=0)]

    events = [
        type(event)
        for event in decide(state_after(*history), CountJobs(id="b", until=95, succeeded=1, failed=0), NOW)
    ]

    assert BatchSealed not in events
