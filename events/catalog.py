"""Every command and event by its tag, their codec, and the aggregates that they belong to."""

import re
from collections.abc import Mapping
from typing import Any, get_args

import msgspec

from events.base import Aggregate, Event, Kind
from events.batch import BatchCommand, BatchEvent
from events.batch_control import BatchControl, BatchControlled
from events.batch_decisions import BATCH
from events.batch_results import BatchCollected, BatchCollection
from events.job import JOB, JobCommand, JobEvent
from events.log import LOG, LogEvent
from events.spec import SPEC, SpecCommand, SpecEvent
from events.workflow import WorkflowCommand, WorkflowEvent
from events.workflow_decisions import WORKFLOW

AGGREGATES: dict[Kind, Aggregate] = {"batch": BATCH, "job": JOB, "log": LOG, "spec": SPEC, "workflow": WORKFLOW}

AnyCommand = BatchCommand | BatchControl | BatchCollection | JobCommand | SpecCommand | WorkflowCommand
AnyEvent = BatchEvent | BatchControlled | BatchCollected | JobEvent | LogEvent | SpecEvent | WorkflowEvent


def _tag(cls: type[Any]) -> str:
    return str(cls.__struct_config__.tag)


EVENTS: dict[str, type[Event]] = {_tag(cls): cls for cls in get_args(AnyEvent)}
COMMANDS: dict[str, type[Any]] = {_tag(cls): cls for cls in get_args(AnyCommand)}
TAGS: dict[type[Any], str] = {cls: tag for tag, cls in (EVENTS | COMMANDS).items()}
KINDS: dict[type[Any], Kind] = {cls: tag.partition(".")[0] for cls, tag in TAGS.items()}  # type: ignore[misc] # tags begin with a kind

_VERSIONED = re.compile(r"(.+)\.v([1-9]\d{0,5})")

_encoder = msgspec.msgpack.Encoder()
_events: msgspec.msgpack.Decoder[AnyEvent] = msgspec.msgpack.Decoder(AnyEvent)
_commands: msgspec.msgpack.Decoder[list[AnyCommand]] = msgspec.msgpack.Decoder(list[AnyCommand])
_command: msgspec.msgpack.Decoder[AnyCommand] = msgspec.msgpack.Decoder(AnyCommand)
_ARRAYS = frozenset(range(0x90, 0xA0)) | {0xDC, 0xDD}
"""The first bytes of MessagePack arrays."""

encode = _encoder.encode


def split_tag(tag: str) -> tuple[str, int]:
    """Return an event's tag without its version, and the version: `job.queued.v2` is version 2 of `job.queued`."""
    found = _VERSIONED.fullmatch(tag)
    return (found[1], int(found[2])) if found else (tag, 1)


def decode_event(body: bytes) -> AnyEvent:
    """Decode a stored event of any version; DecodeError or ValidationError of msgspec if it is none."""
    try:
        return _events.decode(body)
    except msgspec.ValidationError:
        older = _older(body)
        if older is None:
            raise
    except RecursionError as error:
        raise msgspec.DecodeError("It is nested too deeply") from error
    return _events.decode(older)


def _older(body: bytes) -> bytes | None:
    """Return an event of an older version as the newest one is stored, None if it is no such event."""
    try:
        fields = msgspec.msgpack.decode(body)
    except RecursionError:
        return None
    return encode(fields) if isinstance(fields, dict) and upcast(fields, EVENTS) else None


def upcast(fields: dict[str, Any], classes: Mapping[str, type[Event]]) -> bool:
    """Bring the fields of an event of an older version to the newest one; say whether there is one.

    Version by version, the static method `upcast_v<n>_v<n + 1>` of the class changes them in place.
    """
    name, version = split_tag(str(fields.get("type")))
    newest = {split_tag(tag)[0]: tag for tag in classes}.get(name)
    if newest is None or version >= split_tag(newest)[1]:
        return False
    for number in range(version, split_tag(newest)[1]):
        getattr(classes[newest], f"upcast_v{number}_v{number + 1}")(fields)
    fields["type"] = newest
    return True


def decode_commands(body: bytes) -> list[AnyCommand]:
    """Decode a MessagePack list of commands, or one; DecodeError or ValidationError of msgspec if it is none."""
    if body and body[0] in _ARRAYS:
        return _commands.decode(body)
    return [_command.decode(body)]
