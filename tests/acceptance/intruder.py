"""A second owner of the partitions, which takes them by force."""

import asyncio
import random
from collections import deque
from contextlib import suppress
from datetime import UTC, datetime
from typing import Self

from actors.handler import Handler
from actors.partition import Partition
from actors.role_registry import roles
from events.jetstream.ownership import give_up
from events.jetstream.requests import answer, read_delivered
from events.subjects import PARTITIONS
from rota.errors import UnavailableError
from rota.jetstream import ACK, Connection, Msg

MAX_SECONDS = 1.0


class Intruder:
    """Reads all partitions without telling the shards, and unpins their owners again and again.

    What an owner has in hand at that moment is handed out to the next one as well, so that two decide on it.
    """

    def __init__(self, nats_url: str, chance: random.Random) -> None:
        self._nats_url = nats_url
        self._chance = chance
        self._inbox: deque[tuple[Partition, Msg]] = deque()
        self._arrived = asyncio.Event()
        self.forced = 0
        """How often an owner lost its partition."""
        self.decided = 0
        """Commands that it has decided on."""

    async def __aenter__(self) -> Self:
        self._connection = await Connection.open(self._nats_url, name="intruder")
        self._handler = Handler(self._connection, roles(self._connection), lambda: datetime.now(UTC))
        self._partitions = [Partition(self._connection, number, self._receive) for number in range(PARTITIONS)]
        for partition in self._partitions:
            await partition.__aenter__()
        self._tasks = [asyncio.create_task(work) for work in (self._work(), self._force())]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        for partition in self._partitions:
            await partition.__aexit__(None, None, None)
            await partition.give_up()
        await self._connection.close()
        for task in self._tasks:
            if not task.cancelled():
                task.result()

    def _receive(self, partition: Partition, message: Msg) -> None:
        self._inbox.append((partition, message))
        self._arrived.set()

    async def _work(self) -> None:
        while True:
            while self._inbox:
                partition, message = self._inbox.popleft()
                asked = read_delivered(message)
                self.decided += len(asked)
                await self._handler.carry_out(asked)
                partition.free(message)
                with suppress(UnavailableError):
                    await self._connection.send(message.reply, ACK)
                    await answer(self._connection, message, asked)
            self._arrived.clear()
            await self._arrived.wait()

    async def _force(self) -> None:
        while True:
            await asyncio.sleep(self._chance.random() * MAX_SECONDS)
            with suppress(UnavailableError):
                await give_up(self._connection, self._chance.randrange(PARTITIONS))
                self.forced += 1
