"""The test cases that the `eventsourcing` library ships for persistence modules, on JetStream."""

import os
from uuid import uuid4

import pytest
from eventsourcing.persistence import Tracking
from eventsourcing.tests import application, persistence, projection
from eventsourcing.utils import Environment

from events.jetstream.factory import JetStreamFactory
from events.jetstream.recorders import JetStreamAggregateRecorder, JetStreamApplicationRecorder
from events.jetstream.tracking import JetStreamProcessRecorder, JetStreamTrackingRecorder
from rota.jetstream import Message

pytestmark = pytest.mark.usefixtures("fresh_streams")


def factory() -> JetStreamFactory:
    return JetStreamFactory(Environment("tests", os.environ))


class CountersView(JetStreamTrackingRecorder, projection.EventCountersView):
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


class TestAggregateRecorder(persistence.AggregateRecorderTestCase):
    def create_recorder(self) -> JetStreamAggregateRecorder:
        recorder = factory().aggregate_recorder()
        assert isinstance(recorder, JetStreamAggregateRecorder)
        return recorder


class TestAggregateRecorderWithTextIds(TestAggregateRecorder):
    def new_originator_id(self) -> str:
        return f"an id.with *every* > kind of % sign, é: {uuid4()}"


class TestApplicationRecorder(persistence.ApplicationRecorderTestCase[JetStreamApplicationRecorder]):
    def create_recorder(self) -> JetStreamApplicationRecorder:
        recorder = factory().application_recorder()
        assert isinstance(recorder, JetStreamApplicationRecorder)
        return recorder

    def test_insert_subscribe(self) -> None:
        self.optional_test_insert_subscribe()


class TestApplicationRecorderWithTextIds(TestApplicationRecorder):
    def new_originator_id(self) -> str:
        return str(uuid4())


class TestTrackingRecorder(persistence.TrackingRecorderTestCase):
    def create_recorder(self) -> JetStreamTrackingRecorder:
        return factory().tracking_recorder()


class TestProcessRecorder(persistence.ProcessRecorderTestCase):
    def create_recorder(self) -> JetStreamProcessRecorder:
        recorder = factory().process_recorder()
        assert isinstance(recorder, JetStreamProcessRecorder)
        return recorder


class TestNonInterleavingNotificationIds(persistence.NonInterleavingNotificationIDsBaseCase):
    def create_recorder(self) -> JetStreamApplicationRecorder:
        recorder = factory().application_recorder()
        assert isinstance(recorder, JetStreamApplicationRecorder)
        return recorder


class TestFactory(persistence.InfrastructureFactoryTestCase[JetStreamFactory]):
    def setUp(self) -> None:
        self.env = Environment("tests", os.environ)
        super().setUp()

    def expected_factory_class(self) -> type[JetStreamFactory]:
        return JetStreamFactory

    def expected_aggregate_recorder_class(self) -> type[JetStreamAggregateRecorder]:
        return JetStreamAggregateRecorder

    def expected_application_recorder_class(self) -> type[JetStreamApplicationRecorder]:
        return JetStreamApplicationRecorder

    def expected_tracking_recorder_class(self) -> type[JetStreamTrackingRecorder]:
        return JetStreamTrackingRecorder

    def tracking_recorder_subclass(self) -> type[JetStreamTrackingRecorder]:
        return CountersView

    def expected_process_recorder_class(self) -> type[JetStreamProcessRecorder]:
        return JetStreamProcessRecorder


class TestExampleApplication(application.ExampleApplicationTestCase):
    expected_factory_topic = "events.jetstream.factory:JetStreamFactory"


@pytest.mark.filterwarnings("default::DeprecationWarning")  # which one of the cases asks for
class TestApplication(application.ApplicationTestCase):
    pass


class TestEventCountersView(projection.EventCountersViewTestCase):
    def construct_event_counters_view(self) -> projection.EventCountersView:
        view = factory().tracking_recorder(CountersView)
        assert isinstance(view, CountersView)
        return view


class TestProjection(projection.AggregateEventCountersProjectionTestCase):
    view_class = CountersView


class TestEventSourcedProjection(projection.EventSourcedProjectionTestCase):
    pass
