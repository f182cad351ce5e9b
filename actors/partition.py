"""A partition as its owner reads it: alone, and with all that an owner before has left undone."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Self

from events.jetstream.ownership import give_up, hand_out_again, ownership
from events.jetstream.topology import COMMANDS, OWNER, partition_consumer
from rota.errors import RotaError
from rota.jetstream import Connection, Msg
from rota.pull import Pull

MESSAGES = 64
"""Messages that an owner holds, or has asked for."""
LOOK_SECONDS = 0.5

log = logging.getLogger("rota.shard")


class Partition:
    """The commands of one partition, handed to a callback as they come, as long as it is entered.

    The server hands them to one client at a time. Those that another owner took and did not acknowledge, since it
    has died, come again as soon as the server has given up on it.
    """

    def __init__(self, connection: Connection, number: int, receive: Callable[["Partition", Msg], None]) -> None:
        self.number = number
        self._connection = connection
        self._receive = receive
        self._held: set[str] = set()
        """Ack subjects of the messages that it has and did not acknowledge."""
        self._taking_over: asyncio.Task[None] | None = None
        self._pull = Pull(
            connection,
            COMMANDS,
            partition_consumer(number),
            self._on_message,
            credit=MESSAGES,
            group=OWNER,
            on_pin_lost=self._take_over,
        )

    async def __aenter__(self) -> Self:
        # Before the first message comes, all that is not acknowledged is another owner's.
        seen_to = await self._see_to_the_rest()
        await self._pull.__aenter__()
        self._connection.on_reconnect.add(self._take_over)
        if not seen_to:
            self._take_over()
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._connection.on_reconnect.discard(self._take_over)
        if self._taking_over:
            self._taking_over.cancel()
            await asyncio.wait([self._taking_over])
        await self._pull.__aexit__(*exc)

    async def give_up(self) -> None:
        """Let another shard have it at once, with all that was taken and not acknowledged, in its order."""
        if not self._connection.client.is_connected:
            return  # then the server gives up on this owner by itself
        with suppress(RotaError):
            if not self._pull.pin:
                # The server pins the consumer to who asks, but tells with the first message: of a partition where
                # nothing happens this may be the owner without knowing it. Another owner, which is at work, stays.
                known = await ownership(self._connection, self.number)
                if known.unacknowledged:
                    return
            elif self._held:
                # Messages that are given back one by one (NAK) come in another order.
                await hand_out_again(self._connection, self.number)
            await give_up(self._connection, self.number)

    def free(self, message: Msg) -> None:
        """Say that a message is dealt with, before it is acknowledged."""
        self._held.discard(message.reply)
        self._pull.free()

    def _on_message(self, message: Msg) -> None:
        self._held.add(message.reply)
        self._receive(self, message)

    def _take_over(self) -> None:
        if self._taking_over is None or self._taking_over.done():
            self._taking_over = asyncio.create_task(self._wait_for_the_rest(), name=f"take over {self.number}")

    async def _wait_for_the_rest(self) -> None:
        while not await self._see_to_the_rest():
            await asyncio.sleep(LOOK_SECONDS)

    async def _see_to_the_rest(self) -> bool:
        """Have handed out what was left unacknowledged; False if another has the partition, or NATS is away."""
        if not self._connection.client.is_connected:
            return False
        held = set(self._held)
        try:
            known = await ownership(self._connection, self.number)
            if known.pin not in ("", self._pull.pin):
                return False
            # Of its own the server has counted those that it had all the time; of the others that came or went
            # meanwhile it may have. To take one of them for another owner's does no harm.
            if known.unacknowledged > len(held & self._held):
                log.info("partition %d: %d messages again", self.number, known.unacknowledged)
                await hand_out_again(self._connection, self.number)
        except RotaError:
            return False
        return True
