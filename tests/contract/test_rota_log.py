"""Rota's own log, read through the `eventsourcing` library, is what `events.jetstream.log` reads."""

import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

import msgspec
import pytest
from eventsourcing.application import AggregateNotFoundError, ProcessingEvent
from eventsourcing.dispatch import singledispatchmethod
from eventsourcing.domain import Aggregate
from eventsourcing.persistence import (
    JSONTranscoder,
    MapperDeserialisationError,
    Notification,
    NotSupportedError,
    StoredEvent,
    Tracking,
)
from eventsourcing.popo import POPOTrackingRecorder
from eventsourcing.projection import (
    EventSourcedProjection,
    EventSourcedProjectionRunner,
    Projection,
    ProjectionRunner,
)

from events.application import RotaLog
from events.base import Event, Kind
from events.catalog import TAGS, AnyEvent, decode_event, encode
from events.ids import new_group
from events.jetstream.log import Append, Log, Recorded
from events.jetstream.mapper import EventMapper
from events.jetstream.repository import load_state
from events.jetstream.snapshots import Snapshots
from events.jetstream.topology import prepare
from events.jetstream.tracking import JetStreamTrackingRecorder
from events.job import JobQueued, JobStarted, JobState, JobSucceeded
from events.spec import Definition, SpecChanged, SpecRegistered
from rota.jetstream import Message
from rota.protocol import JobDetails, Result

GOLDEN = Path(__file__).parent.parent / "golden"
NOW = datetime(2026, 3, 1, 12, 30, 15, 123456, tzinfo=UTC)
DETAILS = JobDetails(spec="resize", queue="default", params=msgspec.Raw(msgspec.msgpack.encode({"width": 3})))


@pytest.fixture
def app(fresh_streams: None) -> Iterator[RotaLog]:
    with RotaLog() as app:
        app.loop.run(prepare(app.loop.connection))
        yield app


def new_id() -> str:
    return new_group(1_770_000_000_000, secrets.token_bytes(10))


def job_events(id_: str) -> list[Event]:
    started = NOW + timedelta(seconds=1)
    return [
        JobQueued(originator_id=id_, originator_version=1, at=NOW, attempt=1, details=DETAILS),
        JobStarted(originator_id=id_, originator_version=2, at=NOW, attempt=1, worker="w", started_at=started),
        JobSucceeded(
            originator_id=id_,
            originator_version=3,
            at=NOW,
            attempt=1,
            worker="w",
            started_at=started,
            result=Result(value=msgspec.Raw(msgspec.msgpack.encode([1, 2.5, None, "é"]))),
        ),
    ]


def spec_events(name: str) -> list[Event]:
    return [
        SpecRegistered(originator_id=name, originator_version=1, at=NOW, definition=Definition("old")),
        SpecChanged(originator_id=name, originator_version=2, at=NOW, definition=Definition("new")),
    ]


def append(app: RotaLog, kind: Kind, events: list[Event]) -> int:
    """Append as the actors do; return the sequence of the last event."""
    appends = [Append(kind, events[0].originator_id, 0, events)]
    return app.loop.run(Log(app.loop.connection).append(appends))[0]


def load(app: RotaLog, kind: Kind, id_: str) -> list[Recorded]:
    return app.loop.run(Log(app.loop.connection).load(kind, id_))


def test_the_events_of_an_aggregate_are_those_of_the_log(app: RotaLog) -> None:
    id_ = new_id()
    append(app, "job", job_events(id_))

    assert list(app.events.get(id_)) == [recorded.event for recorded in load(app, "job", id_)] == job_events(id_)


def test_the_state_is_the_one_that_the_actors_decide_from(app: RotaLog) -> None:
    id_ = new_id()
    append(app, "job", job_events(id_))

    connection = app.loop.connection
    decided_from, _ = app.loop.run(load_state(Log(connection), Snapshots(connection), "job", id_))
    assert app.state("job", id_) == decided_from
    assert app.state("job", id_) == JobState(3, "succeeded", 1, DETAILS, "w")


def test_the_state_at_an_earlier_version_can_be_seen(app: RotaLog) -> None:
    id_ = new_id()
    append(app, "job", job_events(id_))

    assert [app.state("job", id_, version).status for version in (1, 2, 3)] == ["queued", "running", "succeeded"]


