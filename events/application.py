"""Rota's log as an application of the `eventsourcing` library, for replay and audit."""

import asyncio
from collections.abc import Iterable
from itertools import chain as joined
from typing import Any, ClassVar, NoReturn, cast
from uuid import UUID

from eventsourcing.application import Application
from eventsourcing.persistence import ApplicationRecorder, NotSupportedError, StoredEvent

from events.base import Kind
from events.catalog import AGGREGATES, KINDS, AnyEvent
from events.jetstream.chain import chain
from events.jetstream.direct import sequence_of
from events.jetstream.envelope import stored_event, token
from events.jetstream.factory import JetStreamFactory
from events.jetstream.loop import Loop
from events.jetstream.recorders import JetStreamApplicationRecorder
from events.jetstream.topology import EVENTS, STREAMS
from events.subjects import aggregate_filter


class RotaRecorder(JetStreamApplicationRecorder):
    """Reads the stream of all events; it is written by those who own the aggregates.

    Events of one aggregate come in the order in which they were stored, which is that of their versions; an id
    that aggregates of several kinds have gives the events of all.
    """

    def __init__(self, loop: Loop) -> None:
        super().__init__(loop, EVENTS)
        self.prefix = "rota.event"

    def _config(self) -> dict[str, Any]:
        return STREAMS[EVENTS]

    async def _insert(self, *_: object) -> NoReturn:
        raise NotSupportedError("Rota's log is written by Rota alone; send a command instead")

    async def _select_events(
        self, id_: UUID | str, gt: int | None, lte: int | None, limit: int | None, *, desc: bool
    ) -> list[StoredEvent]:
        found = await asyncio.gather(
            *(chain(self.connection, self.stream, aggregate_filter(kind, token(id_))) for kind in AGGREGATES)
        )
        events = [
            event
            for event in map(stored_event, sorted(joined.from_iterable(found), key=sequence_of))
            if (gt is None or event.originator_version > gt) and (lte is None or event.originator_version <= lte)
        ]
        return (events[::-1] if desc else events)[:limit]


class RotaLog(Application[str]):
    """Reads Rota's log: states of aggregates at any version, events, the notification log, subscriptions.

    It cannot write: `save` raises NotSupportedError. ROTA_NATS_URL names the server.
    """

    name = "rota"
    # With the application's name before them, these stand above what is set for all applications.
    env: ClassVar[dict[str, str]] = {
        "ROTA_PERSISTENCE_MODULE": "events.jetstream.factory",
        "ROTA_MAPPER_TOPIC": "events.jetstream.mapper:EventMapper",
    }

    def construct_recorder(self) -> ApplicationRecorder:
        """Return a recorder on the stream of all events."""
        return RotaRecorder(self.loop)

    @property
    def loop(self) -> Loop:
        """The loop with the application's connection."""
        return cast("JetStreamFactory", self.factory).loop

    def state(self, kind: Kind, id_: str, version: int | None = None) -> Any:
        """Return an aggregate's state now, or as it was at a version; AggregateNotFoundError if there is none."""

        def fold(state: Any, events: Iterable[AnyEvent]) -> Any:
            for event in events:
                if KINDS[type(event)] == kind:
                    state = AGGREGATES[kind].evolve(state, event)
            return state

        return self.repository.get(id_, version=version, projector_func=fold)
