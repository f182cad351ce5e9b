"""The shard: the owner of some partitions. It takes their commands, has them carried out, and acknowledges.

Nothing is acknowledged before what follows from it is in the log.
"""

import asyncio
import logging
from collections import deque
from contextlib import suppress

from actors.handler import Handler, chunks
from actors.members import Members
from actors.partition import Partition
from events.jetstream.requests import UNREADABLE, Asked, answer, read_delivered
from rota.errors import UnavailableError
from rota.jetstream import ACK, Connection, Msg

COMMANDS_AT_ONCE = 500

log = logging.getLogger("rota.shard")


class Shard:
    """Shares the partitions with the other shards that live, whoever comes and goes."""

    def __init__(self, connection: Connection, name: str, handler: Handler) -> None:
        self._connection = connection
        self._handler = handler
        self._members = Members(connection, name, self._reshare)
        self._partitions: dict[int, Partition] = {}
        self._inbox: deque[tuple[Partition, Msg]] = deque()
        self._arrived = asyncio.Event()
        self._to_share = True
        self._stopping = False

    async def run(self) -> None:
        """Work until `stop`; what was taken by then is finished, and what came later is given back."""
        async with self._members:
            try:
                while not self._stopping:
                    self._arrived.clear()
                    if self._to_share:
                        self._to_share = False
                        await self._hold(self._members.share())
                    if self._inbox:
                        await self._work()
                    else:
                        await self._arrived.wait()
            finally:
                await self._hold(frozenset())

    def stop(self) -> None:
        """Stop after the commands that are being worked on."""
        self._stopping = True
        self._arrived.set()

    @property
    def partitions(self) -> frozenset[int]:
        """The partitions that it holds now."""
        return frozenset(self._partitions)

    def _reshare(self) -> None:
        self._to_share = True
        self._arrived.set()

    def _receive(self, partition: Partition, message: Msg) -> None:
        self._inbox.append((partition, message))
        self._arrived.set()

    async def _hold(self, share: frozenset[int]) -> None:
        """Hold these partitions and no others."""
        if share != self.partitions:
            log.info("%s holds %d partitions", self._members.name, len(share))
        for number in self.partitions - share:
            await self._leave(self._partitions.pop(number))
        for number in share - self.partitions:
            partition = Partition(self._connection, number, self._receive)
            await partition.__aenter__()
            self._partitions[number] = partition

    async def _leave(self, partition: Partition) -> None:
        """Give a partition to whoever takes it now. Nothing of it is being worked on at this moment."""
        await partition.__aexit__(None, None, None)
        self._inbox = deque((holder, message) for holder, message in self._inbox if holder is not partition)
        await partition.give_up()

    async def _work(self) -> None:
        """Carry out the commands of the next messages, as many as are worth one append."""
        taken: list[tuple[Partition, Msg, list[Asked]]] = []
        count = 0
        while self._inbox and count < COMMANDS_AT_ONCE:
            partition, message = self._inbox.popleft()
            asked = await self._read(message)
            count += len(asked)
            taken.append((partition, message, asked))
        for some in chunks([one for _, _, asked in taken for one in asked], COMMANDS_AT_ONCE):
            await self._handler.carry_out(some)
        for partition, message, asked in taken:
            partition.free(message)
            with suppress(UnavailableError):
                # An ack that is lost brings the commands back, and then they change nothing.
                await self._connection.send(message.reply, ACK)
                await answer(self._connection, message, asked)

    async def _read(self, message: Msg) -> list[Asked]:
        """Return what a message asks: nothing if it cannot be read, then it becomes a dead letter."""
        try:
            return read_delivered(message)
        except UNREADABLE as error:
            await self._handler.bury_unread(message, error)
            return []
