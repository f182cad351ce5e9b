"""Collections of a batch's results: what was asked, and what became of it."""

from msgspec import Struct

from events.batch_results import ResultsCollected, ResultsFailed, ResultsRequested
from events.catalog import decode_event
from events.jetstream.direct import scan
from events.jetstream.topology import EVENTS
from rota.jetstream import Connection


class Collection(Struct, frozen=True):
    """A collection; as long as it has not ended, its file is being made."""

    asked: ResultsRequested
    ended: ResultsCollected | ResultsFailed | None = None


async def find_collection(connection: Connection, batch: str, id_: str) -> Collection | None:
    """Return a collection as the log has it, None if there is none."""
    # Each name has a subject of its own, so that nothing else of the batch is read.
    asked = ended = None
    async for message in scan(connection, EVENTS, f"rota.event.batch.{batch}.results_requested"):
        event = decode_event(message.data)
        if isinstance(event, ResultsRequested) and event.collection == id_:
            asked = event
            break
    if asked is None:
        return None
    for name in ("results_collected", "results_failed"):
        async for message in scan(connection, EVENTS, f"rota.event.batch.{batch}.{name}"):
            event = decode_event(message.data)
            if isinstance(event, ResultsCollected | ResultsFailed) and event.collection == id_:
                ended = event
    return Collection(asked, ended)
