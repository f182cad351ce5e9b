"""Pulls: messages of a JetStream consumer as they come, and where each of them stands.

nats-py's own pull subscription asks for one batch at a time; `Pull` keeps a credit of messages asked for, so
that they flow without a pause and never beyond what the reader has room for.
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Self

import nats
from msgspec import Struct

from rota.errors import RotaError, UnavailableError
from rota.jetstream import RETRY_SECONDS, Connection, Msg

HEARTBEAT_SECONDS = 2.0
PULL_EXPIRES_SECONDS = 30.0
# The owner of a pinned consumer has to ask again before the server takes it for gone.
PINNED_HEARTBEAT_SECONDS = 0.5
PINNED_EXPIRES_SECONDS = 2.0
PIN = "Nats-Pin-Id"
PIN_LOST = "423"
DRAIN_SECONDS = 2.0

log = logging.getLogger("rota.nats")


class Delivery(Struct, frozen=True):
    """Where a delivered message stands, read from its ack subject."""

    consumer: str
    count: int
    """How often it was delivered, from 1."""
    sequence: int
    """Its sequence in the stream."""
    order: int
    """How many messages the consumer had delivered by then, this one included."""


def delivery(message: Msg) -> Delivery:
    """Read `$JS.ACK.<stream>.<consumer>.<count>.<sequence>.<order>.<time>.<pending>`.

    Newer servers put domain and account hash after `$JS.ACK`, and a token at the end.
    """
    tokens = message.reply.split(".")
    at = 3 if len(tokens) == 9 else 5  # noqa: PLR2004 - the two lengths of the format
    return Delivery(tokens[at], int(tokens[at + 1]), int(tokens[at + 2]), int(tokens[at + 3]))


class Pull:
    """Messages of one consumer, handed to a callback as they come, never more than there is credit for.

    The callback must not wait. Who takes a message gives its place back with `free`. A lost connection, a
    restarted server or a consumer that has to be made again only pause the flow.

    With `group`, that of a consumer which is pinned to one client at a time, messages come as soon as the server
    has pinned it to this one; `on_pin_lost` is called when it is no longer.
    """

    def __init__(
        self,
        connection: Connection,
        stream: str,
        consumer: str,
        receive: Callable[[Msg], None],
        *,
        credit: int,
        recreate: Callable[[], Awaitable[None]] | None = None,
        group: str | None = None,
        on_pin_lost: Callable[[], None] = lambda: None,
    ) -> None:
        self._connection = connection
        self._stream = stream
        self._next = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        self._receive = receive
        self._credit = credit
        self._asked = 0
        self._recreate = recreate
        self._group = group
        self._on_pin_lost = on_pin_lost
        self.pin = ""
        """What the server calls the owner of the group, as long as that is this client."""
        self._expires, self._heartbeat = PULL_EXPIRES_SECONDS, HEARTBEAT_SECONDS
        if group:
            self._expires, self._heartbeat = PINNED_EXPIRES_SECONDS, PINNED_HEARTBEAT_SECONDS
        self._heard = 0.0
        self._generation = 0
        self._ask_now = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._inbox = self._connection.client.new_inbox()
        self._subscription = await self._connection.client.subscribe(
            f"{self._inbox}.*", cb=self._on_message, pending_msgs_limit=0, pending_bytes_limit=0
        )
        self._connection.on_reconnect.add(self._restart)
        self._task = asyncio.create_task(self._run(), name=f"pull {self._next}")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._connection.on_reconnect.discard(self._restart)
        if self._task:
            self._task.cancel()
            await asyncio.wait([self._task])
        # What the server has sent by now is still received, so that its reader can give it back at once.
        with suppress(nats.errors.Error, TimeoutError):
            if not self._connection.client.is_connected:
                await self._subscription.unsubscribe()
                return
            async with asyncio.timeout(DRAIN_SECONDS):
                await self._subscription.drain()  # type: ignore[no-untyped-call] # nats-py has left out its types

    def free(self, places: int = 1) -> None:
        """Give places back: so many more messages may come."""
        self._credit += places
        self._ask_now.set()

    def aim(self, consumer: str) -> None:
        """Go on with another consumer of the stream."""
        self._next = f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{consumer}"
        self._restart()

    @property
    def _reply(self) -> str:
        return f"{self._inbox}.{self._generation}"

    def _restart(self) -> None:
        # What the server still says of earlier requests must not be taken for news of the next ones: a consumer
        # that is deleted to be made again would be deleted again for ever.
        self._generation += 1
        self._asked = 0
        self._ask_now.set()

    async def _on_message(self, message: Msg) -> None:
        # What is delivered has an ack subject; what the server says of the request itself has none.
        status = None if message.reply.startswith("$JS.ACK.") else (message.headers or {}).get("Status", "")
        if status is not None and message.subject != self._reply:
            return
        self._heard = asyncio.get_running_loop().time()
        if status is None:
            self._asked = max(0, self._asked - 1)
            self._credit -= 1
            if self._group and not self.pin:
                self.pin = (message.headers or {}).get(PIN, "")
            self._receive(message)
        elif status == PIN_LOST:
            self._restart()
            if self.pin:
                self.pin = ""
                self._on_pin_lost()
        elif status != "100":  # 100 is a heartbeat; all others end a request, as a rule by its time-out
            unfilled = (message.headers or {}).get("Nats-Pending-Messages")
            self._asked = max(0, self._asked - int(unfilled)) if unfilled else 0
            if status != "408":
                await self._heal(message)
            self._ask_now.set()

    async def _heal(self, message: Msg) -> None:
        headers = message.headers or {}
        # 503: nobody answers for the consumer. What nats-py takes for its description is the next header line.
        gone = headers.get("Status") == "503"
        reason = "there is no such consumer" if gone else headers.get("Description", "")
        log.info("pull from %s interrupted: %s", self._next, reason)
        await asyncio.sleep(RETRY_SECONDS)
        if self._recreate and (gone or "Deleted" in reason):
            with suppress(RotaError):
                await self._recreate()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        asked_at = 0.0
        while True:
            self._ask_now.clear()
            # Asking for a few places at a time would cost a request for each.
            has_room = self._credit > 0 and self._asked <= self._credit // 2
            # An owner that has no room for a while would lose its pin with all that it holds: it takes one more.
            if has_room or (self.pin and loop.time() - asked_at > self._expires):
                want = max(1, self._credit - self._asked)
                asked_at = loop.time()
                body: dict[str, Any] = {
                    "batch": want,
                    "expires": int(self._expires * 1e9),
                    "idle_heartbeat": int(self._heartbeat * 1e9),
                }
                if self._group:
                    body |= {"group": self._group, "id": self.pin} if self.pin else {"group": self._group}
                with suppress(UnavailableError):
                    await self._connection.send(self._next, json.dumps(body).encode(), reply=self._reply)
                    self._asked += want
                    self._heard = max(self._heard, loop.time())
            # asyncio.wait_for of Python 3.11 loses a cancellation that comes together with the event.
            with suppress(TimeoutError):
                async with asyncio.timeout(self._heartbeat):
                    await self._ask_now.wait()
            if self._asked and loop.time() - self._heard > 2 * HEARTBEAT_SECONDS:
                if self._recreate:
                    with suppress(RotaError):
                        await self._recreate()
                self._restart()
