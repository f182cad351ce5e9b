"""Kills processes of a Rota (-9) at random moments, as many as are asked for, while others start them again."""

import asyncio
import os
import random
import signal
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress

from scripts.stack import Service, Stack

LOOK_SECONDS = 0.2

WEIGHTS: dict[str, float] = {
    "shard": 45,
    "reader": 5,
    "projections": 15,
    "gateway": 15,
    "nats-server": 10,
    "worker": 8,
    # The longest to come back, and all shards are gone with it.
    "actors": 0.5,
}
ACTORS = {"shard": "ShardHost", "reader": "ReaderHost"}
WHOLE = "the whole stack"


class Killer:
    """Kills what it finds; `kept` starts again what has ended, as scripts/up does."""

    def __init__(self, stack: Stack, workers: Sequence[Service], chance: random.Random) -> None:
        self._stack = stack
        self._workers = workers
        self._chance = chance
        self.killed: Counter[str] = Counter()

    async def keep(self) -> None:
        """Start again what ends, until cancelled."""
        while True:
            self._stack.keep()
            for worker in self._workers:
                if not worker.alive:
                    worker.spawn()
            await asyncio.sleep(LOOK_SECONDS)

    async def kill(self, times: int, whole: int, mean_seconds: float) -> None:
        """Kill so many times, a few of them the whole stack at once; a kill may hit what is just coming back."""
        wholes = set(self._chance.sample(range(times), whole))
        for number in range(times):
            await asyncio.sleep(self._chance.expovariate(1 / mean_seconds))
            if number in wholes:
                for role in WEIGHTS:
                    self._end(*self._pids(role))
                self.killed[WHOLE] += 1
            else:
                await self._kill_one()

    async def _kill_one(self) -> None:
        while True:
            [role] = self._chance.choices(list(WEIGHTS), list(WEIGHTS.values()))
            if pids := self._pids(role):
                break
            await asyncio.sleep(0)
        self._end(self._chance.choice(pids))
        self.killed[role] += 1

    def _pids(self, role: str) -> list[int]:
        if role in ACTORS:
            return self._stack.actor_pids(ACTORS[role])
        services = self._workers if role == "worker" else [self._stack.services[role]]
        return [service.process.pid for service in services if service.alive]

    def _end(self, *pids: int) -> None:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
