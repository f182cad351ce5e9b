"""The test cases that the `eventsourcing` library ships for persistence modules, on JetStream."""

import os
import pkgutil
from importlib import import_module
from unittest import TestCase
from uuid import uuid4

import eventsourcing.tests
import pytest
from eventsourcing.tests import application, persistence, projection
from eventsourcing.utils import Environment

from events.jetstream.factory import JetStreamFactory
from events.jetstream.recorders import JetStreamAggregateRecorder, JetStreamApplicationRecorder
from events.jetstream.tracking import JetStreamProcessRecorder, JetStreamTrackingRecorder
from tests.contract.counters import CountersView

pytestmark = pytest.mark.usefixtures("fresh_streams")

NOT_OURS = {
    # Dynamic consistency boundaries are another kind of persistence module (`eventsourcing.dcb`): events there
    # belong to no aggregate, and appends expect the result of a query, which JetStream cannot check.
    "DCBRecorderTestCase",
    "TaggedDecisionCountersProjectionTestCase",
    # For transcoders of other packages, which keep tuples and subclasses of str: a transcoder is chosen by the
    # application, and the library's own JSONTranscoder, which this module leaves as it is, does not pass either.
    "TranscoderTestCase",
}


def factory() -> JetStreamFactory:
    return JetStreamFactory(Environment("tests", os.environ))


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


def shipped_cases() -> set[type[TestCase]]:
    """Return the test cases of all modules of the library that hold some."""
    names = [found.name for found in pkgutil.iter_modules(eventsourcing.tests.__path__, "eventsourcing.tests.")]
    modules = [
        import_module(name)
        for name in [*names, "eventsourcing.dcb.tests"]
        if name != "eventsourcing.tests.postgres_utils"  # it holds none, and needs a driver
    ]
    return {
        item
        for module in modules
        for item in vars(module).values()
        if isinstance(item, type) and issubclass(item, TestCase) and item.__module__ == module.__name__
    }


def run_cases() -> list[type[TestCase]]:
    return [item for item in globals().values() if isinstance(item, type) and issubclass(item, TestCase)]


def test_every_case_that_the_library_ships_is_run_or_not_ours() -> None:
    run = {base for case in run_cases() for base in case.__mro__}

    assert {case.__name__ for case in shipped_cases() - run} == NOT_OURS


def test_every_optional_test_of_these_cases_is_run() -> None:
    optional = {(case, name) for case in run_cases() for name in dir(case) if name.startswith("optional_")}

    assert {name for _, name in optional} == {"optional_test_insert_subscribe"}
    assert all(hasattr(case, name.removeprefix("optional_")) for case, name in optional)
