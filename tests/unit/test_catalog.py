"""The catalogue: every command and event has a tag that stays."""

from datetime import UTC, datetime
from typing import Any, get_args

import msgspec
import pytest

from events.batch import BatchOpened
from events.catalog import (
    AGGREGATES,
    COMMANDS,
    EVENTS,
    KINDS,
    TAGS,
    AnyCommand,
    AnyEvent,
    decode_commands,
    decode_event,
    encode,
)
from events.job import CancelJob, JobCancelled, JobQueued
from rota.protocol import FailJob, JobDetails, JobFault, RegisterSpec, Work

NOW = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)


def test_every_event_and_command_has_a_tag_of_its_own() -> None:
    assert len(TAGS) == len(EVENTS) + len(COMMANDS) == len(get_args(AnyEvent)) + len(get_args(AnyCommand))


def test_every_tag_is_a_kind_of_aggregate_and_one_name() -> None:
    for cls, tag in TAGS.items():
        kind, _, name = tag.partition(".")
        assert kind in AGGREGATES
        assert KINDS[cls] == kind
        assert name.isidentifier()


def test_the_tags_of_events_are_those_that_are_stored() -> None:
    # A tag may be added; to rename or remove one is a migration.
    assert sorted(EVENTS) == [
        "batch.advanced",
        "batch.completed",
        "batch.failed",
        "batch.file_failed",
        "batch.file_finished",
        "batch.file_found",
        "batch.jobs_counted",
        "batch.opened",
        "batch.sealed",
        "job.attempt_failed",
        "job.cancelled",
        "job.failed",
        "job.progressed",
        "job.queued",
        "job.scheduled",
        "job.started",
        "job.succeeded",
        "job.timed_out",
        "spec.changed",
        "spec.registered",
    ]


def test_an_event_is_stored_with_short_names_and_without_defaults() -> None:
    event = JobCancelled(originator_id="j", originator_version=2, at=NOW, attempt=1)

    assert msgspec.msgpack.decode(encode(event)) == {
        "type": "job.cancelled",
        "id": "j",
        "version": 2,
        "at": NOW,
        "attempt": 1,
    }
    assert decode_event(encode(event)) == event


def test_a_field_that_a_newer_version_adds_is_passed_over() -> None:
    event = JobCancelled(originator_id="j", originator_version=2, at=NOW, attempt=1)
    fields = msgspec.msgpack.decode(encode(event)) | {"colour": "red"}

    assert decode_event(msgspec.msgpack.encode(fields)) == event


@pytest.mark.parametrize(
    "body",
    [b"", b"\xc1", msgspec.msgpack.encode({"type": "job.forgotten", "id": "j"}), msgspec.msgpack.encode([1])],
    ids=["nothing", "no MessagePack", "unknown tag", "no map"],
)
def test_what_is_no_event_is_an_error_of_msgspec(body: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):
        decode_event(body)


def test_commands_of_several_kinds_travel_in_one_list() -> None:
    commands: list[Any] = [
        CancelJob(id="j-1"),
        FailJob(id="j-2", attempt=1, worker="w", started_at=NOW, fault=JobFault("E", "no"), final=True),
        RegisterSpec(id="add", queue="sums"),
    ]

    assert decode_commands(encode(commands)) == commands


def test_a_single_command_is_no_list_of_commands() -> None:
    with pytest.raises(msgspec.ValidationError):
        decode_commands(encode(CancelJob(id="j-1")))


def test_what_a_worker_is_handed_is_the_event_of_a_queued_job() -> None:
    details = JobDetails(spec="add", queue="sums", params=msgspec.Raw(msgspec.msgpack.encode({"a": 1})))
    event = JobQueued(originator_id="j", originator_version=3, at=NOW, attempt=2, details=details)

    work = msgspec.msgpack.decode(encode(event), type=Work)

    assert (work.id, work.attempt, work.details) == ("j", 2, details)


def test_all_events_satisfy_the_protocol_of_the_eventsourcing_library() -> None:
    for cls in EVENTS.values():
        assert {"originator_id", "originator_version"} <= set(cls.__struct_fields__)
        assert cls.__struct_config__.frozen
    assert EVENTS["batch.opened"] is BatchOpened
