"""How the jobs of a batch ended, in the order that is asked for and many at a time.

By Direct Get with `multi_last` the server answers 39,000 jobs a second (measured with 200 bytes an event).
"""

from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable
from itertools import islice

import msgspec

from events.catalog import decode_event
from events.jetstream.direct import get_many, sequence_of
from events.jetstream.topology import EVENTS
from events.job import JobCancelled, JobFailed, JobQueued, JobSucceeded, JobTimedOut
from events.subjects import end_filter, queued_filter
from rota.jetstream import Connection, Msg
from rota.protocol import Rows

PAGE_JOBS = 200
"""Jobs that are asked for at a time: the server gives up beyond 1,024 subjects, and each job may have five."""
PAGE_BYTES = 16 * 1024 * 1024
"""Events of one answer: more are asked for in two."""

End = JobSucceeded | JobFailed | JobTimedOut | JobCancelled


async def ends(
    connection: Connection, batch: str, jobs: Iterable[str]
) -> AsyncGenerator[list[tuple[str, End | None]], None]:
    """Yield how each job of a batch ended, in the order of the jobs, a page at a time; None if it has not.

    A job that was redriven has not ended until it ends again. A page is as it was at one moment, and the next one
    is asked for when this one is taken.
    """
    async for part, found in _last_events(connection, jobs, lambda job: end_filter(job, batch)):
        yield [(job, _end(found.get(job))) for job in part]


async def rows_of_jobs(connection: Connection, jobs: Iterable[str]) -> dict[str, Rows]:
    """Return which rows each job has, by its id; a job that is not queued yet has none here."""
    rows: dict[str, Rows] = {}
    async for _, found in _last_events(connection, jobs, queued_filter):
        for job, message in found.items():
            event = decode_event(message.data)
            if isinstance(event, JobQueued) and event.details.rows:
                rows[job] = event.details.rows
    return rows


async def _last_events(
    connection: Connection, jobs: Iterable[str], filter_of: Callable[[str], str]
) -> AsyncGenerator[tuple[list[str], dict[str, Msg]]]:
    """Yield some jobs, in their order, with the last event of each that its filter matches, by the job's id.

    An answer that would be too large is asked for again in halves.
    """
    waiting = iter(jobs)
    while page := list(islice(waiting, PAGE_JOBS)):
        parts = deque([page])
        while parts:
            part = parts.popleft()
            filters = [filter_of(job) for job in part]
            messages, whole = await _last_of_each(connection, filters, bounded=len(part) > 1)
            if whole:
                yield part, _newest(messages)
            else:
                half = len(part) // 2
                parts.extendleft((part[half:], part[:half]))


def _newest(messages: list[Msg]) -> dict[str, Msg]:
    """Return the last message of each job; they come in the order of the log."""
    return {_subject_of(message).split(".")[3]: message for message in messages}


def _end(message: Msg | None) -> End | None:
    event = decode_event(message.data) if message else None
    return event if isinstance(event, End) else None


def _subject_of(message: Msg) -> str:
    return (message.headers or {})["Nats-Subject"]


async def _last_of_each(connection: Connection, filters: list[str], *, bounded: bool) -> tuple[list[Msg], bool]:
    """Return the last message on each subject that one of the filters matches, in the order of the log.

    If `bounded`, the answer may end early, since it would be too large; the second value says whether it is whole.
    """
    query: dict[str, object] = {"multi_last": filters, "batch": 1024}
    if bounded:
        query["max_bytes"] = PAGE_BYTES
    messages, more = await get_many(connection, EVENTS, msgspec.json.encode(query), "events of jobs")
    return sorted(messages, key=sequence_of), not more
