"""Kills readers (-9) while they read, those of each batch alike, and shards and nats-server, at random moments."""

import asyncio
import os
import random
import signal
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from scripts.stack import Stack

LOOK_SECONDS = 0.2
SHARES = {"leader": 0.1, "nats-server": 0.1, "reader": 1.0, "shard": 0.15}
"""Of all kills, no more than these are of a role: whoever cannot reach NATS or a shard reads nothing meanwhile."""
LEADING = "ReaderHost.run"
READING = (LEADING, "ReaderHost.read")
"""What a process is called while it leads a batch, and while it reads a file of a batch that another leads."""
MAX_HITS = 2
"""Times that a batch is hit: after more, a machine that is slow makes no progress between them."""


class ReaderKiller:
    """Kills about so many times. `reading` tells by the ports of sources which batch is read from them."""

    def __init__(
        self, stack: Stack, chance: random.Random, times: int, reading: Callable[[], dict[int, str]]
    ) -> None:
        self._stack = stack
        self._times = times
        self._chance = chance
        self._reading = reading
        self.killed: Counter[str] = Counter()
        self.hits: Counter[str] = Counter()
        """By batch."""

    async def keep(self) -> None:
        """Start again what ends, until cancelled."""
        while True:
            self._stack.keep()
            await asyncio.sleep(LOOK_SECONDS)

    async def kill(self, mean_seconds: float) -> None:
        """Kill again and again, until cancelled."""
        while True:
            await asyncio.sleep(self._chance.expovariate(1 / mean_seconds))
            [role] = self._chance.choices(list(SHARES), list(SHARES.values()))
            if self.killed[role] >= SHARES[role] * self._times:
                continue
            match role:
                case "reader":
                    self._kill_reader()
                case "leader":
                    self._end(role, self._stack.actor_pids(LEADING))
                case "shard":
                    self._end(role, self._stack.actor_pids("ShardHost"))
                case _:
                    service = self._stack.services[role]
                    self._end(role, [service.process.pid] if service.alive else [])

    def _kill_reader(self) -> None:
        batches = self._reading()
        readers = [pid for title in READING for pid in self._stack.actor_pids(title)]
        # One that has read from several sources may still be connected to all of them.
        found = {pid: [batches[port] for port in peer_ports(pid) if port in batches] for pid in readers}
        hits = {pid: max(self.hits[batch] for batch in some) for pid, some in found.items() if some}
        if hits and min(hits.values()) < MAX_HITS:
            pid = min(hits, key=lambda pid: hits[pid])
            self.hits.update(found[pid])
            self._end("reader", [pid])

    def _end(self, role: str, pids: list[int]) -> None:
        if pids:
            with suppress(ProcessLookupError):
                os.kill(self._chance.choice(pids), signal.SIGKILL)
                self.killed[role] += 1


def peer_ports(pid: int) -> set[int]:
    """Return the ports that a process is connected to, on any machine."""
    sockets = sockets_of(pid)
    return {port for inode, _, port in connections() if inode in sockets}


def process_at(port: int, pids: list[int]) -> int | None:
    """Return which of the processes speaks from a port of this machine."""
    [inode] = [inode for inode, local, _ in connections() if local == port] or [0]
    return next((pid for pid in pids if inode in sockets_of(pid)), None)


def connections() -> list[tuple[int, int, int]]:
    """Return all TCP connections over IPv4: the socket's number, its port, and the other side's."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return [(int(one[9]), int(one[1].split(":")[1], 16), int(one[2].split(":")[1], 16)) for one in lines]


def sockets_of(pid: int) -> set[int]:
    """Return the numbers of a process's sockets."""
    found = set()
    with suppress(OSError):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                target = str(link.readlink())
                if target.startswith("socket:["):
                    found.add(int(target[8:-1]))
    return found
