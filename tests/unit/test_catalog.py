"""The catalogue: every command and event has a tag that stays."""

from datetime import UTC, datetime
from typing import Any, get_args

import msgspec
import pytest

from events.base import Event
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
    split_tag,
    upcast,
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
        "batch.cancelled",
        "batch.cancelling",
        "batch.changed",
        "batch.completed",
        "batch.completed_with_failures",
        "batch.failed",
        "batch.file_failed",
        "batch.file_finished",
        "batch.file_found",
        "batch.files_listed",
        "batch.job_cut",
        "batch.jobs_counted",
        "batch.jobs_redriven",
        "batch.opened",
        "batch.paused",
        "batch.redriven",
        "batch.results_collected",
        "batch.results_failed",
        "batch.results_requested",
        "batch.resumed",
        "batch.rows_quarantined",
        "batch.sealed",
        "job.attempt_failed",
        "job.cancelled",
        "job.failed",
        "job.progressed",
        "job.queued",
        "job.redriven",
        "job.scheduled",
        "job.started",
        "job.succeeded",
        "job.timed_out",
        "log.trimmed",
        "spec.changed",
        "spec.registered",
        "workflow.attempt_expired",
        "workflow.cancelled",
        "workflow.failed",
        "workflow.fallback_applied",
        "workflow.job_cancelled",
        "workflow.job_expanded",
        "workflow.job_failed",
        "workflow.job_released",
        "workflow.job_started",
        "workflow.job_succeeded",
        "workflow.job_timed_out",
        "workflow.job_withdrawn",
        "workflow.jobs_skipped",
        "workflow.partly_failed",
        "workflow.paused",
        "workflow.resumed",
        "workflow.retried",
        "workflow.scheduled",
        "workflow.stopping",
        "workflow.succeeded",
        "workflow.timed_out",
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
    [
        b"",
        b"\xc1",
        b"\x80",
        b"\x91" * 100_000 + b"\xc0",
        b"\x81\xa1x" * 100_000 + b"\xc0",
        *(
            msgspec.msgpack.encode(value)
            for value in (
                [1],
                {"type": "job.forgotten", "id": "j"},
                {"type": "job"},
                {"type": "job.queued.v0"},
                {"type": "job.queued.v1"},
                {"type": "job.queued.v2"},
                {"type": 7},
            )
        ),
    ],
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


def test_a_single_command_needs_no_list() -> None:
    assert decode_commands(encode(CancelJob(id="j-1"))) == [CancelJob(id="j-1")]


@pytest.mark.parametrize(
    "body", [b"", b"\xc1", encode(1), encode([[CancelJob(id="j-1")]]), encode({"type": "job"})]
)
def test_what_is_no_command_is_an_error_of_msgspec(body: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):
        decode_commands(body)


class Renamed(Event, frozen=True, kw_only=True, tag="job.renamed.v3"):
    """An event whose fields were changed twice."""

    first: str
    last: str

    @staticmethod
    def upcast_v1_v2(fields: dict[str, Any]) -> None:
        fields["full"] = fields.pop("name")

    @staticmethod
    def upcast_v2_v3(fields: dict[str, Any]) -> None:
        fields["first"], _, fields["last"] = fields.pop("full").partition(" ")


@pytest.mark.parametrize(
    ("type_", "fields"),
    [("job.renamed", {"name": "Ada Lovelace"}), ("job.renamed.v2", {"full": "Ada Lovelace"})],
)
def test_an_event_of_an_older_version_is_brought_to_the_newest(type_: str, fields: dict[str, str]) -> None:
    stored = {"type": type_, "id": "j", "version": 1, "at": NOW, **fields}

    assert upcast(stored, {"job.renamed.v3": Renamed})
    assert msgspec.convert(stored, Renamed) == Renamed(
        originator_id="j", originator_version=1, at=NOW, first="Ada", last="Lovelace"
    )


@pytest.mark.parametrize("type_", ["job.renamed.v3", "job.renamed.v4", "job.forgotten"])
def test_an_event_that_is_not_older_has_no_upcast(type_: str) -> None:
    assert not upcast({"type": type_}, {"job.renamed.v3": Renamed})


def test_the_version_of_an_event_stands_in_its_tag() -> None:
    assert split_tag("job.queued") == ("job.queued", 1)
    assert split_tag("job.queued.v2") == ("job.queued", 2)


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