def test_a_spec_can_be_seen_as_it_was_before_it_changed(app: RotaLog) -> None:
    name = new_id()
    append(app, "spec", spec_events(name))

    states = [app.state("spec", name, version) for version in (1, 2, None)]

    assert [state.definition.description for state in states] == ["old", "new", "new"]


def test_events_between_versions_come_in_either_order_up_to_a_limit(app: RotaLog) -> None:
    id_ = new_id()
    append(app, "job", job_events(id_))

    def versions(**asked: Any) -> list[int]:
        return [event.originator_version for event in app.events.get(id_, **asked)]

    assert versions(gt=1) == [2, 3]
    assert versions(lte=2) == [1, 2]
    assert versions(desc=True, limit=1) == [3]
    assert versions(gt=1, lte=2, desc=True) == [2]
    assert versions(gt=3) == []


def test_aggregates_of_two_kinds_may_have_one_id(app: RotaLog) -> None:
    id_ = new_id()
    append(app, "job", job_events(id_))
    append(app, "spec", spec_events(id_))

    assert app.state("job", id_).status == "succeeded"
    assert app.state("spec", id_).definition.description == "new"


def test_an_aggregate_that_was_never_made_is_not_found(app: RotaLog) -> None:
    with pytest.raises(AggregateNotFoundError):
        app.state("job", new_id())


def test_the_notification_log_has_all_events_at_their_sequences(app: RotaLog) -> None:
    job, spec = new_id(), new_id()
    append(app, "job", job_events(job))
    append(app, "spec", spec_events(spec))
    recorded = load(app, "job", job) + load(app, "spec", spec)
    first, last = recorded[0].sequence, recorded[-1].sequence

    section = app.notification_log[f"{first},{last}"]

    assert [(item.id, item.originator_id, item.originator_version, item.topic) for item in section.items] == [
        (first, job, 1, "job.queued"),
        (first + 1, job, 2, "job.started"),
        (first + 2, job, 3, "job.succeeded"),
        (first + 3, spec, 1, "spec.registered"),
        (first + 4, spec, 2, "spec.changed"),
    ]
    assert [app.mapper.to_domain_event(item) for item in section.items] == [found.event for found in recorded]
    assert app.recorder.max_notification_id() == last


def test_the_notification_log_is_read_section_by_section_to_its_end(app: RotaLog) -> None:
    ids = [new_id() for _ in range(8)]
    lasts = [append(app, "job", job_events(id_)) for id_ in ids]

    found: list[Notification] = []
    next_id: str | None = f"{lasts[0] - 2},{lasts[0] + 7}"
    while next_id:
        section = app.notification_log[next_id]
        found += section.items
        next_id = section.next_id

    assert [(item.originator_id, item.originator_version) for item in found] == [
        (id_, version) for id_ in ids for version in (1, 2, 3)
    ]
    assert found[-1].id == app.recorder.max_notification_id() == lasts[-1]


def test_a_subscription_hands_out_what_was_appended_and_what_comes(app: RotaLog) -> None:
    one, other = new_id(), new_id()
    last = append(app, "job", job_events(one))

    with app.recorder.subscribe(gt=last - 1) as subscription:
        found = [next(subscription)]
        append(app, "job", job_events(other))
        found += [next(subscription) for _ in range(3)]

    assert [(item.originator_id, item.topic) for item in found] == [
        (one, "job.succeeded"),
        (other, "job.queued"),
        (other, "job.started"),
        (other, "job.succeeded"),
    ]


def test_notifications_can_be_chosen_by_topic(app: RotaLog) -> None:
    last = append(app, "job", job_events(new_id()))

    found = app.recorder.select_notifications(last - 2, 10, topics=["job.succeeded", "job.queued"])

    assert [item.id for item in found] == [last - 2, last]


def test_nothing_can_be_written_past_the_actors(app: RotaLog) -> None:
    last = append(app, "job", job_events(new_id()))

    with pytest.raises(NotSupportedError, match="written by Rota alone"):
        app.save(job_events(new_id())[0])

    assert app.recorder.max_notification_id() == last


