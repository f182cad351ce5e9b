"""What must hold of the log and the views whatever was killed."""

from contextlib import closing
from pathlib import Path

from events.catalog import AnyEvent, decode_event
from projections.verify import verify_views
from projections.views import Views
from rota.jetstream import Connection
from rota.replay import Replay, extent
from tests.acceptance.system import until


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


async def history(nats_url: str) -> list[AnyEvent]:
    """Return all events in the log, in its order."""
    events: list[AnyEvent] = []
    async with await Connection.open(nats_url, name="audit") as connection, Replay(connection) as replay:
        while taken := await replay.take():
            events += [decode_event(message.data) for _, message in taken]
    return events
