"""The way to the aggregates: commands into their stream, several senders in one publish."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

import msgspec
from nats.aio.msg import Msg

from events.base import Kind
from events.catalog import TAGS, AnyCommand, encode
from events.jetstream.requests import find_beginning
from events.subjects import command_subject
from rota.errors import RotaError, TooLargeError, UnavailableError
from rota.jetstream import MAX_BATCH, RETRY_SECONDS, Connection, Message
from rota.protocol import CALLER, CAUSATION_ID, REPLY_TO, Outcome

GIVE_UP_SECONDS = 10.0
HEADROOM_BYTES = 1024


class Bus:
    """Publishes commands; concurrent senders share one write (group commit)."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._waiting: list[tuple[list[Message], asyncio.Future[None]]] = []
        self._flushing: asyncio.Task[None] | None = None

    async def send(self, commands: Sequence[AnyCommand], *, caller: str = "", causation_id: str = "") -> None:
        """Store commands, all or none; when it returns they are durable.

        `caller` says who asks, and `causation_id` names the event that made it ask. Commands of one kind and
        group are one message. Raises TooLargeError if they need more than MAX_BATCH
        messages or one message is over the server's limit, UnavailableError if NATS does not answer in time;
        then it is not known whether they are stored, and to send them again does no harm.
        """
        await self._store(_messages(commands, _headers(caller, causation_id)))

    async def ask(
        self, command: AnyCommand, *, timeout: float, caller: str = "", causation_id: str = ""
    ) -> Outcome | None:
        """Store a command, and wait so many seconds for what becomes of it; None if that is not known by then."""
        inbox = self._connection.client.new_inbox()
        answered: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        async def receive(message: Msg) -> None:
            if not answered.done():
                answered.set_result(message.data)

        subscription = await self._connection.client.subscribe(inbox, cb=receive)
        try:
            headers = _headers(caller, causation_id) | {REPLY_TO: inbox}
            await self._store(_messages([command], headers))
            async with asyncio.timeout(timeout):
                outcomes = msgspec.json.decode(await answered, type=list[Outcome])
            return outcomes[0] if outcomes else _unread(command)
        except TimeoutError:
            return None
        finally:
            with suppress(UnavailableError):
                await self._connection.ignore(subscription)

    async def _store(self, messages: list[Message]) -> None:
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

    async def find_waiting(self, kind: Kind, id_: str) -> AnyCommand | None:
        """Return the command that makes an aggregate, if no shard has taken it yet."""
        asked = await find_beginning(self._connection, kind, id_)
        return asked.command if asked else None

    async def _flush(self) -> None:
        while self._waiting:
            taken, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
            # One message is all or nothing by itself.
            single = [(messages, stored) for messages, stored in taken if len(messages) == 1]
            if single:
                await self._publish(
                    lambda single=single: self._connection.publish_each([messages[0] for messages, _ in single]),  # type: ignore[misc] # mypy cannot infer a lambda with a default
                    [stored for _, stored in single],
                )
            for messages, stored in taken:
                if len(messages) > 1:
                    await self._publish(
                        lambda messages=messages: self._connection.publish_all(messages),  # type: ignore[misc] # as above
                        [stored],
                    )

    async def _publish(self, publish: Callable[[], Awaitable[Any]], stored: list[asyncio.Future[None]]) -> None:
        """Publish, again while NATS does not answer, and tell the senders how it went."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + GIVE_UP_SECONDS
        failure: Exception | None = None
        while True:
            try:
                await publish()
            except UnavailableError as error:
                if clock() < deadline:
                    await asyncio.sleep(RETRY_SECONDS)
                    continue
                failure = error
            except Exception as error:  # noqa: BLE001 - it is raised where somebody waits, who must not wait for ever
                failure = error
            break
        for future in stored:
            if future.done():
                continue
            if failure:
                future.set_exception(failure)
            else:
                future.set_result(None)


def _unread(command: AnyCommand) -> Outcome:
    """Return the outcome of a command that a shard could not read: it may be older than the sender."""
    detail = "The shard cannot read this: see the dead letters"
    return Outcome(id=command.id, type=TAGS[type(command)], status="failed", detail=detail, slug=RotaError.slug)


def _headers(caller: str, causation_id: str) -> dict[str, str]:
    headers = {CALLER: caller, CAUSATION_ID: causation_id}
    return {name: value for name, value in headers.items() if value}


def _messages(commands: Sequence[AnyCommand], headers: dict[str, str]) -> list[Message]:
    by_subject: dict[str, list[AnyCommand]] = {}
    for command in commands:
        by_subject.setdefault(command_subject(command), []).append(command)
    return [Message(subject, encode(group), headers) for subject, group in by_subject.items()]
