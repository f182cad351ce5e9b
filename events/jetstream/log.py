"""The event log: append with the expected sequence, load one aggregate, follow from a position.

Events are stored with the attributes of CloudEvents 1.0 as headers (NATS binding, binary mode) and their own
MessagePack as body.
"""

from collections.abc import Iterator, Sequence

from msgspec import Struct

from events.base import Event, Kind, event_id
from events.catalog import TAGS, AnyEvent, decode_event, encode, split_tag
from events.jetstream.chain import chain
from events.jetstream.direct import sequence_of
from events.jetstream.topology import EVENTS
from events.subjects import aggregate_filter, event_subject
from rota.errors import RotaError, TooLargeError
from rota.follow import CREDIT, Follower
from rota.jetstream import MAX_BATCH, WRONG_LAST_SEQUENCE, Connection, JetStreamError, Message

BATCH_BYTES = 16 * 1024 * 1024
"""Of units that share an atomic batch: the server takes more, but the longer the more rarely."""
UNIT_BYTES = 64 * 1024 * 1024
"""Of a unit, which is a batch alone if it is large."""


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


def _batches(sizes: Sequence[int], weights: Sequence[int]) -> Iterator[list[int]]:
    """Yield which of the units with more than one message go together, by their numbers."""
    batch: list[int] = []
    room, bytes_left = MAX_BATCH, BATCH_BYTES
    for number, (size, weight) in enumerate(zip(sizes, weights, strict=True)):
        if size <= 1:
            continue
        if batch and (size > room or weight > bytes_left):
            yield batch
            batch, room, bytes_left = [], MAX_BATCH, BATCH_BYTES
        batch.append(number)
        room -= size
        bytes_left -= weight
    if batch:
        yield batch


def _sequences(unit: Sequence[Sequence[Message]], last: int) -> list[int]:
    """Return the last sequence of each aggregate of a unit, given that of the unit."""
    after = [sum(map(len, unit[place + 1 :])) for place in range(len(unit))]
    return [last - count for count in after]


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
        return [sequence for [sequence] in await self.append_units([[append] for append in appends])]

    async def append_units(self, units: Sequence[Sequence[Append]]) -> list[list[int]]:
        """Store the events of several aggregates as above, but those of a unit all or none, MAX_BATCH at most.

        Units share atomic batches as far as these hold them: each batch costs the server about 2 ms, however large
        it is. What is but one event is stored by itself, which costs a tenth of that.
        """
        messages = [[_messages(append) for append in unit] for unit in units]
        sizes = [sum(map(len, unit)) for unit in messages]
        weights = [sum(len(message.body) for append in unit for message in append) for unit in messages]
        if max(weights, default=0) > UNIT_BYTES:
            raise TooLargeError(f"What is stored together takes {max(weights)} bytes; the limit is {UNIT_BYTES}")
        single = [number for number, size in enumerate(sizes) if size == 1]
        last: dict[int, int] = {}
        try:
            alone = await self._connection.publish_each([messages[number][0][0] for number in single])
            last.update(zip(single, alone, strict=True))
            for batch in _batches(sizes, weights):
                flat = [message for number in batch for append in messages[number] for message in append]
                sequence = await self._connection.publish_all(flat) - len(flat)
                # The server gives what is stored together one sequence after the other.
                for number in batch:
                    last[number] = sequence = sequence + sizes[number]
        except JetStreamError as error:
            if error.code in WRONG_LAST_SEQUENCE:
                raise SequenceConflictError(str(error)) from error
            raise
        return [_sequences(unit, last[number]) for number, unit in enumerate(messages)]

    async def load(self, kind: Kind, id_: str, after: int = 0, limit: int | None = None) -> list[Recorded]:
        """Return an aggregate's events that stand after a sequence, oldest first: all, or the first `limit`."""
        messages = await chain(self._connection, self._stream, aggregate_filter(kind, id_), after, limit)
        return [Recorded(sequence_of(message), decode_event(message.data)) for message in messages]

    async def last(self, kind: Kind, id_: str) -> Recorded | None:
        """Return an aggregate's newest event, or None if it has none."""
        message = await self._connection.last(self._stream, aggregate_filter(kind, id_))
        return Recorded(sequence_of(message), decode_event(message.data)) if message else None

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
        credit: int = CREDIT,
    ) -> Follower:
        """Follow the log from a position, in order, without gaps or repeats, for as long as it is entered.

        `credit` is how many events may have come and wait to be taken.
        """
        return Follower(
            self._connection, self._stream, subjects, after=after, headers_only=headers_only, credit=credit
        )
