"""How the jobs of a batch ended, in the order that is asked for and many at a time.

By Direct Get with `multi_last` the server answers 39,000 jobs a second (measured with 200 bytes an event).
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Sequence
from itertools import islice

import msgspec

from events.catalog import decode_event
from events.jetstream.direct import sequence_of
from events.jetstream.topology import EVENTS
from events.job import JobCancelled, JobFailed, JobQueued, JobSucceeded, JobTimedOut
from events.subjects import end_filter
from rota.errors import UnavailableError
from rota.jetstream import TIMEOUT_SECONDS, Connection, Msg
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
    waiting = iter(jobs)
    while page := list(islice(waiting, PAGE_JOBS)):
        parts = deque([page])
        while parts:
            part = parts.popleft()
            filters = [end_filter(job, batch) for job in part]
            messages, whole = await _last_of_each(connection, filters, bounded=len(part) > 1)
            if not whole:
                half = len(part) // 2
                parts.extendleft((part[half:], part[:half]))
                continue
            found = _newest(messages)
            yield [(job, _end(found.get(job))) for job in part]


async def rows_of(connection: Connection, jobs: Sequence[str]) -> dict[str, Rows]:
    """Return which rows each job has, by its id; a job that is not queued yet has none here."""
    found: dict[str, Rows] = {}
    for start in range(0, len(jobs), PAGE_JOBS):
        filters = [f"rota.event.job.{job}.queued.>" for job in jobs[start : start + PAGE_JOBS]]
        messages, _ = await _last_of_each(connection, filters, bounded=False)
        for job, message in _newest(messages).items():
            event = decode_event(message.data)
            if isinstance(event, JobQueued) and event.details.rows:
                found[job] = event.details.rows
    return found


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
    inbox = connection.client.new_inbox()
    replies: asyncio.Queue[Msg] = asyncio.Queue()
    subscription = await connection.client.subscribe(inbox, cb=replies.put)
    query: dict[str, object] = {"multi_last": filters, "batch": 1024}
    if bounded:
        query["max_bytes"] = PAGE_BYTES
    try:
        await connection.send(f"$JS.API.DIRECT.GET.{EVENTS}", msgspec.json.encode(query), reply=inbox)
        messages: list[Msg] = []
        while True:
            try:
                async with asyncio.timeout(TIMEOUT_SECONDS):
                    message = await replies.get()
            except TimeoutError as error:
                raise UnavailableError("NATS did not answer while the ends of jobs were read") from error
            headers = message.headers or {}
            match headers.get("Status"):
                case None:
                    messages.append(message)
                case "204":
                    return sorted(messages, key=sequence_of), not int(headers.get("Nats-Num-Pending", "0"))
                case "404":
                    return [], True
                case status:
                    raise UnavailableError(
                        f"NATS could not read the ends of jobs: {status} {headers.get('Description', '')}"
                    )
    finally:
        await connection.ignore(subscription)
