"""Recorders of the `eventsourcing` library that keep events in a JetStream stream."""

import asyncio
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from eventsourcing.persistence import (
    AggregateRecorder,
    ApplicationRecorder,
    Notification,
    NotSupportedError,
    Recorder,
    StoredEvent,
    Subscription,
)

from events.jetstream.direct import PAGE, scan, sequence_of
from events.jetstream.envelope import headers_of, is_event, notification, stored_event, token
from events.jetstream.log import Log
from events.jetstream.loop import Loop
from events.jetstream.subscription import JetStreamSubscription
from rota.jetstream import MAX_BATCH, Connection, JetStreamError, Message, Msg

STREAM_EXISTS = 10058
MAX_BATCHES_IN_FLIGHT = 10
"""Atomic batches that one recorder sends at a time; the server allows 50 a stream."""

ALL = ">"
"""A filter that says it by its words has the server look at each subject: for a second with millions (ADR 9)."""

NONE_BEFORE = {"Nats-Expected-Last-Subject-Sequence": "0"}


class JetStreamRecorder(Recorder):
    """What all recorders have: a stream, which is made if it is missing, and the loop that reaches it."""

    def __init__(self, loop: Loop, stream: str) -> None:
        self.loop = loop
        self.stream = stream
        self._in_flight = asyncio.Semaphore(MAX_BATCHES_IN_FLIGHT)
        loop.run(self._ensure_stream())

    @property
    def connection(self) -> Connection:
        """The connection, for use in the loop."""
        return self.loop.connection

    async def store(self, messages: Sequence[Message]) -> int:
        """Store messages, all or none; return the sequence of the last."""
        if len(messages) > MAX_BATCH:
            raise NotSupportedError(
                f"{len(messages)} records at a time are over the {MAX_BATCH} that NATS stores all or none"
            )
        async with self._in_flight:
            return await self.connection.publish_all(messages)

    async def _ensure_stream(self) -> None:
        try:
            await self.connection.call(f"STREAM.CREATE.{self.stream}", {"name": self.stream, **self._config()})
        except JetStreamError as error:
            if error.code != STREAM_EXISTS:
                raise

    def _config(self) -> dict[str, Any]:
        """Return how the stream is made."""
        return {
            "subjects": [f"{self.stream}.>"],
            "storage": "file",
            "allow_atomic": True,
            "allow_direct": True,
            # An event has its subject for itself; of the positions in other logs only the last is needed.
            "max_msgs_per_subject": 1,
        }


class JetStreamAggregateRecorder(JetStreamRecorder, AggregateRecorder):
    """Stored events on subjects `<prefix>.any.<originator id>.<version>`.

    An insert is one atomic batch, in which each event expects to be the first on its subject: that makes an
    id and version unique, whatever the number of writers. Events of one aggregate come in the order of their
    versions.
    """

    def __init__(self, loop: Loop, stream: str) -> None:
        super().__init__(loop, stream)
        self.prefix = f"{stream}.event"

    def insert_events(self, stored_events: Sequence[StoredEvent], **_: Any) -> Sequence[int] | None:
        """Store events, all or none, up to 1,000; IntegrityError if one of them exists.

        After OperationalError it is not known whether they are stored; to insert them again tells.
        """
        self.loop.run(self._insert(stored_events))
        return None

    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        """Return events of one aggregate."""
        if limit is not None and limit < 1:
            return []
        return self.loop.run(self._select_events(originator_id, gt, lte, limit, desc=desc))

    async def _insert(self, events: Sequence[StoredEvent], first: Sequence[Message] = ()) -> list[int]:
        messages = [*first, *map(self._message, events)]
        last = await self.store(messages) if messages else 0
        return list(range(last - len(events) + 1, last + 1))

    def _message(self, event: StoredEvent) -> Message:
        subject = f"{self.prefix}.any.{token(event.originator_id)}.{event.originator_version}"
        return Message(subject, event.state, headers_of(event, f"/{self.stream}") | NONE_BEFORE)

    async def _select_events(
        self, id_: UUID | str, gt: int | None, lte: int | None, limit: int | None, *, desc: bool
    ) -> list[StoredEvent]:
        # Each is asked for by its own subject: a search on a wildcard reads all that was stored since (ADR 9).
        aggregate = f"{self.prefix}.any.{token(id_)}"
        versions = [
            version
            for version in await self._versions(aggregate)
            if (gt is None or version > gt) and (lte is None or version <= lte)
        ]
        versions = sorted(versions, reverse=desc)[:limit]
        found: list[StoredEvent] = []
        for first in range(0, len(versions), PAGE):
            messages = await asyncio.gather(
                *(
                    self.connection.last(self.stream, f"{aggregate}.{version}")
                    for version in versions[first : first + PAGE]
                )
            )
            found += [stored_event(message) for message in messages if message]
        return found

    async def _versions(self, aggregate: str) -> list[int]:
        """Return which versions of an aggregate are stored."""
        found: list[int] = []
        while True:
            query = {"subjects_filter": f"{aggregate}.*", "offset": len(found)}
            info = await self.connection.call(f"STREAM.INFO.{self.stream}", query)
            subjects = info["state"].get("subjects") or {}
            found += [int(subject.rpartition(".")[2]) for subject in subjects]
            if not subjects or len(found) >= info["total"]:
                return found


class JetStreamApplicationRecorder(JetStreamAggregateRecorder, ApplicationRecorder):
    """Events in the order of the stream; a notification's id is its sequence there.

    Ids grow; they have gaps where the stream holds something else.
    """

    def insert_events(self, stored_events: Sequence[StoredEvent], **_: Any) -> Sequence[int] | None:
        """Store events as above; return their ids, which follow on each other."""
        return self.loop.run(self._insert(stored_events))

    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> Sequence[Notification]:
        """Return up to `limit` notifications from `start` to `stop`, of these topics or all."""
        first = max((start or 0) + (start is not None and not inclusive_of_start), 1)
        return self.loop.run(self._select_notifications(first, limit, stop, topics)) if limit > 0 else []

    def max_notification_id(self) -> int | None:
        """Return the id of the newest event, or None."""
        newest = self.loop.run(self._newest())
        return sequence_of(newest) if newest else None

    def subscribe(self, gt: int | None = None, topics: Sequence[str] = ()) -> Subscription[ApplicationRecorder]:
        """Return an iterator over all notifications after `gt`, which waits for those to come."""
        follower = Log(self.connection, self.stream).follow([ALL], after=gt or 0)
        return JetStreamSubscription(self, self.loop, follower, topics)

    async def _newest(self) -> Msg | None:
        newest = await self.connection.last(self.stream, ALL)
        if newest is None or is_event(newest):
            return newest
        return await self.connection.last(self.stream, f"{self.prefix}.>")

    async def _select_notifications(
        self, first: int, limit: int, stop: int | None, topics: Sequence[str]
    ) -> list[Notification]:
        found: list[Notification] = []
        page = PAGE if topics else min(limit, PAGE)
        async for message in scan(self.connection, self.stream, ALL, first, page=page):
            if not is_event(message):
                continue
            candidate = notification(message, sequence_of(message))
            if stop is not None and candidate.id > stop:
                break
            if not topics or candidate.topic in topics:
                found.append(candidate)
                if len(found) == limit:
                    break
        return found
