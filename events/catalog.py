"""Every command and event by its tag, their codec, and the aggregates that they belong to."""

from typing import Any, get_args

import msgspec

from events.base import Aggregate, Event, Kind
from events.batch import BATCH, BatchCommand, BatchEvent
from events.job import JOB, JobCommand, JobEvent
from events.spec import SPEC, SpecCommand, SpecEvent

AGGREGATES: dict[Kind, Aggregate] = {"batch": BATCH, "job": JOB, "spec": SPEC}

AnyCommand = BatchCommand | JobCommand | SpecCommand
AnyEvent = BatchEvent | JobEvent | SpecEvent


def _tag(cls: type[Any]) -> str:
    return str(cls.__struct_config__.tag)


EVENTS: dict[str, type[Event]] = {_tag(cls): cls for cls in get_args(AnyEvent)}
COMMANDS: dict[str, type[Any]] = {_tag(cls): cls for cls in get_args(AnyCommand)}
TAGS: dict[type[Any], str] = {cls: tag for tag, cls in (EVENTS | COMMANDS).items()}
KINDS: dict[type[Any], Kind] = {cls: tag.partition(".")[0] for cls, tag in TAGS.items()}  # type: ignore[misc] # tags begin with a kind

_encoder = msgspec.msgpack.Encoder()
_events: msgspec.msgpack.Decoder[AnyEvent] = msgspec.msgpack.Decoder(AnyEvent)
_commands: msgspec.msgpack.Decoder[list[AnyCommand]] = msgspec.msgpack.Decoder(list[AnyCommand])

encode = _encoder.encode


def decode_event(body: bytes) -> AnyEvent:
    """Decode a stored event; DecodeError or ValidationError of msgspec if it is none."""
    return _events.decode(body)


def decode_commands(body: bytes) -> list[AnyCommand]:
    """Decode the body of a command message; DecodeError or ValidationError of msgspec if it is none."""
    return _commands.decode(body)
