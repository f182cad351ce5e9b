"""What several files tell the log at the same time: it shares messages."""

import asyncio
from collections.abc import Sequence

from actors.batch_log import BatchLog
from events.catalog import AnyCommand

GATHER_SECONDS = 0.05
"""How long commands wait for others: a message of ten costs little more than one of one, here and later on."""


class Outbox:
    """Sends commands of one kind and group; those that come while others are on their way go together."""

    def __init__(self, log: BatchLog) -> None:
        self._log = log
        self._next = _Sharing()
        self._turn = asyncio.Lock()

    async def send(self, commands: Sequence[AnyCommand], part: float, *, gather: bool) -> None:
        """Send commands, which take about this part of a message; when it returns they are durable.

        With `gather` they wait a little, since others will come.
        If it is cancelled, it is not known whether they are. To send them again does no harm.
        """
        if self._next.part + part > 1:
            self._next = _Sharing()
        mine = self._next
        mine.commands += commands
        mine.part += part
        async with self._turn:
            if gather and not mine.sent:
                await asyncio.sleep(GATHER_SECONDS)
            if self._next is mine:
                self._next = _Sharing()
            if not mine.sent:
                await self._log.send(mine.commands)
                mine.sent = True


class _Sharing:
    """Commands that go together: who is first on turn sends all."""

    def __init__(self) -> None:
        self.commands: list[AnyCommand] = []
        self.part = 0.0
        self.sent = False
