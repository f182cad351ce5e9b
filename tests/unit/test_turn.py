"""Commands are decided in memory, and what belongs together is stored together, once."""

from datetime import UTC, datetime

import pytest
from msgspec import Raw

from actors.cache import Entry
from actors.turn import TURN_BYTES, TURN_EVENTS, UNIT_EVENTS, Turn
from events.base import Origin, UnknownAggregateError
from events.catalog import AnyCommand
from events.job import CancelJob, ScheduleJob
from events.subjects import kind_of
from rota.protocol import JobDetails

NOW = datetime(2026, 3, 1, tzinfo=UTC)
DETAILS = JobDetails("add", "sums", Raw(b"\x80"))


def turn_with(*jobs: str) -> Turn:
    """Return a turn in which these jobs were scheduled."""
    turn = Turn(NOW)
    turn.know({("job", job): Entry(None, 0) for job in jobs})
    for job in jobs:
        decide(turn, ScheduleJob(id=job, details=DETAILS))
    return turn


def decide(turn: Turn, command: AnyCommand) -> None:
    assert kind_of(command) == "job"
    turn.decide(command, Origin("1", "test"))


def units(turn: Turn) -> list[list[str]]:
    return [[append.id for append in unit] for unit in turn.units()]


def test_what_is_not_tied_is_stored_by_itself() -> None:
    assert units(turn_with("a", "b")) == [["a"], ["b"]]


def test_what_is_tied_is_stored_together() -> None:
    turn = turn_with("a", "b", "c")
    turn.tie([("job", "a"), ("job", "c")])
    assert units(turn) == [["a", "c"], ["b"]]


def test_what_was_tied_before_comes_along_once() -> None:
    turn = turn_with("a", "b", "c", "d")
    turn.tie([("job", "a"), ("job", "b")])
    turn.tie([("job", "c"), ("job", "b"), ("job", "d"), ("job", "b"), ("job", "a")])
    assert units(turn) == [["c", "a", "b", "d"]]


def test_what_has_no_events_is_not_tied() -> None:
    turn = turn_with("a")
    decide(turn, ScheduleJob(id="a", details=DETAILS))
    turn.know({("job", "b"): Entry(None, 0)})
    with pytest.raises(UnknownAggregateError):
        decide(turn, CancelJob(id="b"))
    turn.tie([("job", "b")])
    turn.tie([("job", "a"), ("job", "b")])
    assert units(turn) == [["a"]]
    assert turn.undecided() == {("job", "b")}


def test_later_commands_see_what_was_decided_before() -> None:
    turn = turn_with("a")
    decide(turn, CancelJob(id="a"))
    [[append]] = turn.units()
    assert [event.originator_version for event in append.events] == [1, 2]
    assert append.expected == 0


def test_it_is_full_when_much_is_stored_together() -> None:
    jobs = [f"j{number}" for number in range(UNIT_EVENTS)]
    turn = turn_with(*jobs)
    assert not turn.is_full
    turn.tie(("job", job) for job in jobs[1:])
    assert not turn.is_full
    turn.tie(("job", job) for job in jobs)
    assert turn.is_full


def test_it_is_full_when_there_is_much_at_all() -> None:
    assert turn_with(*(f"j{number}" for number in range(TURN_EVENTS))).is_full


def test_it_is_full_when_what_is_new_is_large() -> None:
    turn = Turn(NOW)
    turn.know({("job", "a"): Entry(None, 0)})
    decide(turn, ScheduleJob(id="a", details=JobDetails("add", "sums", Raw(bytes(TURN_BYTES)))))
    assert turn.is_full
