"""A follower of a stream: messages from a position on, in their order, without gaps or repeats."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Self

from rota.errors import RotaError, UnavailableError
from rota.jetstream import Connection, JetStreamError, Msg
from rota.pull import Pull, delivery

CREDIT = 4000
GONE_SECONDS = 60
"""A consumer that nobody has asked for so long is removed by the server."""


class Follower:
    """A position in a stream that moves on as long as it is entered. Take what has come with `take`.

    It reads an ephemeral consumer without acks. When something is lost on the way (a lost connection, a restarted
    server) it goes on with a new one after the last message that has come.

    `credit` is how many messages may have come and wait to be taken. `check` is given the sequence of the last
    message that has come, before a new consumer goes on after it; if it raises an error, so does `take`. The names
    of the consumers begin with `name`.
    """

    def __init__(
        self,
        connection: Connection,
        stream: str,
        subjects: Sequence[str],
        *,
        after: int = 0,
        headers_only: bool = False,
        credit: int = CREDIT,
        check: Callable[[int], Awaitable[None]] | None = None,
        name: str = "follower",
    ) -> None:
        self._connection = connection
        self._stream = stream
        self._subjects = list(subjects)
        self._headers_only = headers_only
        self._check = check
        self._prefix = name
        self._name = consumer_name(name)
        self.position = after
        """Sequence of the last message that was taken, or where following began."""
        self.behind = 0
        """How many messages that were there when its consumer was made have not been taken yet."""
        self._received = after
        self._order = 0
        self._losses = self._mended = 0
        self._dropped = 0
        self._mending = asyncio.Lock()
        self._waiting: list[Msg] = []
        self._arrived = asyncio.Event()
        self._pull = Pull(connection, stream, self._name, self._receive, credit=credit, recreate=self._replace)

    async def __aenter__(self) -> Self:
        await self._create()
        self._connection.on_reconnect.add(self._lose)
        await self._pull.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._connection.on_reconnect.discard(self._lose)
        await self._pull.__aexit__(*exc)
        with suppress(RotaError):
            await delete_consumer(self._connection, self._stream, self._name)

    async def take(self, limit: int = CREDIT, timeout: float | None = None) -> list[Msg]:
        """Return what has come, at least one message, or none after `timeout` seconds.

        UnavailableError if NATS is away when a new consumer is needed: the next call tries again.
        """
        while not self._waiting:
            self._arrived.clear()
            if self._losses > self._mended:
                await self._mend()
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

    async def look(self) -> None:
        """Find out why nothing comes: it may have been lost on its way, or removed from the stream."""
        name = self._name
        try:
            info = await self._connection.call(f"CONSUMER.INFO.{self._stream}.{name}")
        except JetStreamError:
            self._lose()
            return
        if name != self._name:
            return
        if info["delivered"]["consumer_seq"] == self._order:
            self.behind = len(self._waiting) + int(info["num_pending"])
        else:
            self._lose()

    def _receive(self, message: Msg) -> None:
        place = delivery(message)
        if place.consumer != self._name:
            self._pull.free()
        elif place.order != self._order + 1:
            # After a loss. Its place is given back with the new consumer: this one would send all that it has.
            self._dropped += 1
            self._lose()
        else:
            self._order += 1
            self._received = place.sequence
            self._waiting.append(message)
            self._arrived.set()

    def _lose(self) -> None:
        # What was on its way when the connection broke is lost, and perhaps nothing comes that would show it.
        self._losses += 1
        self._arrived.set()

    async def _mend(self) -> None:
        async with self._mending:
            if self._losses > self._mended:
                await self._begin_again()

    async def _replace(self) -> None:
        """Begin again for the pull, whose consumer is gone; it tries again when this fails."""
        name = self._name
        try:
            async with self._mending:
                if name == self._name:
                    await self._begin_again()
        except UnavailableError:
            raise
        except RotaError:
            self._lose()  # `take` tells why
            raise

    async def _begin_again(self) -> None:
        with suppress(JetStreamError):
            await delete_consumer(self._connection, self._stream, self._name)
        # Under another name, so that what the one before has sent is told apart.
        self._name = consumer_name(self._prefix)
        self._order = 0
        losses = self._losses
        try:
            if self._check:
                await self._check(self._received)
            await self._create()
        finally:
            # If there is no such consumer now, the pull has it made again.
            self._pull.aim(self._name)
            self._pull.free(self._dropped)
            self._dropped = 0
        self._mended = losses

    async def _create(self) -> None:
        config = {
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": self._received + 1,
            "filter_subjects": self._subjects,
            "headers_only": self._headers_only,
        }
        made = await create_consumer(self._connection, self._stream, self._name, config)
        self.behind = len(self._waiting) + int(made["num_pending"])


def consumer_name(prefix: str) -> str:
    """Return a name that no other consumer has."""
    return f"{prefix}-{secrets.token_hex(8)}"


async def create_consumer(connection: Connection, stream: str, name: str, config: dict[str, Any]) -> dict[str, Any]:
    """Make a consumer without acks that is gone when nobody reads it; return what the server says of it."""
    ephemeral = {
        "name": name,
        "ack_policy": "none",
        "mem_storage": True,
        "inactive_threshold": GONE_SECONDS * 1_000_000_000,
    }
    body = {"stream_name": stream, "config": ephemeral | config}
    return await connection.call(f"CONSUMER.CREATE.{stream}.{name}", body)


async def delete_consumer(connection: Connection, stream: str, name: str) -> None:
    """Remove a consumer; JetStreamError if there is none."""
    await connection.call(f"CONSUMER.DELETE.{stream}.{name}")