def test_a_projection_of_the_library_follows_the_log(app: RotaLog) -> None:
    last = append(app, "job", job_events(new_id()))

    class Finished(POPOTrackingRecorder):
        def __init__(self) -> None:
            super().__init__()
            self.jobs: list[str] = []
            # The log has what other tests wrote.
            self.insert_tracking(Tracking("rota", last))

    class FinishedJobs(Projection[Finished]):
        topics = ("job.succeeded",)

        @singledispatchmethod
        def process_event(self, domain_event: AnyEvent, tracking: Tracking) -> None:
            self.view.jobs.append(domain_event.originator_id)
            self.view.insert_tracking(tracking)

    id_ = new_id()
    # The view is kept in memory; RotaLog names its own persistence module.
    environment = {"PERSISTENCE_MODULE": "eventsourcing.popo"}
    with ProjectionRunner(
        application_class=RotaLog, projection_class=FinishedJobs, view_class=Finished, env=environment
    ) as runner:
        runner.wait(append(app, "job", job_events(id_)), timeout=10)

        assert runner.view.jobs == [id_]


class Finished(JetStreamTrackingRecorder):
    """Which jobs have succeeded, each stored in one batch with the position that it stands for."""

    def has(self, id_: str) -> int:
        """Return how often a job was stored."""
        message = self.loop.run(self.connection.last(self.stream, f"{self.stream}.finished.{id_}"))
        return int(message.data) if message else 0

    def add(self, id_: str, tracking: Tracking) -> None:
        """Store a job once more."""
        self.insert_tracking_with(tracking, [Message(f"{self.stream}.finished.{id_}", b"%d" % (self.has(id_) + 1))])


class FinishedJobs(Projection[Finished]):
    name = "finished"
    topics = ("job.succeeded",)

    @singledispatchmethod
    def process_event(self, domain_event: AnyEvent, tracking: Tracking) -> None:
        self.view.add(domain_event.originator_id, tracking)


def test_a_projection_that_is_kept_on_jetstream_goes_on_where_it_stopped(app: RotaLog) -> None:
    def run() -> ProjectionRunner[RotaLog, Finished]:
        return ProjectionRunner(application_class=RotaLog, projection_class=FinishedJobs, view_class=Finished)

    before, between, after = new_id(), new_id(), new_id()
    last = append(app, "job", job_events(before))
    with run() as runner:
        runner.wait(last, timeout=10)
    append(app, "job", job_events(between))
    with run() as runner:
        runner.wait(append(app, "job", job_events(after)), timeout=10)

        assert [runner.projection.view.has(id_) for id_ in (before, between, after)] == [1, 1, 1]


class Receipt(Aggregate):
    """What an application keeps about a job that has succeeded."""

    def __init__(self, job: str) -> None:
        self.job = job

    @classmethod
    def create_id(cls, job: str) -> UUID:
        return uuid5(NAMESPACE_URL, f"/receipts/{job}")


class Receipts(EventSourcedProjection[UUID]):
    """An application that makes events of its own from those of Rota."""

    topics = ("job.succeeded",)

    @singledispatchmethod
    def policy(self, domain_event: Any, processing_event: ProcessingEvent[UUID]) -> None:
        processing_event.collect_events(Receipt(domain_event.originator_id))


def test_an_event_sourced_projection_makes_events_from_those_of_the_log(app: RotaLog) -> None:
    id_ = new_id()
    last = append(app, "job", job_events(id_))

    with EventSourcedProjectionRunner(application_class=RotaLog, projection_class=Receipts) as runner:
        runner.wait(last, timeout=10)
        receipt: Receipt = runner.projection.repository.get(Receipt.create_id(id_))

        assert receipt.job == id_
        assert runner.projection.recorder.max_tracking_id("rota") == last


def test_the_mapper_keeps_the_body_as_it_is_and_gives_the_tag_as_topic() -> None:
    mapper = EventMapper(JSONTranscoder())

    for event in job_events("job-1") + spec_events("spec-1"):
        stored = mapper.to_stored_event(event)

        assert stored == StoredEvent(
            event.originator_id, event.originator_version, TAGS[type(event)], encode(event)
        )
        assert mapper.to_domain_event(stored) == event


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.msgpack")), ids=lambda path: path.stem)
def test_the_mapper_reads_all_that_was_ever_stored(path: Path) -> None:
    event = decode_event(path.read_bytes())
    stored = StoredEvent(event.originator_id, event.originator_version, path.stem, path.read_bytes())

    assert EventMapper(JSONTranscoder()).to_domain_event(stored) == event


def test_the_mapper_names_the_event_that_it_cannot_read() -> None:
    with pytest.raises(MapperDeserialisationError, match="version 7 of job-1"):
        EventMapper(JSONTranscoder()).to_domain_event(StoredEvent("job-1", 7, "job.queued", b"\xc1"))
