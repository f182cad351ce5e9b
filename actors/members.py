"""The shards that share the partitions: each tells the others that it lives, and all share out alike.

That two of them see it differently for a moment does no harm: the server lets one client have a partition, and the
expected sequences in the log keep out what comes from another.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Self

from events.subjects import PARTITIONS
from rota.errors import UnavailableError
from rota.jetstream import Connection, Msg

TELL_SECONDS = 1.0
SILENCE_SECONDS = 4.0
"""After this silence a shard counts as gone."""

HERE, GONE = b"here", b"gone"


class Members:
    """The shards that live, as one of them hears it. `changed` is called when its share may be another."""

    def __init__(self, connection: Connection, name: str, changed: Callable[[], None]) -> None:
        self.name = name
        self._connection = connection
        self._changed = changed
        self._heard = {name: 0.0}

    async def __aenter__(self) -> Self:
        self._subscription = await self._connection.client.subscribe("rota.shard.*", cb=self._receive)
        self._telling = asyncio.create_task(self._tell(), name=f"{self.name} tells")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._telling.cancel()
        await asyncio.wait([self._telling])
        with suppress(UnavailableError):
            await self._connection.ignore(self._subscription)
            await self._say(GONE)

    def share(self) -> frozenset[int]:
        """Return the partitions that fall to this shard."""
        names = sorted(self._heard)
        mine = names.index(self.name)
        return frozenset(range(mine, PARTITIONS, len(names)))

    async def _tell(self) -> None:
        while True:
            with suppress(UnavailableError):
                await self._say(HERE)
            await asyncio.sleep(TELL_SECONDS)
            # Who does not even hear itself is cut off from NATS, and knows nothing of the others.
            silent = {name for name, at in self._heard.items() if at < self._heard[self.name] - SILENCE_SECONDS}
            for name in silent:
                del self._heard[name]
            if silent:
                self._changed()

    async def _receive(self, message: Msg) -> None:
        name = message.subject.rpartition(".")[2]
        known = name in self._heard
        if message.data == HERE:
            self._heard[name] = asyncio.get_running_loop().time()
            if not known:
                with suppress(UnavailableError):
                    await self._say(HERE)  # a new one need not wait to learn of the others
                self._changed()
        elif known and name != self.name:
            del self._heard[name]
            self._changed()

    async def _say(self, word: bytes) -> None:
        await self._connection.send(f"rota.shard.{self.name}", word)
