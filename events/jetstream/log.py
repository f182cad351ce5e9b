"""The event log: append with the expected sequence, load one aggregate, follow from a position.

Events are stored with the attributes of CloudEvents 1.0 as headers (NATS binding, binary mode) and their own
MessagePack as body.
"""

import asyncio
import secrets
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Self

import msgspec
from msgspec import Struct

from events.base import Event, Kind, event_id
from events.catalog import TAGS, AnyEvent, decode_event, encode, split_tag
from events.jetstream.chain import chain
from events.jetstream.direct import sequence_of
from events.jetstream.topology import EVENTS, SECOND
from events.subjects import aggregate_filter, event_subject
from rota.errors import RotaError
from rota.jetstream import WRONG_LAST_SEQUENCE, Connection, JetStreamError, Message, Msg
from rota.pull import Pull, delivery

FOLLOW_CREDIT = 4000
BATCHES_AT_ONCE = 20
"""Atomic batches that are under way together; the server allows 50 a stream, of all who write."""
FOLLOWER_GONE_SECONDS = 60


class SequenceConflictError(RotaError):
    """Somebody else has appended to one of the aggregates: load them and decide again."""


class Append(Struct):
    """New events of one aggregate, and the log's sequence of the last one that the decision knew of (0: none)."""

    kind: Kind
    id: str
    expected: int
    events: list[Event]


class Recorded(Struct, frozen=True):
    """An event with its place in the log."""

    sequence: int
    event: AnyEvent


def cloud_event(event: Event) -> dict[str, str]:
    """Return the headers that make a stored event a CloudEvent: those that must be there, and its encoding.

    Each costs in every store and delivery. The aggregate's id stands in `ce-id`, the time in the body.
    """
    tag, version = split_tag(TAGS[type(event)])
    return {
        "ce-specversion": "1.0",
        "ce-id": event_id(event),
        "ce-source": "/rota",
        "ce-type": f"rota.{tag}.v{version}",
        "ce-datacontenttype": "application/msgpack",
    }


def _messages(append: Append) -> list[Message]:
    """Return an aggregate's new events as messages; the first expects what the decision knew of."""
    fence = {
        "Nats-Expected-Last-Subject-Sequence": str(append.expected),
        "Nats-Expected-Last-Subject-Sequence-Subject": aggregate_filter(append.kind, append.id),
    }
    return [
        Message(event_subject(event), encode(event), cloud_event(event) | (fence if position == 0 else {}))
        for position, event in enumerate(append.events)
    ]


class Log:
    """The stream of all events."""

    def __init__(self, connection: Connection, stream: str = EVENTS) -> None:
        self._connection = connection
        self._stream = stream

    async def append(self, appends: Sequence[Append]) -> list[int]:
        """Store the events of several aggregates; return the last sequence of each aggregate.

        The events of one aggregate are stored all or none, those of different ones each by themselves. An
        aggregate must not come twice. Raises SequenceConflictError if one of them has other events than was
        expected, UnavailableError if it is not known which events were stored; load them then, and decide again.
        """
        single = [append for append in appends if len(append.events) == 1]
        several = [append for append in appends if len(append.events) > 1]
        try:
            stored = dict(
                zip(
                    ((append.kind, append.id) for append in single),
                    await self._connection.publish_each([_messages(append)[0] for append in single]),
                    strict=True,
                )
            )
            for start in range(0, len(several), BATCHES_AT_ONCE):
                some = several[start : start + BATCHES_AT_ONCE]
                last = await asyncio.gather(*(self._connection.publish_all(_messages(append)) for append in some))
                stored.update(((append.kind, append.id), at) for append, at in zip(some, last, strict=True))
        except JetStreamError as error:
            if error.code in WRONG_LAST_SEQUENCE:
                raise SequenceConflictError(str(error)) from error
            raise
        return [stored[append.kind, append.id] for append in appends]

    async def load(self, kind: Kind, id_: str, after: int = 0) -> list[Recorded]:
        """Return an aggregate's events, oldest first, that stand after a sequence."""
        messages = await chain(self._connection, self._stream, aggregate_filter(kind, id_), after)
        return [Recorded(sequence_of(message), decode_event(message.data)) for message in messages]

    async def last(self, kind: Kind, id_: str) -> Recorded | None:
        """Return an aggregate's newest event, or None if it has none."""
        query = msgspec.json.encode({"last_by_subj": aggregate_filter(kind, id_)})
        reply = await self._connection.request(f"$JS.API.DIRECT.GET.{self._stream}", query)
        if (reply.headers or {}).get("Status") == "404":
            return None
        return Recorded(sequence_of(reply), decode_event(reply.data))

    async def sequence_on(self, subject: str) -> int:
        """Return the sequence of the newest event on a subject, 0 if there is none."""
        message = await self._connection.last(self._stream, subject)
        return sequence_of(message) if message else 0

    async def last_sequence(self) -> int:
        """Return the sequence of the newest event, 0 if there is none."""
        info = await self._connection.call(f"STREAM.INFO.{self._stream}")
        return int(info["state"]["last_seq"])

    async def origin(self) -> str:
        """Return what tells this log from another one under its name: when its stream was made."""
        info = await self._connection.call(f"STREAM.INFO.{self._stream}")
        return str(info["created"])

    def follow(
        self,
        subjects: Sequence[str] = (">",),
        *,
        after: int = 0,
        headers_only: bool = False,
        credit: int = FOLLOW_CREDIT,
    ) -> "Follower":
        """Follow the log from a position, in order, without gaps or repeats, for as long as it is entered.

        `credit` is how many events may have come and wait to be taken.
        """
        return Follower(self._connection, self._stream, subjects, after, headers_only=headers_only, credit=credit)


