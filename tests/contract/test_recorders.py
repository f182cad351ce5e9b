"""What the recorders on JetStream promise beyond the library's own test cases."""

import gc
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from queue import Queue
from uuid import UUID, uuid4

import pytest
from eventsourcing.application import Application
from eventsourcing.domain import Aggregate
from eventsourcing.persistence import (
    DataError,
    IntegrityError,
    InterfaceError,
    NotSupportedError,
    OperationalError,
    StoredEvent,
    Tracking,
)
from eventsourcing.utils import Environment

from events.jetstream.factory import JetStreamFactory
from events.jetstream.recorders import JetStreamApplicationRecorder
from events.jetstream.tracking import JetStreamProcessRecorder

pytestmark = pytest.mark.usefixtures("fresh_streams")


@pytest.fixture
def factory(fresh_streams: None) -> Iterator[JetStreamFactory]:
    with JetStreamFactory(Environment("recorders", os.environ)) as factory:
        yield factory
        factory.close()


@pytest.fixture
def recorder(factory: JetStreamFactory) -> JetStreamApplicationRecorder:
    recorder = factory.application_recorder()
    assert isinstance(recorder, JetStreamApplicationRecorder)
    return recorder


def stored(id_: UUID | str, version: int, state: bytes = b"state") -> StoredEvent:
    return StoredEvent(id_, version, "topic", state)


def attempt_all(attempts: int, insert: Callable[[int], object]) -> list[str]:
    """Do something in as many threads at once; return the names of the errors."""
    start = threading.Barrier(attempts)

    def attempt(number: int) -> str:
        start.wait()
        try:
            insert(number)
        except IntegrityError as error:
            return type(error).__name__
        return "stored"

    with ThreadPoolExecutor(attempts) as threads:
        return sorted(threads.map(attempt, range(attempts)))


def test_of_many_writers_of_one_version_exactly_one_succeeds(recorder: JetStreamApplicationRecorder) -> None:
    id_ = uuid4()

    outcomes = attempt_all(8, lambda number: recorder.insert_events([stored(id_, 1, b"%d" % number)]))

    assert outcomes == ["IntegrityError"] * 7 + ["stored"]
    assert len(recorder.select_events(id_)) == 1


def test_of_many_batches_with_one_version_exactly_one_succeeds(
    recorder: JetStreamApplicationRecorder,
) -> None:
    id_ = uuid4()

    def insert(number: int) -> None:
        recorder.insert_events([stored(uuid4(), 1), stored(id_, 1, b"%d" % number), stored(uuid4(), 1)])

    outcomes = attempt_all(8, insert)

    assert outcomes == ["IntegrityError"] * 7 + ["stored"]
    assert recorder.max_notification_id() == 3


def test_of_many_processes_of_one_position_exactly_one_succeeds(factory: JetStreamFactory) -> None:
    recorder = factory.process_recorder()

    outcomes = attempt_all(
        8, lambda _: recorder.insert_events([stored(uuid4(), 1)], tracking=Tracking("upstream", 1))
    )

    assert outcomes == ["IntegrityError"] * 7 + ["stored"]
    assert len(recorder.select_notifications(None, 10)) == 1


def test_an_event_that_exists_stores_neither_the_position_nor_the_other_events(factory: JetStreamFactory) -> None:
    recorder = factory.process_recorder()
    old, new = uuid4(), uuid4()
    recorder.insert_events([stored(old, 1)])

    with pytest.raises(IntegrityError):
        recorder.insert_events([stored(new, 1), stored(old, 1)], tracking=Tracking("upstream", 1))

    assert recorder.max_tracking_id("upstream") is None
    assert recorder.select_events(new) == []


def test_positions_are_no_notifications(factory: JetStreamFactory) -> None:
    recorder = factory.process_recorder()
    assert isinstance(recorder, JetStreamProcessRecorder)
    ids = recorder.insert_events([stored("a", 1)], tracking=Tracking("upstream", 1))
    recorder.insert_tracking(Tracking("upstream", 2))

    assert [found.id for found in recorder.select_notifications(None, 10)] == ids
    assert recorder.max_notification_id() == ids[-1]


def test_more_than_a_thousand_events_at_a_time_are_refused(
    recorder: JetStreamApplicationRecorder,
) -> None:
    with pytest.raises(NotSupportedError, match="1001 records"):
        recorder.insert_events([stored("a", version) for version in range(1001)])

    assert recorder.max_notification_id() is None


def test_an_event_that_is_too_large_is_refused_and_none_is_stored(recorder: JetStreamApplicationRecorder) -> None:
    with pytest.raises(DataError, match="max_payload"):
        recorder.insert_events([stored("a", 1), stored("a", 2, bytes(9_000_000))])

    assert recorder.max_notification_id() is None


def test_events_between_versions_come_in_either_order_up_to_a_limit(recorder: JetStreamApplicationRecorder) -> None:
    events = [stored("a", version) for version in range(1, 1001)]
    recorder.insert_events(events)

    assert recorder.select_events("a") == events
    assert recorder.select_events("a", gt=990) == events[990:]
    assert recorder.select_events("a", gt=10, lte=20, limit=3) == events[10:13]
    assert recorder.select_events("a", gt=10, lte=20, limit=3, desc=True) == events[19:16:-1]
    assert recorder.select_events("a", gt=1000) == []
    assert recorder.select_events("a", gt=5000) == []


