from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rota.errors import InvalidRequestError
from rota.selection import Selection

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def event(id_: str = "a-0", **fields: Any) -> dict[str, Any]:
    return {"type": "job.queued", "id": id_, "version": 1, "at": NOON, **fields}


@pytest.mark.parametrize(
    ("selection", "subjects"),
    [
        (Selection(), ["rota.event.>"]),
        (Selection(id="a"), ["rota.event.*.a.>"]),
        (Selection(kind="job"), ["rota.event.job.*.>"]),
        (Selection(kind="job", id="a"), ["rota.event.job.a.>"]),
        (Selection(types=("job.queued",)), ["rota.event.job.*.queued", "rota.event.job.*.queued.>"]),
        (Selection(types=("job.*",), id="a"), ["rota.event.job.a.>"]),
        (Selection(types=("job.*", "job.queued", "job.*")), ["rota.event.job.*.>"]),
        (Selection(types=("batch.opened", "job.*"), kind="job"), ["rota.event.job.*.>"]),
    ],
)
def test_nats_selects_what_it_can_by_subjects_that_do_not_overlap(
    selection: Selection, subjects: list[str]
) -> None:
    assert selection.subjects() == subjects


def test_a_type_of_another_kind_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match=r"No event of a batch has the type job\.queued"):
        Selection(kind="batch", types=("job.queued",)).subjects()


def test_the_range_of_time_has_its_beginning_and_not_its_end() -> None:
    second = timedelta(seconds=1)
    assert Selection(since=NOON, until=NOON + second).fits(event())
    assert not Selection(since=NOON + second).fits(event())
    assert not Selection(until=NOON).fits(event())


def test_an_event_belongs_to_what_its_origin_says() -> None:
    mine = event("x-0", origin={"correlation_id": "a"})
    others = event("a-0", origin={"correlation_id": "b"})
    assert Selection(correlation_id="a").fits(mine)
    assert not Selection(correlation_id="a").fits(others)


@pytest.mark.parametrize(("id_", "belongs"), [("a", True), ("a-1", True), ("a_0-1", True), ("ab-1", False)])
def test_an_event_without_an_origin_belongs_to_what_its_id_begins_with(id_: str, belongs: bool) -> None:  # noqa: FBT001 - a case
    assert Selection(correlation_id="a").fits(event(id_)) is belongs
