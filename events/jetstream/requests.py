"""Messages with commands: what they ask, who asks, and the answer."""

import logging
import re
from collections.abc import Mapping
from typing import Literal

import msgspec
from msgspec import MsgspecError, Struct, ValidationError

from events.base import Kind, Origin
from events.catalog import TAGS, AnyCommand, decode_commands, encode
from events.ids import group_of
from events.jetstream.direct import sequence_of
from events.jetstream.topology import COMMANDS
from rota.errors import TooLargeError
from rota.jetstream import Connection, Msg
from rota.protocol import (
    CALLER,
    CAUSATION_ID,
    COMMAND_ID,
    CONTENT_TYPE,
    JSON,
    MAX_JOBS_PER_REQUEST,
    REPLY_TO,
    Outcome,
    Report,
)
from rota.pull import delivery

MAX_COMMANDS = MAX_JOBS_PER_REQUEST
"""Commands in a message: each may cost a dead letter, and all others of the shard wait meanwhile."""

HEADER_CHARACTERS = 256
"""What is kept of a header: it is stored with each event that follows."""

UNREADABLE = (MsgspecError, OverflowError, RecursionError, UnicodeDecodeError)
"""What reading a message raises that is no list of commands."""

BEGINNINGS: dict[Kind, str] = {
    "batch": "open",
    "job": "schedule",
    "spec": "register",
    "workflow": "schedule",
}
"""The verbs that make an aggregate."""

ANSWERABLE = re.compile(r"(?=.{1,400}\Z)[^\s.*>]+(\.[^\s.*>]+){0,31}")
"""Subjects without wildcards; on what is no subject, or too long, the server would end the connection."""

log = logging.getLogger("rota.shard")


class Asked(Struct):
    """A command, where it comes from, and what became of it."""

    command: AnyCommand
    origin: Origin
    outcome: Outcome | None = None
    name: str = ""
    """What names it among all that were stored: its message's sequence, and its place in there."""

    def end(self, status: Literal["done", "refused", "failed"], detail: str = "", slug: str = "") -> None:
        """Note what became of it."""
        command = self.command
        self.outcome = Outcome(id=command.id, type=TAGS[type(command)], status=status, detail=detail, slug=slug)


def read_commands(message: Msg) -> list[AnyCommand]:
    """Return what a message asks; one of UNREADABLE if it is no list of commands, or one that is too long."""
    body = message.data
    if (message.headers or {}).get(CONTENT_TYPE, "").startswith(JSON):
        body = encode(msgspec.json.decode(body))
    commands = decode_commands(body)
    if len(commands) > MAX_COMMANDS:
        raise ValidationError(f"It has {len(commands)} commands; the limit is {MAX_COMMANDS}")
    return commands


def headers_of(message: Msg) -> dict[str, str]:
    """Return what a message's headers say to who reads its commands, in one line each and no more than is kept."""
    headers: Mapping[str, str] = message.headers or {}
    said = {
        name: " ".join(headers.get(name, "").split())[:HEADER_CHARACTERS]
        for name in (CALLER, CAUSATION_ID, COMMAND_ID, CONTENT_TYPE)
    }
    return {name: value for name, value in said.items() if value}


def read_delivered(message: Msg) -> list[Asked]:
    """Return what a message of a consumer asks, and where that comes from; errors as above."""
    return _read(message, delivery(message).sequence)


async def find_beginning(connection: Connection, kind: Kind, id_: str) -> Asked | None:
    """Return the command that makes an aggregate, if it waits in the stream of commands."""
    subject = f"rota.command.*.{kind}.{group_of(id_)}.{BEGINNINGS[kind]}"
    message: Msg | None = await connection.last(COMMANDS, subject)
    if message is None:
        return None
    try:
        asked = _read(message, sequence_of(message))
    except UNREADABLE:
        return None
    tag = f"{kind}.{BEGINNINGS[kind]}"
    # The subject is the sender's word only: another command there would be taken for its own beginning, for ever.
    return next((one for one in asked if one.command.id == id_ and TAGS[type(one.command)] == tag), None)


async def answer(connection: Connection, message: Msg, asked: list[Asked]) -> None:
    """Tell the outcomes, if the message names a subject for them and they fit in one message."""
    if (subject := (message.headers or {}).get(REPLY_TO)) and takes_answers(subject):
        outcomes = [one.outcome for one in asked]
        try:
            await connection.send(subject, msgspec.json.encode(outcomes))
        except TooLargeError as error:
            log.warning("%d outcomes are not told: %s", len(asked), error)


def takes_answers(subject: str) -> bool:
    """Say whether answers may go there: to a subject of the sender's, not to one of NATS or of Rota itself."""
    return bool(ANSWERABLE.fullmatch(subject)) and not subject.startswith(("$", "rota."))


def _read(message: Msg, sequence: int) -> list[Asked]:
    headers = headers_of(message)
    origin = Origin(headers.get(COMMAND_ID, str(sequence)), headers.get(CALLER, ""), headers.get(CAUSATION_ID, ""))
    return [
        Asked(command, _own(command, origin), name=f"{sequence}.{index}")
        for index, command in enumerate(read_commands(message))
    ]


def _own(command: AnyCommand, origin: Origin) -> Origin:
    """Return where a command comes from; a report says it itself, since reports of many jobs share a message."""
    if isinstance(command, Report):
        return Origin(origin.command_id, f"worker:{command.worker}", command.causation_id or origin.causation_id)
    return origin