def test_a_limit_of_none_at_all_gives_nothing(recorder: JetStreamApplicationRecorder) -> None:
    recorder.insert_events([stored("a", 1)])

    assert recorder.select_events("a", limit=0) == []
    assert recorder.select_notifications(None, 0) == []


@pytest.mark.parametrize("id_", ["", "%", "a.b", "*", ">", " a b ", "urn:uuid:x", "é\n", str(uuid4())])
def test_any_text_can_be_an_id_and_is_told_from_others(recorder: JetStreamApplicationRecorder, id_: str) -> None:
    recorder.insert_events([stored(id_, 1), stored(id_ + ".x", 1), stored(uuid4(), 1)])

    assert recorder.select_events(id_) == [stored(id_, 1)]
    assert recorder.select_events(id_, desc=True, limit=1) == [stored(id_, 1)]


def test_an_id_and_its_text_are_two_ids(recorder: JetStreamApplicationRecorder) -> None:
    id_ = uuid4()
    recorder.insert_events([stored(id_, 1), stored(str(id_), 1)])

    assert recorder.select_events(id_) == [stored(id_, 1)]
    assert recorder.select_events(str(id_)) == [stored(str(id_), 1)]


def test_snapshots_are_taken_at_intervals_and_used() -> None:
    class Snapshotting(Application[UUID]):
        snapshotting_intervals = {Aggregate: 10}  # noqa: RUF012 - the library's class variable

    aggregate = Aggregate()
    for _ in range(24):
        aggregate.trigger_event(Aggregate.Event)
    with Snapshotting() as app:
        app.save(aggregate)
        app.take_snapshot(aggregate.id, version=5)
        assert app.snapshots
        taken = [snapshot.originator_version for snapshot in app.snapshots.get(aggregate.id)]

        assert taken == [5, 10, 20]
        assert app.repository.get(aggregate.id).version == 25
        assert app.repository.get(aggregate.id, version=12).version == 12


def test_applications_of_different_names_do_not_see_each_other() -> None:
    class One(Application[UUID]):
        pass

    class Other(Application[UUID]):
        pass

    with One() as one, Other() as other:
        one.save(Aggregate())

        assert one.recorder.max_notification_id() == 1
        assert other.recorder.max_notification_id() is None


def test_what_was_stored_is_there_after_the_factory_was_closed_and_made_again() -> None:
    environment = Environment("again", os.environ)
    with JetStreamFactory(environment) as factory:
        factory.application_recorder().insert_events([stored("a", 1)])
        factory.close()
    with JetStreamFactory(environment) as factory:
        assert factory.application_recorder().select_events("a") == [stored("a", 1)]
        factory.close()


def test_a_subscription_waits_and_another_thread_stops_it(recorder: JetStreamApplicationRecorder) -> None:
    subscription = recorder.subscribe()
    found: Queue[int | None] = Queue()

    def follow() -> None:
        for notification in subscription:
            found.put(notification.id)
        found.put(None)

    with ThreadPoolExecutor(1) as threads:
        threads.submit(follow)
        recorder.insert_events([stored("a", 1)])
        assert found.get(timeout=5) == 1
        subscription.stop()
        assert found.get(timeout=5) is None


def test_a_subscription_hands_out_many_notifications_in_order(recorder: JetStreamApplicationRecorder) -> None:
    for first in range(0, 5000, 1000):
        recorder.insert_events([stored("a", version) for version in range(first, first + 1000)])

    with recorder.subscribe(gt=100) as subscription:
        ids = [next(subscription).id for _ in range(4900)]

    assert ids == list(range(101, 5001))


def test_a_closed_factory_says_so(factory: JetStreamFactory) -> None:
    recorder = factory.application_recorder()
    subscription = recorder.subscribe()
    factory.close()

    with pytest.raises(InterfaceError, match="closed"):
        recorder.max_notification_id()
    with pytest.raises(InterfaceError, match="closed"):
        next(subscription)
    subscription.stop()


def test_a_factory_that_nobody_has_any_more_ends_its_thread() -> None:
    recorder = JetStreamFactory(Environment("dropped", os.environ)).application_recorder()
    assert recorder.max_notification_id() is None
    assert any(thread.name == "loop of dropped" for thread in threading.enumerate())

    del recorder
    gc.collect()

    assert not any(thread.name == "loop of dropped" for thread in threading.enumerate())


def test_a_server_that_does_not_answer_is_named() -> None:
    with pytest.raises(OperationalError, match="No NATS server answers"):
        JetStreamFactory({"ROTA_NATS_URL": "nats://127.0.0.1:1"})


def test_an_application_cannot_have_a_stream_of_rota() -> None:
    class Namesake(Application[UUID]):
        name = "rota"

    with pytest.raises(NotSupportedError, match="ROTA_EVENTS is Rota's own"):
        Namesake({"ROTA_NAMESPACE": ""})
