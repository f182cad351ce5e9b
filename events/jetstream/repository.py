"""The state of one aggregate, folded from its events in the log."""

from typing import Any

from events.base import Kind
from events.catalog import AGGREGATES
from events.jetstream.log import Log


async def load_state(log: Log, kind: Kind, id_: str) -> tuple[Any, int]:
    """Return an aggregate's state (None before its first event) and the log's sequence of its last event."""
    evolve = AGGREGATES[kind].evolve
    state, last = None, 0
    for recorded in await log.load(kind, id_):
        state, last = evolve(state, recorded.event), recorded.sequence
    return state, last
