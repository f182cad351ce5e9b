"""The processes of readers: those that have something to do, and idle ones that are kept for what comes next."""

import asyncio
from collections.abc import Awaitable
from typing import Any

from actors.hosts import ReaderHost
from actors.system import Actor, System
from actors.watching import LostActorError, watched
from events.config import Config

MAX_IDLE = 4


class ReaderPool:
    """Hands out readers, and takes them back."""

    def __init__(self, config: Config, system: System) -> None:
        self._config = config
        self._system = system
        self._busy: list[Actor] = []
        self._idle: list[Actor] = []
        self.others = 0
        """Readers that read a file of a batch that another leads."""

    async def start(self) -> None:
        """Have a reader ready before the first batch comes."""
        self._idle.append(self._spawn())
        await self._idle[0].call("pid")

    async def stop(self) -> None:
        """Let readers return from what they do; the batches stay as they are for the next ones."""
        await asyncio.gather(*(actor.call("stop") for actor in self._busy), return_exceptions=True)

    def processors(self) -> int:
        """Return how many readers can be at work at a time."""
        return self._system.processors()

    async def take(self) -> Actor:
        """Return a reader that lives: nothing that it will do is to blame for one that died before."""
        while True:
            actor = self._idle.pop() if self._idle else self._spawn()
            self._busy.append(actor)
            lives = False
            try:
                await watched(actor, actor.call("pid"))
                lives = True
            except LostActorError:
                pass
            finally:
                if not lives:
                    self._busy.remove(actor)
                    actor.end()
            if lives:
                return actor

    async def work(self, actor: Actor, work: Awaitable[Any]) -> Any:
        """Return what a reader returns, or raise LostActorError. One that has nothing to do then is kept.

        If this is cancelled, its process ends.
        """
        done = False
        try:
            result = await watched(actor, work)
            done = True
        finally:
            self._busy.remove(actor)
            if done and len(self._idle) < MAX_IDLE:
                self._idle.append(actor)
            else:
                actor.end()
        return result

    async def run(self, method: str, *arguments: Any) -> Any:
        """Have any reader do something: as `work`."""
        actor = await self.take()
        return await self.work(actor, actor.call(method, *arguments))

    def _spawn(self) -> Actor:
        return self._system.spawn("reader", ReaderHost, self._config)
