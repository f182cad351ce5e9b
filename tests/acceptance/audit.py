"""What must hold of the log and the views whatever was killed."""

from collections import Counter, defaultdict
from contextlib import closing
from pathlib import Path

import msgspec

from events.batch import BatchCompleted
from events.catalog import AnyEvent, decode_event
from events.job import JobCancelled, JobEnded, JobQueued, JobScheduled, JobSucceeded
from projections.verify import verify_views
from projections.views import Views
from rota.jetstream import Connection
from rota.replay import Replay, extent
from tests.acceptance.load import REQUEST, Accepted
from tests.acceptance.system import until
from tests.acceptance.workflow_load import assert_workflows_ended_right


async def assert_log_and_views_agree(nats_url: str, views: Path) -> None:
    """Check that each history in the log is whole, and that the views are what the log folds to."""
    async with await Connection.open(nats_url, name="audit") as connection:
        last = (await extent(connection)).last

        with closing(Views.open(views)) as stored:

            async def position() -> int:
                return stored.position()

            await until(position, lambda position: position >= last)
        verdict = await verify_views(connection, views, lambda *_: None)
    assert verdict.agrees, verdict
    assert verdict.position == last, "something still goes on"


async def assert_carried_out_once(nats_url: str, accepted: Accepted) -> None:
    """Check that the log has each job and batch of a load once, whole, and with the end that it must have."""
    histories: dict[str, list[AnyEvent]] = defaultdict(list)
    log = await history(nats_url)
    assert_workflows_ended_right(log, accepted.workflows)
    for event in log:
        histories[event.originator_id].append(event)
    requests: Counter[str] = Counter()
    for id_, events in histories.items():
        assert [event.originator_version for event in events] == list(range(1, len(events) + 1)), id_
        first = events[0]
        if isinstance(first, JobQueued | JobScheduled) and (request := first.details.labels.get(REQUEST)):
            requests[request] += 1
            assert isinstance(events[-1], JobEnded), id_
    assert set(requests.values()) == {1}
    for id_, expected in accepted.jobs.items():
        assert id_ in histories, f"the job {id_} was accepted and is lost"
        last = histories[id_][-1]
        if expected is None:
            assert isinstance(last, JobCancelled | JobSucceeded), last
        else:
            assert isinstance(last, JobSucceeded), last
            assert msgspec.msgpack.decode(last.result.value) == expected
    for id_ in accepted.batches:
        assert isinstance(histories[id_][-1], BatchCompleted)


async def history(nats_url: str) -> list[AnyEvent]:
    """Return all events in the log, in its order."""
    events: list[AnyEvent] = []
    async with await Connection.open(nats_url, name="audit") as connection, Replay(connection) as replay:
        while taken := await replay.take():
            events += [decode_event(message.data) for _, message in taken]
    return events