class Follower:
    """A position in the log that moves on. Take what has come with `take`.

    It reads an ephemeral consumer without acks. When something is lost on the way (a reconnect, a restarted
    server) it starts a new one after the last message that it handed out.
    """

    def __init__(
        self,
        connection: Connection,
        stream: str,
        subjects: Sequence[str],
        after: int,
        *,
        headers_only: bool,
        credit: int = FOLLOW_CREDIT,
    ) -> None:
        self._connection = connection
        self._stream = stream
        self._subjects = list(subjects)
        self._headers_only = headers_only
        self._name = f"follower-{secrets.token_hex(8)}"
        self.position = after
        """Sequence of the last message that was taken, or where following began."""
        self.behind = 0
        """How many messages that were there when its consumer was made have not been taken yet."""
        self._received = after
        self._expected = 1
        self._broken = False
        self._waiting: list[Msg] = []
        self._arrived = asyncio.Event()
        self._pull = Pull(connection, stream, self._name, self._receive, credit=credit, recreate=self._recreate)

    async def __aenter__(self) -> Self:
        await self._create()
        self._connection.on_reconnect.add(self._break)
        await self._pull.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._connection.on_reconnect.discard(self._break)
        await self._pull.__aexit__(*exc)
        with suppress(RotaError):
            await self._connection.call(f"CONSUMER.DELETE.{self._stream}.{self._name}")

    async def take(self, limit: int = FOLLOW_CREDIT, timeout: float | None = None) -> list[Msg]:
        """Return what has come, at least one message, or none after `timeout` seconds."""
        while not self._waiting:
            self._arrived.clear()
            if self._broken:
                await self._recreate()
            try:
                async with asyncio.timeout(timeout):
                    await self._arrived.wait()
            except TimeoutError:
                return []
        taken, self._waiting = self._waiting[:limit], self._waiting[limit:]
        self._pull.free(len(taken))
        self.position = delivery(taken[-1]).sequence
        self.behind = max(0, self.behind - len(taken))
        return taken

    def _receive(self, message: Msg) -> None:
        place = delivery(message)
        if place.consumer != self._name or place.order != self._expected:
            # From the consumer before, or the first after a loss; `take` makes a new consumer.
            self._broken = self._broken or place.consumer == self._name
            self._pull.free()
        else:
            self._expected += 1
            self._received = place.sequence
            self._waiting.append(message)
        self._arrived.set()

    def _break(self) -> None:
        # What was on its way when the connection broke is lost, and perhaps nothing comes that would show it.
        self._broken = True
        self._arrived.set()

    async def _recreate(self) -> None:
        with suppress(JetStreamError):
            await self._connection.call(f"CONSUMER.DELETE.{self._stream}.{self._name}")
        self._name = f"follower-{secrets.token_hex(8)}"
        await self._create()
        self._expected, self._broken = 1, False
        self._pull.aim(self._name)

    async def _create(self) -> None:
        config: dict[str, Any] = {
            "name": self._name,
            "ack_policy": "none",
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": self._received + 1,
            "filter_subjects": self._subjects,
            "headers_only": self._headers_only,
            "mem_storage": True,
            "inactive_threshold": FOLLOWER_GONE_SECONDS * SECOND,
        }
        made = await self._connection.call(
            f"CONSUMER.CREATE.{self._stream}.{self._name}", {"stream_name": self._stream, "config": config}
        )
        self.behind = len(self._waiting) + int(made["num_pending"])
