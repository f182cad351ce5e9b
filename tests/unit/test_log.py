"""The log's own history: what was removed from it."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from events.log import LOG_ID, LogState, LogTrimmed, TrimLog, decide, evolve

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
BEFORE = NOW - timedelta(days=30)


def trim(until: int) -> TrimLog:
    return TrimLog(id=LOG_ID, before=BEFORE, until=until, oldest_job=3)


def trimmed(version: int, until: int) -> LogTrimmed:
    return LogTrimmed(
        originator_id=LOG_ID, originator_version=version, at=NOW, before=BEFORE, until=until, oldest_job=3
    )


def test_the_first_removal_begins_the_history() -> None:
    assert decide(None, trim(5), NOW) == [trimmed(1, 5)]


def test_a_later_removal_reaches_further() -> None:
    assert decide(LogState(1, BEFORE, 5), trim(6), NOW) == [trimmed(2, 6)]


def test_what_was_removed_is_not_removed_again() -> None:
    state = evolve(None, trimmed(1, 5))

    assert decide(state, trim(5), NOW) == []
    assert decide(state, trim(4), NOW) == []


@given(st.lists(st.integers(0, 9)))
def test_no_order_of_commands_goes_back(untils: list[int]) -> None:
    state, reached = None, []
    for until in untils:
        for event in decide(state, trim(until), NOW):
            assert isinstance(event, LogTrimmed)
            reached.append(event.until)
            state = evolve(state, event)

    assert reached == sorted(set(reached))
