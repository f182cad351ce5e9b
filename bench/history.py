"""A history of jobs as Rota stores it, with one subject per event or one per aggregate, for `bench.subjects`."""

import random
from collections import deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import msgspec
from msgspec import Struct

from events.base import Event
from events.catalog import encode
from events.ids import batch_job_id, member, new_group
from events.jetstream.chain import EXPECTED
from events.jetstream.log import cloud_event
from events.job import JobQueued, JobSucceeded
from events.subjects import aggregate_filter, ended_jobs_filter, event_subject
from rota.jetstream import Message
from rota.protocol import JobDetails, Payload, Result, Rows

LIST = 100
BATCH_JOBS = 10_000
RUNNING_LISTS = 20
"""A job ends when this many lists more have been queued."""


class Grammar(Struct, frozen=True):
    """Where events go, and what matches them."""

    name: str
    subject: Callable[[Event], str]
    of_job: Callable[[str], str]
    queued: str
    """What a work queue is sourced with."""
    ended: Callable[[str], str]
    """What a batch's ended jobs are counted with."""


GRAMMARS = [
    Grammar(
        "per_event",
        event_subject,
        lambda job: aggregate_filter("job", job),
        "rota.event.job.*.queued.*.*.*",
        ended_jobs_filter,
    ),
    Grammar(
        "per_aggregate",
        lambda event: f"rota.event.job.{event.originator_id}",
        lambda job: f"rota.event.job.{job}",
        "rota.event.job.*",
        lambda _: "rota.event.job.*",
    ),
]

AT = datetime(2026, 3, 1, 12, 30, 15, 123456, tzinfo=UTC)
PARAMS = msgspec.Raw(msgspec.msgpack.encode({"table": "people", "note": "x" * 150, "limit": 3}))
RESULT = Result(value=msgspec.Raw(msgspec.msgpack.encode({"rows": 1000, "note": "x" * 60})))


class Jobs:
    """Lists of new jobs; with one seed always the same."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._made = 0
        self._batch = ""
        self._in_batch = BATCH_JOBS
        self.batches: list[str] = []

    def ids(self) -> tuple[list[str], str]:
        """Return the ids of the next list, and their batch or ""."""
        self._made += 1
        if self._made % 10:
            group = self._group()
            return [member(group, index) for index in range(LIST)], ""
        if self._in_batch >= BATCH_JOBS:
            self._batch, self._in_batch = self._group(), 0
            self.batches.append(self._batch)
        first, self._in_batch = self._in_batch, self._in_batch + LIST
        return [batch_job_id(self._batch, 0, first + index) for index in range(LIST)], self._batch

    def _group(self) -> str:
        return new_group(1_770_000_000_000 + self._made, self._random.randbytes(10))


def queued(job: str, batch: str) -> Event:
    rows = Rows(batch, "in/people.csv", 0, 1, 1, 1000, Payload("rota.payload.x", 1, "a" * 64)) if batch else None
    details = JobDetails(spec="resize", queue="default", params=PARAMS, rows=rows)
    return JobQueued(originator_id=job, originator_version=1, at=AT, attempt=1, details=details)


def succeeded(job: str, batch: str) -> Event:
    return JobSucceeded(
        originator_id=job,
        originator_version=2,
        at=AT + timedelta(seconds=2),
        attempt=1,
        batch=batch or None,
        worker="host-12-4711",
        started_at=AT + timedelta(seconds=1),
        result=RESULT,
    )


def message(grammar: Grammar, event: Event, expected: int) -> Message:
    """Return an event as it is appended: it expects the sequence of the job's event before, or 0."""
    fence = {EXPECTED: str(expected), f"{EXPECTED}-Subject": grammar.of_job(event.originator_id)}
    return Message(grammar.subject(event), encode(event), cloud_event(event) | fence)


def history(grammar: Grammar, jobs: Jobs, events: int, sample: list[str]) -> Iterator[Message]:
    """Yield that many events in the order in which Rota stores them; note two jobs of each list.

    The stream must be empty and nobody else write to it, since the events expect those before at their sequence.
    """
    running: deque[tuple[list[str], str, int]] = deque()
    sequence = 1
    for number in range(events // 2 // LIST + RUNNING_LISTS):
        if number < events // 2 // LIST:
            ids, batch = jobs.ids()
            sample += ids[0], ids[-1]
            running.append((ids, batch, sequence))
            yield from (message(grammar, queued(job, batch), 0) for job in ids)
            sequence += LIST
        if number >= RUNNING_LISTS:
            ids, batch, first = running.popleft()
            yield from (
                message(grammar, succeeded(job, batch), expected) for expected, job in enumerate(ids, start=first)
            )
            sequence += LIST
