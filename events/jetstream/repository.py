"""The state of one aggregate, folded from its events in the log."""

from typing import Any

from events.base import Kind
from events.catalog import AGGREGATES
from events.jetstream.log import Log, Recorded
from events.jetstream.snapshots import Snapshots


async def load_state(
    log: Log, snapshots: Snapshots, kind: Kind, id_: str, *, known: tuple[Any, int] = (None, 0)
) -> tuple[Any, int]:
    """Return an aggregate's state (None before its first event) and the log's sequence of its last event.

    What is `known` of it, likewise, need not be read again.
    """
    aggregate = AGGREGATES[kind]
    state, last = known
    if state is None and aggregate.snapshot_every:
        state, last = await snapshots.load(aggregate, id_)
    later = await log.load(kind, id_, after=last)
    if state and not await _fits(log, kind, id_, (state.version, last), later):
        state, last = None, 0
        later = await log.load(kind, id_)
    for recorded in later:
        state, last = aggregate.evolve(state, recorded.event), recorded.sequence
    return state, last


async def _fits(log: Log, kind: Kind, id_: str, seen: tuple[int, int], later: list[Recorded]) -> bool:
    """Say whether a snapshot, of a version at a sequence, is of this log: a power cut may have cost events."""
    if later:
        return later[0].event.originator_version == seen[0] + 1
    newest = await log.last(kind, id_)
    return newest is not None and (newest.event.originator_version, newest.sequence) == seen
