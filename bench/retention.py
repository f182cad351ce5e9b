"""How fast old jobs are removed from views and log, by what way, and how fast the log is copied and put back.

Jobs of two events each. `trim_per_second` removes them when all that are older have ended, `trim_stuck_per_second`
when the oldest job still waits, so that each goes by itself. The others are the server's ways to remove.

    python -m bench.retention [--quick] [--json]
"""

import asyncio
import tempfile
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bench.durability import GROUP, queued, succeeded
from bench.report import options, server, show
from events.jetstream.backup import backup, restore
from events.jetstream.log import Append, Log
from events.jetstream.topology import EVENTS, WORK, prepare
from events.subjects import aggregate_filter
from projections.retention import Retention
from projections.runner import Runner
from projections.tables import Tables
from rota.jetstream import Connection

CALLS_AT_A_TIME = 100
LAG = 20
"""Groups of jobs that are queued before the first of them has ended: a job's events are far from each other."""


@asynccontextmanager
async def filled(folder: Path, jobs: int) -> AsyncIterator[Connection]:
    """Run a server whose log has jobs that have ended, and no work."""
    with server(folder) as url:
        async with await Connection.open(url, name="bench") as connection:
            await prepare(connection)
            await connection.call(f"STREAM.DELETE.{WORK}")
            await store(Log(connection), jobs)
            yield connection


async def store(log: Log, jobs: int) -> None:
    """Store jobs that have ended."""
    waiting: deque[tuple[list[str], list[int]]] = deque()
    for start in range(0, jobs + LAG * GROUP, GROUP):
        if start < jobs:
            ids = [f"job-{number}" for number in range(start, start + GROUP)]
            waiting.append((ids, await log.append([Append("job", id_, 0, [queued(id_)]) for id_ in ids])))
        if start >= LAG * GROUP and waiting:
            ids, last = waiting.popleft()
            ends = zip(ids, last, strict=True)
            await log.append([Append("job", id_, after, [succeeded(id_)]) for id_, after in ends])


async def trim(jobs: int, *, stuck: bool) -> float:
    """Return how many jobs are removed a second."""
    with tempfile.TemporaryDirectory(prefix="rota-bench-") as name:
        folder = Path(name)
        async with filled(folder, 0) as connection:
            if stuck:
                await Log(connection).append([Append("job", "stuck", 0, [queued("stuck")])])
            await store(Log(connection), jobs)
            path = folder / "views.sqlite"
            with closing(Tables.open(path)) as tables:
                await Runner(Log(connection), tables).catch_up()
                later = datetime.now(UTC) + timedelta(days=2)
                retention = Retention(connection, tables, path, timedelta(days=1), lambda: later)
                started = time.perf_counter()
                assert (await retention.trim()).jobs == jobs
                return jobs / (time.perf_counter() - started)


async def ways(jobs: int, figures: dict[str, tuple[str, list[float]]]) -> None:
    """Measure the server's ways to remove, and its copies."""
    with tempfile.TemporaryDirectory(prefix="rota-bench-") as name, tempfile.TemporaryDirectory() as other:
        async with filled(Path(name), jobs) as connection:
            started = time.perf_counter()
            await backup(connection, Path(name) / "backup", lambda: datetime.now(UTC))
            _add(figures, "backup_per_second", "events copied", 2 * jobs, started)
            with server(Path(other)) as url:
                async with await Connection.open(url, name="bench") as empty:
                    started = time.perf_counter()
                    await restore(empty, Path(name) / "backup")
                    _add(
                        figures, "restore_per_second", "events put back, and read for what waits", 2 * jobs, started
                    )
            count = jobs // 10
            purges = [
                (f"STREAM.PURGE.{EVENTS}", {"filter": aggregate_filter("job", f"job-{n}")}) for n in range(count)
            ]
            started = time.perf_counter()
            await _call(connection, purges)
            _add(figures, "purge_by_subject_per_second", "jobs purged by their subjects", count, started)
            first = 2 * (jobs - count) + 1
            deletes = [
                (f"STREAM.MSG.DELETE.{EVENTS}", {"seq": sequence, "no_erase": True})
                for sequence in range(first, first + count)
            ]
            started = time.perf_counter()
            await _call(connection, deletes)
            _add(figures, "delete_by_sequence_per_second", "events deleted by their sequences", count, started)
            started = time.perf_counter()
            body = {"filter": "rota.event.job.>", "seq": 2 * jobs + 1}
            purged = (await connection.call(f"STREAM.PURGE.{EVENTS}", body))["purged"]
            _add(figures, "purge_all_per_second", "events purged in one call", purged, started)


async def _call(connection: Connection, calls: list[tuple[str, dict[str, Any]]]) -> None:
    for start in range(0, len(calls), CALLS_AT_A_TIME):
        assert not any(await connection.call_each(calls[start : start + CALLS_AT_A_TIME], timeout=30))


def _add(figures: dict[str, tuple[str, list[float]]], name: str, what: str, count: int, started: float) -> None:
    figures.setdefault(name, (what, []))[1].append(count / (time.perf_counter() - started))


async def main() -> None:
    given = options(__doc__)
    runs, jobs = (1, 50 * GROUP) if given.quick else (3, 300 * GROUP)
    figures: dict[str, tuple[str, list[float]]] = {}
    for _ in range(runs):
        for name, stuck in (("trim_per_second", False), ("trim_stuck_per_second", True)):
            figures.setdefault(name, ("jobs removed", []))[1].append(await trim(jobs, stuck=stuck))
        await ways(jobs, figures)
    show("Retention", figures, as_json=given.json)


if __name__ == "__main__":
    asyncio.run(main())
