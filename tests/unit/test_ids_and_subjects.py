"""Ids are single tokens of subjects, and subjects say what a consumer filters by."""

import re
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.batch import BatchOpened, OpenBatch
from events.ids import batch_job_id, group_of, keyed_group, member, new_group, place_in_batch
from events.job import (
    CancelJob,
    JobCancelled,
    JobFailed,
    JobQueued,
    JobStarted,
    JobSucceeded,
    JobTimedOut,
    ReleaseJob,
    ScheduleJob,
)
from events.subjects import (
    PARTITIONS,
    aggregate_filter,
    command_subject,
    ended_jobs_filter,
    event_subject,
    partition_filter,
    rows_block_filter,
    rows_filter,
    rows_subject,
    timer_subject,
    work_of,
)
from rota.protocol import JobDetails, JobFault, RegisterSpec, Result, StartJob
from rota.worker import work_filter

NOW = datetime(2026, 3, 1, tzinfo=UTC)
DETAILS = JobDetails(spec="send-mail", queue="urgent", params=msgspec.Raw(b"\x80"))
FAULT = JobFault("ValueError", "no")
TOKEN = re.compile(r"[0-9A-Za-z_-]+")

milliseconds = st.integers(0, 2**48 - 1)
entropy = st.binary(min_size=10, max_size=10)


def facts(id_: str = "j-0") -> dict[str, Any]:
    return {"originator_id": id_, "originator_version": 2, "at": NOW}


def matches(pattern: str, subject: str) -> bool:
    """Say whether a subject matches, as the server does it."""
    expression = re.escape(pattern).replace(r"\*", r"[^.]+").replace(r"\.>", r"(\.[^.]+)+").replace(">", ".+")
    return re.fullmatch(expression, subject) is not None


@given(milliseconds, entropy)
def test_a_group_is_a_ulid_in_lower_case(time: int, random: bytes) -> None:
    group = new_group(time, random)

    assert re.fullmatch(r"[0-7][0-9a-hjkmnp-tv-z]{25}", group)


@given(milliseconds, milliseconds, entropy, entropy)
def test_groups_sort_by_their_time(one: int, other: int, random: bytes, other_random: bytes) -> None:
    if one < other:
        assert new_group(one, random) < new_group(other, other_random)


@given(st.text(), st.text())
def test_a_key_always_names_the_same_group(scope: str, key: str) -> None:
    group = keyed_group("job", scope, key)

    assert group == keyed_group("job", scope, key)
    assert re.fullmatch(r"k[0-9a-z]{26}", group)


def test_keys_of_other_kinds_and_scopes_name_other_groups() -> None:
    assert len({keyed_group("job", "a", "k"), keyed_group("batch", "a", "k"), keyed_group("job", "b", "k")}) == 3


def test_the_members_of_a_group_share_its_partition() -> None:
    group = new_group(1, bytes(10))

    assert {group_of(member(group, index)) for index in range(3)} == {group}
    assert group_of(group) == group


def test_the_jobs_of_a_batch_file_share_one_partition_apart_from_other_files() -> None:
    assert [batch_job_id("b", 0, 7), batch_job_id("b", 1, 7)] == ["b_0-7", "b_1-7"]
    assert group_of(batch_job_id("b", 0, 7)) == "b_0"
    assert place_in_batch("b_1-7", "b") == (1, 7)
    assert [place_in_batch(id_, "b") for id_ in ("b_1", "x", "c_1-7", "b_x-7", "b_1-7-7", "b_1_1-7")] == [None] * 6


@pytest.mark.parametrize(
    ("event", "subject"),
    [
        (
            JobQueued(**facts(), attempt=1, details=DETAILS),
            "rota.event.job.j-0.queued.urgent.normal.send-mail",
        ),
        (JobStarted(**facts(), attempt=1, worker="w", started_at=NOW, batch="b"), "rota.event.job.j-0.started"),
        (
            JobSucceeded(**facts(), attempt=1, worker="w", started_at=NOW, result=Result()),
            "rota.event.job.j-0.succeeded",
        ),
        (
            JobSucceeded(**facts(), attempt=1, batch="b", worker="w", started_at=NOW, result=Result()),
            "rota.event.job.j-0.succeeded.b",
        ),
        (
            JobFailed(**facts(), attempt=1, batch="b", worker="w", started_at=NOW, fault=FAULT),
            "rota.event.job.j-0.failed.b",
        ),
        (
            JobTimedOut(**facts(), attempt=1, batch="b", worker="w", started_at=NOW, fault=FAULT),
            "rota.event.job.j-0.timed_out.b",
        ),
        (JobCancelled(**facts(), attempt=1, batch="b"), "rota.event.job.j-0.cancelled.b"),
    ],
)
def test_an_event_stands_where_its_readers_look(event: Any, subject: str) -> None:
    assert event_subject(event) == subject
    assert matches(aggregate_filter("job", "j-0"), subject)
    assert not matches(aggregate_filter("job", "j"), subject)
    # A batch counts the ends of its jobs, and nothing else.
    assert matches(ended_jobs_filter("b"), subject) == subject.endswith(".b")


@pytest.mark.parametrize(
    ("command", "subject"),
    [
        (ScheduleJob(id="g-17", details=DETAILS), "rota.command.job.g.schedule"),
        (CancelJob(id="g-17"), "rota.command.job.g.cancel"),
        (ReleaseJob(id="b_0-17", attempt=1), "rota.command.job.b_0.release"),
        (StartJob(id="g-17", attempt=1, worker="w", started_at=NOW), "rota.command.job.g.start"),
        (RegisterSpec(id="send-mail"), "rota.command.spec.send.register"),
    ],
)
def test_a_command_goes_to_its_group(command: Any, subject: str) -> None:
    assert command_subject(command) == subject


def test_what_opens_a_batch_and_its_event_have_its_id() -> None:
    details: Any = None

    assert command_subject(OpenBatch(id="b", details=details)) == "rota.command.batch.b.open"
    assert event_subject(BatchOpened(**facts("b"), details=details)) == "rota.event.batch.b.opened"


def test_work_is_found_by_its_spec_and_queue_or_by_its_job() -> None:
    work = "rota.work.urgent.normal.send-mail.j-0"

    assert matches(work_filter("urgent", "send-mail"), work)
    assert not matches(work_filter("urgent", "send"), work)
    assert matches(work_of("j-0"), work)
    assert not matches(work_of("j-00"), work)


def test_each_partition_has_a_filter_of_its_own() -> None:
    stored = "rota.command.1.job.g.schedule"

    assert [number for number in range(PARTITIONS) if matches(partition_filter(number), stored)] == [1]


@given(milliseconds, entropy, st.integers(0, 10_000), st.integers(0, 10_000_000))
def test_all_ids_are_single_tokens(time: int, random: bytes, file: int, index: int) -> None:
    id_ = batch_job_id(new_group(time, random), file, index)

    assert TOKEN.fullmatch(id_)
    assert timer_subject(ReleaseJob(id=id_, attempt=1)).split(".") == ["rota", "timer", "job", f"{id_}:1"]


def test_rows_match_the_filters_of_their_block_and_their_batch_alone() -> None:
    subject = rows_subject("b", 2, 1234, "ab" * 32)

    assert matches(rows_block_filter("b", 2, 12), subject)
    assert not matches(rows_block_filter("b", 2, 1), subject)
    assert not matches(rows_block_filter("b", 1, 12), subject)
    assert matches(rows_filter("b"), subject)
    assert not matches(rows_filter("c"), subject)
