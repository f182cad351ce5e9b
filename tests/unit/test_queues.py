from collections.abc import Sequence
from contextlib import closing
from datetime import timedelta

from events.base import Event
from events.jetstream.log import Recorded
from events.log import LOG_ID, LogTrimmed
from projections.views import fold
from tests.integration.past import NOON, a_batch, failed, queued, started, succeeded


def counted(events: Sequence[Event]) -> dict[str, dict[str, int]]:
    with closing(fold([Recorded(number, event) for number, event in enumerate(events, start=1)])) as views:  # type: ignore[arg-type] # Event is wider than the union
        return {queue.name: queue.jobs for queue in views.queues()}


def test_jobs_are_counted_by_queue_and_state() -> None:
    events = [queued("a"), queued("b"), queued("c", queue="urgent"), started("a"), succeeded("a", 3), failed("b")]
    assert counted(events) == {
        "sums": {"failed": 1, "succeeded": 1, "total": 2},
        "urgent": {"queued": 1, "total": 1},
    }


def test_jobs_that_retention_removes_are_no_longer_counted() -> None:
    trimmed = LogTrimmed(
        originator_id=LOG_ID,
        originator_version=1,
        at=NOON,
        before=NOON + timedelta(hours=1),
        until=7,
        oldest_job=8,
    )
    events = [*a_batch("b"), queued("a", queue="urgent"), queued("c"), failed("c")]
    assert counted([*events, trimmed]) == {"sums": {"failed": 1, "total": 1}, "urgent": {"queued": 1, "total": 1}}
