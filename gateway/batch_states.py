"""The state of a batch as the log has it by now, however new the batch is."""

from functools import reduce

from events.batch import BatchDetails, OpenBatch
from events.batch_decisions import BATCH
from events.batch_state import BatchState
from events.catalog import decode_event
from events.jetstream.repository import load_state
from events.jetstream.snapshots import Snapshots
from events.jetstream.topology import EVENTS
from events.subjects import event_on
from gateway.edge import Edge
from gateway.lookup import find
from rota.errors import RotaError
from rota.protocol import BatchStatus


async def find_state(edge: Edge, id_: str) -> tuple[BatchDetails, BatchState | None]:
    """Return what a batch is, and its state, None as long as only its command waits.

    NotFoundError if there was never such a batch.
    """
    state: BatchState | None
    state, _ = await load_state(edge.log, Snapshots(edge.connection), "batch", id_)
    if state is None:
        found = await find(edge, "batch", id_)
        state = reduce(BATCH.evolve, (recorded.event for recorded in found.events), None)
        if state is None and isinstance(found.waiting, OpenBatch):
            return found.waiting.details, None
    if state is None:
        raise RotaError(f"The batch {id_} has no beginning")
    return state.details, state


async def why(edge: Edge, id_: str, status: BatchStatus) -> str:
    """Return the reason that the batch's event of a status gives; nothing if it gives none."""
    message = await edge.connection.last(EVENTS, event_on("batch", id_, status))
    return str(getattr(decode_event(message.data), "reason", "")) if message else ""
