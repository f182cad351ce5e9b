"""The way to the aggregates: commands into their stream, several senders in one publish."""

import asyncio
from collections.abc import Sequence

from nats.aio.msg import Msg

from events.catalog import AnyCommand, decode_commands, encode
from events.ids import group_of
from events.jetstream.topology import COMMANDS
from events.subjects import command_subject
from rota.errors import RotaError, TooLargeError, UnavailableError
from rota.jetstream import MAX_BATCH, RETRY_SECONDS, Connection, Message

GIVE_UP_SECONDS = 10.0
HEADROOM_BYTES = 1024


class Bus:
    """Publishes commands; concurrent senders share one atomic publish (group commit)."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._waiting: list[tuple[list[Message], asyncio.Future[None]]] = []
        self._flushing: asyncio.Task[None] | None = None

    async def send(self, commands: Sequence[AnyCommand]) -> None:
        """Store commands, all or none; when it returns they are durable.

        Commands of one kind and group are one message. Raises TooLargeError if they need more than MAX_BATCH
        messages or one message is over the server's limit, UnavailableError if NATS does not answer in time;
        then it is not known whether they are stored, and to send them again does no harm.
        """
        messages = _messages(commands)
        if len(messages) > MAX_BATCH:
            raise TooLargeError(f"{len(messages)} groups of commands are over the limit of {MAX_BATCH} at a time")
        limit = self._connection.client.max_payload - HEADROOM_BYTES
        for message in messages:
            if len(message.body) > limit:
                raise TooLargeError(f"The commands take {len(message.body)} bytes; the limit is {limit}")
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((messages, stored))
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.create_task(self._flush(), name="bus flush")
        await stored

    async def find_waiting(self, kind: str, id_: str) -> AnyCommand | None:
        """Return the command that makes an aggregate, if no shard has taken it yet."""
        verb = {"job": "schedule", "batch": "open", "spec": "register"}[kind]
        message: Msg | None = await self._connection.last(COMMANDS, f"rota.command.*.{kind}.{group_of(id_)}.{verb}")
        if message is None:
            return None
        return next((command for command in decode_commands(message.data) if command.id == id_), None)

    async def _flush(self) -> None:
        while self._waiting:
            batch, stored = self._take()
            try:
                await self._publish(batch)
            except RotaError as error:
                for future in stored:
                    if not future.done():
                        future.set_exception(error)
            else:
                for future in stored:
                    if not future.done():
                        future.set_result(None)

    def _take(self) -> tuple[list[Message], list[asyncio.Future[None]]]:
        batch, futures = self._waiting.pop(0)
        batch, stored = list(batch), [futures]
        while self._waiting and len(batch) + len(self._waiting[0][0]) <= MAX_BATCH:
            messages, future = self._waiting.pop(0)
            batch.extend(messages)
            stored.append(future)
        return batch, stored

    async def _publish(self, batch: list[Message]) -> None:
        deadline = asyncio.get_running_loop().time() + GIVE_UP_SECONDS
        while True:
            try:
                await self._connection.publish_all(batch)
            except UnavailableError:
                if asyncio.get_running_loop().time() > deadline:
                    raise
                await asyncio.sleep(RETRY_SECONDS)
            else:
                return


def _messages(commands: Sequence[AnyCommand]) -> list[Message]:
    by_subject: dict[str, list[AnyCommand]] = {}
    for command in commands:
        by_subject.setdefault(command_subject(command), []).append(command)
    return [Message(subject, encode(group)) for subject, group in by_subject.items()]
