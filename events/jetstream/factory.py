"""The persistence module `events.jetstream.factory` of the `eventsourcing` library.

An application that sets PERSISTENCE_MODULE to it keeps its events in JetStream, in streams of its own:
`<application>_EVENTS` and `<application>_SNAPSHOTS`, in capitals. ROTA_NATS_URL names the server;
ROTA_NAMESPACE, if it is set, comes before all names of streams.
"""

from typing import TypeVar

from eventsourcing.persistence import (
    AggregateRecorder,
    ApplicationRecorder,
    InfrastructureFactory,
    NotSupportedError,
    ProcessRecorder,
)
from eventsourcing.utils import Environment, EnvType, resolve_topic

from events.config import Config
from events.jetstream.envelope import token
from events.jetstream.loop import Loop
from events.jetstream.recorders import (
    JetStreamAggregateRecorder,
    JetStreamApplicationRecorder,
    JetStreamRecorder,
)
from events.jetstream.topology import STREAMS
from events.jetstream.tracking import JetStreamProcessRecorder, JetStreamTrackingRecorder

R = TypeVar("R", bound=JetStreamRecorder)


class JetStreamFactory(InfrastructureFactory[JetStreamTrackingRecorder]):
    """Makes recorders that share one connection, which `close` closes."""

    NATS_URL = "ROTA_NATS_URL"
    NAMESPACE = "ROTA_NAMESPACE"

    def __init__(self, env: Environment | EnvType | None) -> None:
        """Connect; OperationalError if no server answers."""
        super().__init__(env)
        url = self.env.get(self.NATS_URL) or Config().nats_url
        self.loop = Loop(url, name=self.env.name or "eventsourcing")

    def close(self) -> None:
        """Close the connection; the recorders cannot be used any more."""
        self.loop.close()

    def aggregate_recorder(self, purpose: str = "events") -> AggregateRecorder:
        """Make a recorder for events of aggregates, or their snapshots."""
        return JetStreamAggregateRecorder(self.loop, self._stream(purpose))

    def application_recorder(self) -> ApplicationRecorder:
        """Make an application recorder, of the class that APPLICATION_RECORDER_TOPIC names if it is set."""
        recorder = self._class(self.APPLICATION_RECORDER_TOPIC, JetStreamApplicationRecorder)
        return recorder(self.loop, self._stream("events"))

    def tracking_recorder(
        self, tracking_recorder_class: type[JetStreamTrackingRecorder] | None = None
    ) -> JetStreamTrackingRecorder:
        """Make a tracking recorder of this class, or the one that TRACKING_RECORDER_TOPIC names."""
        recorder = tracking_recorder_class or self._class(self.TRACKING_RECORDER_TOPIC, JetStreamTrackingRecorder)
        return recorder(self.loop, self._stream("tracking"))

    def process_recorder(self) -> ProcessRecorder:
        """Make a process recorder, of the class that PROCESS_RECORDER_TOPIC names if it is set."""
        recorder = self._class(self.PROCESS_RECORDER_TOPIC, JetStreamProcessRecorder)
        return recorder(self.loop, self._stream("events"))

    def _stream(self, purpose: str) -> str:
        names = (self.env.get(self.NAMESPACE), self.env.name or "stored", purpose)
        stream = "_".join(token(name) for name in names if name).upper()
        if stream in STREAMS:
            raise NotSupportedError(f"The stream {stream} is Rota's own; give the application another name")
        return stream

    def _class(self, key: str, default: type[R]) -> type[R]:
        topic = self.env.get(key)
        return resolve_topic(topic) if topic else default


Factory = JetStreamFactory
