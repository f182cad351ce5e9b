"""Dead letters: commands that were refused, or that could not be carried out, with the reason."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any, Literal

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from events.catalog import TAGS, AnyCommand, encode
from events.jetstream.direct import get_at, scan, sequence_of
from events.jetstream.requests import Asked, headers_of
from events.jetstream.topology import DEAD_LETTERS
from events.subjects import command_subject, dead_letter_subject, published_subject
from rota.errors import ConflictError, NotFoundError, TooLargeError
from rota.jetstream import Connection, JetStreamError, Msg, until_available
from rota.protocol import CALLER, CAUSATION_ID, COMMAND_ID
from rota.pull import delivery

COMMANDS_PREFIX = "rota.command."

Status = Literal["refused", "failed"]


class DeadLetter(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was asked, and why nothing came of it."""

    status: Status
    reason: str
    at: datetime
    subject: str
    """Where the command stood in the stream of commands."""
    body: bytes
    """The command as MessagePack, in a list; the message as it came if it could not be read. Empty if there was no
    room for it: then it cannot be sent again."""
    headers: dict[str, str] = {}
    type: str = ""
    id: str = ""
    tries: int = 1
    traceback: str = ""


class DeadLetters:
    """The stream of dead letters."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def put(self, letter: DeadLetter, command: AnyCommand | None, name: str = "") -> None:
        """Keep a letter; when it returns, it is durable. Waits while NATS is away.

        A letter with the name of one that was kept in the last two minutes is the same one, and not kept again.
        """
        subject = dead_letter_subject(letter.status, command)
        headers = {"Nats-Msg-Id": name} if name else {}
        try:
            await until_available(lambda: self._connection.publish(subject, encode(letter), headers))
        except TooLargeError:
            # The message had all the room that there is, and what is said of it needs some.
            short = replace(letter, body=b"", headers={})
            await until_available(lambda: self._connection.publish(subject, encode(short), headers))

    async def bury(self, asked: Asked, status: Status, reason: str, at: datetime, **facts: Any) -> None:
        """Keep a command that was refused or failed, once; `facts` are further fields of the letter."""
        command, origin = asked.command, asked.origin
        headers = {
            CALLER: origin.caller,
            CAUSATION_ID: origin.causation_id,
            COMMAND_ID: origin.command_id,
        }
        letter = DeadLetter(
            status=status,
            reason=reason,
            at=at,
            subject=command_subject(command),
            body=encode([command]),
            headers={name: value for name, value in headers.items() if value},
            type=TAGS[type(command)],
            id=command.id,
            **facts,
        )
        await self.put(letter, command, asked.name)

    async def bury_unread(self, message: Msg, reason: str, at: datetime) -> None:
        """Keep a message that is no list of commands, once."""
        letter = DeadLetter(
            status="failed",
            reason=reason,
            at=at,
            subject=published_subject(message.subject),
            body=message.data,
            headers=headers_of(message),
        )
        await self.put(letter, None, str(delivery(message).sequence))

    async def list(
        self, status: Status | None = None, after: int = 0, limit: int = 100
    ) -> AsyncIterator[tuple[int, DeadLetter]]:
        """Yield letters with their sequences, oldest first."""
        count = 0
        subject = f"rota.dead_letter.{status or '*'}.*.*"
        async for message in scan(self._connection, DEAD_LETTERS, subject, after + 1, page=min(limit, 500)):
            yield sequence_of(message), msgspec.msgpack.decode(message.data, type=DeadLetter)
            count += 1
            if count == limit:
                return

    async def get(self, sequence: int) -> DeadLetter:
        """Return a letter; NotFoundError if there is none at this sequence."""
        message = await get_at(self._connection, DEAD_LETTERS, sequence)
        if message is None:
            raise NotFoundError(f"There is no dead letter {sequence}")
        return msgspec.msgpack.decode(message.data, type=DeadLetter)

    async def send_again(self, sequence: int) -> None:
        """Put the command of a letter back into the stream of commands, and remove the letter.

        ConflictError if the letter does not have it. If it comes to an end in between, the command is sent and the
        letter still there; to send it twice changes nothing.
        """
        letter = await self.get(sequence)
        if not letter.body or not letter.subject.startswith(COMMANDS_PREFIX):
            raise ConflictError(f"The dead letter {sequence} does not have its message, which cannot be sent again")
        await self._connection.publish(letter.subject, letter.body, letter.headers or None)
        await self.remove(sequence)

    async def remove(self, sequence: int) -> None:
        """Remove a letter; NotFoundError if there is none at this sequence."""
        try:
            await self._connection.call(f"STREAM.MSG.DELETE.{DEAD_LETTERS}", {"seq": sequence, "no_erase": True})
        except JetStreamError as error:
            raise NotFoundError(f"There is no dead letter {sequence}") from error
