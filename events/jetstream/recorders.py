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
from events.jetstream.envelope import headers_of, notification, stored_event, token
from events.jetstream.log import Log
from events.jetstream.loop import Loop
from events.jetstream.subscription import JetStreamSubscription
from events.jetstream.topology import EVENTS, STREAMS
from rota.jetstream import MAX_BATCH, Connection, JetStreamError, Message

STREAM_EXISTS = 10058
MAX_BATCHES_IN_FLIGHT = 10
"""Atomic batches that one recorder sends at a time; the server allows 50 a stream."""

NONE_BEFORE = {"Nats-Expected-Last-Subject-Sequence": "0"}


class JetStreamRecorder(Recorder):
    """What all recorders have: a stream, which is made if it is missing, and the loop that reaches it."""

    def __init__(self, loop: Loop, stream: str = EVENTS) -> None:
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
        config = STREAMS.get(self.stream) or {
            "subjects": [f"{self.stream}.>"],
            "storage": "file",
            "allow_atomic": True,
            "allow_direct": True,
            # An event has its subject for itself; of the positions in other logs only the last is needed.
            "max_msgs_per_subject": 1,
        }
        try:
            await self.connection.call(f"STREAM.CREATE.{self.stream}", {"name": self.stream, **config})
        except JetStreamError as error:
            if error.code != STREAM_EXISTS:
                raise


class JetStreamAggregateRecorder(JetStreamRecorder, AggregateRecorder):
    """Stored events on subjects `<prefix>.any.<originator id>.<version>`.

    An insert is one atomic batch, in which each event expects to be the first on its subject: that makes an
    id and version unique, whatever the number of writers. Events of one aggregate come in the order in which
    they were stored; `gt` counts on that being the order of their versions, as aggregates make them.

    Rota's own log can be read, not written: its events are appended by those who own the aggregates.
    """

    def __init__(self, loop: Loop, stream: str = EVENTS) -> None:
        super().__init__(loop, stream)
        self.prefix = "rota.event" if stream == EVENTS else f"{stream}.event"

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
        """Return events of one aggregate; the newest alone costs one request."""
        if limit is not None and limit < 1:
            return []
        return self.loop.run(self._select_events(originator_id, gt, lte, limit, desc=desc))

    async def _insert(self, events: Sequence[StoredEvent], first: Sequence[Message] = ()) -> list[int]:
        if self.stream == EVENTS:
            raise NotSupportedError("Rota's log is written by Rota alone; send a command instead")
        messages = [*first, *map(self._message, events)]
        last = await self.store(messages) if messages else 0
        return list(range(last - len(events) + 1, last + 1))

    def _message(self, event: StoredEvent) -> Message:
        subject = f"{self.prefix}.any.{token(event.originator_id)}.{event.originator_version}"
        return Message(subject, event.state, headers_of(event, f"/{self.stream}") | NONE_BEFORE)

    async def _select_events(
        self, id_: UUID | str, gt: int | None, lte: int | None, limit: int | None, *, desc: bool
    ) -> list[StoredEvent]:
        aggregate = f"{self.prefix}.*.{token(id_)}"
        if desc and limit == 1 and gt is None and lte is None:
            newest = await self.connection.last(self.stream, f"{aggregate}.>")
            return [stored_event(newest)] if newest else []
        start = 1
        if gt is not None and (known := await self.connection.last(self.stream, f"{aggregate}.{gt}")):
            start = sequence_of(known) + 1
        found: list[StoredEvent] = []
        page = min(limit or PAGE, PAGE)
        async for message in scan(self.connection, self.stream, f"{aggregate}.>", start, page=page):
            event = stored_event(message)
            if (gt is None or event.originator_version > gt) and (lte is None or event.originator_version <= lte):
                found.append(event)
                if len(found) == limit and not desc:
                    break
        return found[::-1][:limit] if desc else found


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
        newest = self.loop.run(self.connection.last(self.stream, f"{self.prefix}.>"))
        return sequence_of(newest) if newest else None

    def subscribe(self, gt: int | None = None, topics: Sequence[str] = ()) -> Subscription[ApplicationRecorder]:
        """Return an iterator over all notifications after `gt`, which waits for those to come."""
        follower = Log(self.connection, self.stream).follow([f"{self.prefix}.>"], after=gt or 0)
        return JetStreamSubscription(self, self.loop, follower, topics)

    async def _select_notifications(
        self, first: int, limit: int, stop: int | None, topics: Sequence[str]
    ) -> list[Notification]:
        found: list[Notification] = []
        page = PAGE if topics else min(limit, PAGE)
        async for message in scan(self.connection, self.stream, f"{self.prefix}.>", first, page=page):
            candidate = notification(message, sequence_of(message))
            if stop is not None and candidate.id > stop:
                break
            if not topics or candidate.topic in topics:
                found.append(candidate)
                if len(found) == limit:
                    break
        return found
