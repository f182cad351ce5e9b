"""Rota's log as an application of the `eventsourcing` library, for replay and audit."""

from collections.abc import Iterable
from typing import Any, ClassVar, cast

from eventsourcing.application import Application
from eventsourcing.persistence import ApplicationRecorder

from events.base import Kind
from events.catalog import AGGREGATES, KINDS, AnyEvent
from events.jetstream.factory import JetStreamFactory
from events.jetstream.loop import Loop
from events.jetstream.recorders import JetStreamApplicationRecorder


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
        return JetStreamApplicationRecorder(self.loop)

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
