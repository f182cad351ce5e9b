"""How much memory each process of a Rota takes, second by second."""

import asyncio
import contextlib
import re
import resource
from collections import Counter
from pathlib import Path
from statistics import median

from msgspec import Struct

from scripts.stack import Stack

PAGE = resource.getpagesize()
MB = 1_000_000
SAMPLE_SECONDS = 1.0

ROLES = {
    r"nats-server": r"/nats-server\b",
    r"actors": r" -m actors$",
    r"projections": r" -m projections$",
    r"gateway": r" -m gateway$",
    r"worker": r"/rota worker ",
    r"shard": r"^ray::ShardHost",
    r"reader": r"^ray::ReaderHost",
    r"gcs_server of Ray": r"/gcs_server\b",
    r"raylet of Ray": r"/raylet/raylet\b",
}


class Trend(Struct, frozen=True):
    """The memory of one process: its median in the second and in the last third of the time."""

    name: str
    samples: int
    second: float
    last: float

    @property
    def growth(self) -> float:
        """Bytes by which it has grown."""
        return self.last - self.second


class Memory:
    """Looks at all processes of a stack each second, as long as its task runs."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._series: dict[tuple[str, int], list[int]] = {}

    async def watch(self) -> None:
        """Look until cancelled."""
        while True:
            for pid in self._stack.pids():
                with contextlib.suppress(OSError):
                    self._look(pid)
            await asyncio.sleep(SAMPLE_SECONDS)

    def trends(self) -> list[Trend]:
        """Return how the memory of each process went that was there for two thirds of the time."""
        full = max(len(samples) for samples in self._series.values())
        seen: Counter[str] = Counter()
        trends = []
        for (role, _), samples in sorted(self._series.items()):
            if len(samples) < full * 2 // 3:
                continue
            number = seen[role]
            seen[role] += 1
            third = full // 3
            second, last = samples[-2 * third : -third], samples[-third:]
            trends.append(Trend(f"{role} {number}", len(samples), median(second), median(last)))
        return trends

    def _look(self, pid: int) -> None:
        folder = Path("/proc") / str(pid)
        command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        resident = int((folder / "statm").read_text().split()[1]) * PAGE
        self._series.setdefault((role_of(command), pid), []).append(resident)


def role_of(command: str) -> str:
    """Return what a process is, by its command line."""
    for role, pattern in ROLES.items():
        if re.search(pattern, command):
            return role
    return "other of Ray" if "ray" in command else command[:40]


def table(trends: list[Trend]) -> str:
    """Return the trends to be read."""
    lines = [f"{'process':<22} {'second third':>12} {'last third':>12} {'growth':>8}   MB, medians"]
    for trend in trends:
        second, last = trend.second / MB, trend.last / MB
        lines.append(f"{trend.name:<22} {second:12.1f} {last:12.1f} {trend.growth / MB:+8.1f}")
    return "\n".join(lines)
