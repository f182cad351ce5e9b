"""Dead letters: commands that were refused, or that could not be carried out, with the reason."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Literal

import msgspec
from msgspec import Struct

from events.catalog import TAGS, AnyCommand, encode
from events.jetstream.direct import scan, sequence_of
from events.jetstream.topology import DEAD_LETTERS
from events.subjects import dead_letter_subject
from rota.errors import NotFoundError
from rota.jetstream import Connection, JetStreamError, until_available

Status = Literal["refused", "failed"]


class DeadLetter(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was asked, and why nothing came of it."""

    status: Status
    reason: str
    at: datetime
    subject: str
    """Where the command stood in the stream of commands."""
    body: bytes
    """The command as MessagePack, in a list; the message as it came if it could not be read."""
    headers: dict[str, str] = {}
    type: str = ""
    id: str = ""
    tries: int = 1
    traceback: str = ""


class DeadLetters:
    """The stream of dead letters."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def put(self, letter: DeadLetter, command: AnyCommand | None) -> None:
        """Keep a letter; when it returns, it is durable. Waits while NATS is away."""
        subject = dead_letter_subject(letter.status, command)
        await until_available(lambda: self._connection.publish(subject, encode(letter)))

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
        reply = await self._connection.request(
            f"$JS.API.DIRECT.GET.{DEAD_LETTERS}", msgspec.json.encode({"seq": sequence})
        )
        if (reply.headers or {}).get("Status") == "404":
            raise NotFoundError(f"There is no dead letter {sequence}")
        return msgspec.msgpack.decode(reply.data, type=DeadLetter)

    async def send_again(self, sequence: int) -> None:
        """Put the command of a letter back into the stream of commands, and remove the letter."""
        letter = await self.get(sequence)
        await self._connection.publish(letter.subject, letter.body, letter.headers or None)
        await self.remove(sequence)

    async def remove(self, sequence: int) -> None:
        """Remove a letter; NotFoundError if there is none at this sequence."""
        try:
            await self._connection.call(f"STREAM.MSG.DELETE.{DEAD_LETTERS}", {"seq": sequence, "no_erase": True})
        except JetStreamError as error:
            raise NotFoundError(f"There is no dead letter {sequence}") from error


def type_of(command: AnyCommand) -> str:
    """Return a command's tag."""
    return TAGS[type(command)]
