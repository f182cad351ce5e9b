"""Rota's own log, read through the `eventsourcing` library, is what `events.jetstream.log` reads."""

import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from eventsourcing.application import AggregateNotFoundError
from eventsourcing.dispatch import singledispatchmethod
from eventsourcing.persistence import (
    JSONTranscoder,
    MapperDeserialisationError,
    NotSupportedError,
    StoredEvent,
    Tracking,
)
from eventsourcing.popo import POPOTrackingRecorder
from eventsourcing.projection import Projection, ProjectionRunner

from events.application import RotaLog
from events.base import Event, Kind
from events.catalog import TAGS, AnyEvent, encode
from events.ids import new_group
from events.jetstream.log import Append, Log, Recorded
from events.jetstream.mapper import EventMapper
from events.jetstream.repository import load_state
from events.job import JobQueued, JobStarted, JobState, JobSucceeded
from events.spec import Definition, SpecChanged, SpecRegistered
from rota.protocol import JobDetails, Result

NOW = datetime(2026, 3, 1, 12, 30, 15, 123456, tzinfo=UTC)
DETAILS = JobDetails(spec="resize", queue="default", params=msgspec.Raw(msgspec.msgpack.encode({"width": 3})))


@pytest.fixture
def app(fresh_streams: None) -> Iterator[RotaLog]:
    with RotaLog() as app:
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

    decided_from, _ = app.loop.run(load_state(Log(app.loop.connection), "job", id_))
    assert app.state("job", id_) == decided_from
    assert app.state("job", id_) == JobState(3, "succeeded", 1, DETAILS, "w")


def test_the_state_at_an_earlier_version_can_be_seen(app: RotaLog) -> None:
    id_ = new_id()
    append(app, "job", job_events(id_))

    assert [app.state("job", id_, version).status for version in (1, 2, 3)] == ["queued", "running", "succeeded"]


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


def test_the_mapper_keeps_the_body_as_it_is_and_gives_the_tag_as_topic() -> None:
    mapper = EventMapper(JSONTranscoder())

    for event in job_events("job-1") + spec_events("spec-1"):
        stored = mapper.to_stored_event(event)

        assert stored == StoredEvent(
            event.originator_id, event.originator_version, TAGS[type(event)], encode(event)
        )
        assert mapper.to_domain_event(stored) == event


def test_the_mapper_names_the_event_that_it_cannot_read() -> None:
    with pytest.raises(MapperDeserialisationError, match="version 7 of job-1"):
        EventMapper(JSONTranscoder()).to_domain_event(StoredEvent("job-1", 7, "job.queued", b"\xc1"))
