"""Snapshots: the state of an aggregate with a long history, so that only what came later need be read."""

from typing import Any

import msgspec
from msgspec import MsgspecError, Raw, Struct

from events.base import Aggregate
from events.catalog import encode
from events.jetstream.topology import SNAPSHOTS
from events.subjects import snapshot_subject
from rota.jetstream import Connection

UNDECODABLE = (MsgspecError, RecursionError, UnicodeDecodeError)


class Snapshot(Struct, frozen=True):
    """A state as it was after the event at a sequence of the log."""

    state_version: int
    sequence: int
    state: Raw


class Snapshots:
    """The newest snapshot of each aggregate. Losing one costs time, nothing else."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def load(self, aggregate: Aggregate, id_: str) -> tuple[Any, int]:
        """Return a state and the sequence that it stands for; None and 0 if there is none that can be used."""
        message = await self._connection.last(SNAPSHOTS, snapshot_subject(aggregate.kind, id_))
        if message is None:
            return None, 0
        try:
            snapshot = msgspec.msgpack.decode(message.data, type=Snapshot)
            if snapshot.state_version != aggregate.state_version:
                return None, 0
            return msgspec.msgpack.decode(snapshot.state, type=aggregate.state), snapshot.sequence
        except UNDECODABLE:
            return None, 0

    async def save(self, aggregate: Aggregate, id_: str, state: Any, sequence: int) -> None:
        """Keep a state whose last event is stored at a sequence, without waiting for it."""
        snapshot = Snapshot(aggregate.state_version, sequence, Raw(encode(state)))
        await self._connection.send(snapshot_subject(aggregate.kind, id_), encode(snapshot))


def is_due(aggregate: Aggregate, before: Any, after: Any) -> bool:
    """Say whether a state should be kept after events that changed it."""
    if aggregate.snapshot_every is None:
        return False
    every = aggregate.snapshot_every(after)
    return (before.version if before else 0) // every < int(after.version) // every
