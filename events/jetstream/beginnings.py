"""How jobs and batches began: the first event of each, many at a time."""

import asyncio
from collections.abc import Sequence

from events.base import Kind
from events.catalog import AnyEvent, decode_event
from events.jetstream.chain import chain
from events.jetstream.topology import EVENTS
from events.subjects import aggregate_filter
from rota.jetstream import Connection

READS_AT_ONCE = 200


async def beginnings(connection: Connection, kind: Kind, ids: Sequence[str]) -> list[AnyEvent | None]:
    """Return the first event of each aggregate, None where there is none, in the order of the ids."""
    found: list[AnyEvent | None] = []
    for start in range(0, len(ids), READS_AT_ONCE):
        some = ids[start : start + READS_AT_ONCE]
        found += await asyncio.gather(*(_beginning(connection, kind, id_) for id_ in some))
    return found


async def _beginning(connection: Connection, kind: Kind, id_: str) -> AnyEvent | None:
    history = await chain(connection, EVENTS, aggregate_filter(kind, id_))
    return decode_event(history[0].data) if history else None
