"""Server-sent events: the log's events as CloudEvents, and what the gateway itself has to say on a stream."""

from typing import Any

import msgspec
from msgspec import Raw

from events.base import Event
from events.catalog import KINDS, TAGS, encode, split_tag
from events.jetstream.log import Recorded, cloud_event
from gateway.belongings import Belonging

RETRY_MILLISECONDS = 3000

_json = msgspec.json.Encoder()


class Shown:
    """An event as the streams show it, made ready when the first of them does."""

    __slots__ = ("_frame", "belonging", "of", "recorded", "type")

    def __init__(self, recorded: Recorded, belonging: Belonging | None) -> None:
        self.recorded = recorded
        self.type = event_type(recorded.event)
        self.of = (KINDS[type(recorded.event)], recorded.event.originator_id)
        """The kind and the id of what it happened to."""
        self.belonging = belonging
        """What the event is about; None if that has not been looked up yet."""
        self._frame: bytes | None = None

    @property
    def frame(self) -> bytes:
        """The event as a server-sent event; its id is the sequence."""
        if self._frame is None:
            self._frame = _frame(self.type, _structured(self.recorded), self.recorded.sequence)
        return self._frame


def event_type(event: Event) -> str:
    """Return an event's type without the version of its class."""
    return split_tag(TAGS[type(event)])[0]


def notice(name: str, data: Any, position: int | None = None) -> bytes:
    """Return a server-sent event that is none of the log's; it may move on where the stream can be resumed."""
    return _frame(name, _json.encode(data), position)


def greeting(position: int) -> bytes:
    """Return what begins a stream: from here on it can be resumed, though nothing has happened yet."""
    return b"retry: %d\nid: %d\n\n" % (RETRY_MILLISECONDS, position)


def heartbeat(position: int) -> bytes:
    """Return what is no event, but says that the stream lives, and up to where it has come."""
    return b": heartbeat\nid: %d\n\n" % position


def fields(recorded: Recorded) -> dict[str, Any]:
    """Return an event's fields as plain values.

    Decoding without a type turns the MessagePack values inside into plain ones, too.
    """
    found: dict[str, Any] = msgspec.msgpack.decode(encode(recorded.event))
    return found


def _structured(recorded: Recorded) -> bytes:
    """Return the event as a CloudEvent in structured mode."""
    attributes = _attributes(recorded)
    try:
        return _json.encode(attributes | {"data": fields(recorded)})
    except (TypeError, ValueError, RecursionError):
        return _json.encode(attributes | {"data": _presentable(recorded)})


def _attributes(recorded: Recorded) -> dict[str, Any]:
    event = recorded.event
    found: dict[str, Any] = {name.removeprefix("ce-"): value for name, value in cloud_event(event).items()}
    found |= {
        "subject": event.originator_id,
        "time": event.at,
        "sequence": f"{recorded.sequence:020}",
        "datacontenttype": "application/json",
    }
    if event.origin and event.origin.correlation_id:
        found["correlationid"] = event.origin.correlation_id
    if event.origin and event.origin.causation_id:
        found["causationid"] = event.origin.causation_id
    return found


def _presentable(recorded: Recorded) -> dict[str, Any]:
    """Return the event's fields but for those that JSON cannot hold, which only a job's result can be.

    A stream must not end at such an event, nor hide it.
    """
    found: dict[str, Any] = {}
    left_out: list[str] = []
    for name, raw in msgspec.msgpack.decode(encode(recorded.event), type=dict[str, Raw]).items():
        try:
            value = msgspec.msgpack.decode(raw)
            _json.encode(value)
        except (TypeError, ValueError, RecursionError):
            left_out.append(name)
        else:
            found[name] = value
    return found | {"left_out": left_out}


def _frame(name: str, data: bytes, id_: int | None) -> bytes:
    # JSON has no line breaks, so that the data is one line.
    place = b"" if id_ is None else b"id: %d\n" % id_
    return b"%sevent: %s\ndata: %s\n\n" % (place, name.encode(), data)
