"""A view on JetStream as an application would write it, for the projection test cases of the library."""

from eventsourcing.persistence import Tracking
from eventsourcing.tests.projection import EventCountersView

from events.jetstream.tracking import JetStreamTrackingRecorder
from rota.jetstream import Message


class CountersView(JetStreamTrackingRecorder, EventCountersView):
    """Two counters, each stored in one batch with the position that it stands for."""

    def get_created_event_counter(self) -> int:
        return self._count("created")

    def get_subsequent_event_counter(self) -> int:
        return self._count("subsequent")

    def incr_created_event_counter(self, tracking: Tracking) -> None:
        self._increment("created", tracking)

    def incr_subsequent_event_counter(self, tracking: Tracking) -> None:
        self._increment("subsequent", tracking)

    def _count(self, name: str) -> int:
        message = self.loop.run(self.connection.last(self.stream, f"{self.stream}.counter.{name}"))
        return int(message.data) if message else 0

    def _increment(self, name: str, tracking: Tracking) -> None:
        count = b"%d" % (self._count(name) + 1)
        self.insert_tracking_with(tracking, [Message(f"{self.stream}.counter.{name}", count)])
