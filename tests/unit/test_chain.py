from datetime import UTC, datetime
from typing import Any

from rota.chain import Link, tie, walk
from rota.show import chain

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def event(sequence: int, id_: str, version: int, cause: str | None = "", type_: str = "job.x") -> dict[str, Any]:
    """Return an event with its cause; for None it does not know where it comes from."""
    fields = {"sequence": sequence, "at": NOON, "type": type_, "id": id_, "version": version}
    if cause is not None:
        fields["origin"] = {"causation_id": cause, "caller": "reader", "command_id": str(sequence)}
    return fields


def drawn(beginnings: list[Link]) -> list[tuple[int, str]]:
    return [(depth, f"{link.event['id']}.{link.event['version']}") for depth, link in walk(beginnings)]


def test_each_event_stands_below_the_one_that_caused_it() -> None:
    events = [
        event(1, "b", 1),
        event(2, "b", 2, "b.1"),
        event(3, "b_0-0", 1, "b.1"),
        event(4, "b_0-1", 1, "b.1"),
        event(5, "b_0-0", 2, "b_0-0.1"),
        event(6, "b", 3, "b.1"),
    ]
    tree = [(0, "b.1"), (1, "b.2"), (1, "b_0-0.1"), (2, "b_0-0.2"), (1, "b_0-1.1"), (1, "b.3")]
    assert drawn(tie(reversed(events))) == tree


def test_events_without_a_cause_stand_below_the_first_of_their_history() -> None:
    events = [event(1, "a", 1, None), event(2, "c", 1), event(3, "a", 2, None), event(4, "a", 3, "")]
    assert drawn(tie(events)) == [(0, "a.1"), (1, "a.2"), (1, "a.3"), (0, "c.1")]


def test_a_cause_that_would_make_a_circle_is_none() -> None:
    events = [event(1, "a", 1, "a.2"), event(2, "a", 2, "a.2"), event(3, "a", 3, "a.1")]
    assert drawn(tie(events)) == [(0, "a.1"), (1, "a.2"), (1, "a.3")]


def test_a_cause_may_be_something_that_is_no_event_of_the_log() -> None:
    assert drawn(tie([event(1, "a", 1, "order 5 > ship.*")])) == [(0, "a.1")]


def test_a_long_chain_is_no_deep_recursion() -> None:
    events = [event(number, "a", number, f"a.{number - 1}") for number in range(1, 5001)]
    assert drawn(tie(events))[-1] == (4999, "a.5000")


def test_a_chain_is_shown_with_who_asked() -> None:
    links = tie([event(7, "b", 1, "", "batch.opened"), event(8, "b_0-0", 1, "b.1"), event(9, "b_0-0", 2, None)])
    at = "2026-01-31T12:00:00.000Z"
    assert list(chain(links)) == [
        f"       7  {at}  batch.opened  b v1   asked by reader, command 7",
        f"       8  {at}    job.x  b_0-0 v1    asked by reader, command 8",
        f"       9  {at}      job.x  b_0-0 v2",
    ]
