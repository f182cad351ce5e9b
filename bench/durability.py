"""What it costs to have the log on the disk sooner: `sync_interval` of nats-server from `always` to its default.

For each setting a server of its own stores jobs in the log's manner, `Log.append` in groups of 100, two events a
job, with the work that the server makes of them; and single events, one by one. `fsync_ms` is what this disk
takes to make 4 KiB durable, which bounds all that waits for it.

    python -m bench.durability [--quick] [--json]
"""

import asyncio
import os
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from bench.report import options, show
from events.base import Event
from events.jetstream.log import Append, Log
from events.jetstream.topology import prepare
from events.job import JobQueued, JobSucceeded
from rota.jetstream import Connection
from rota.protocol import JobDetails, Result
from scripts.stack import ROOT, Service, nats_running

SETTINGS = ("always", "100ms", "1s", "10s", "2m")
GROUP = 100
AT_ONCE = 4
TICK = os.sysconf("SC_CLK_TCK")
DETAILS = JobDetails(
    spec="add", queue="default", params=msgspec.Raw(msgspec.msgpack.encode({"a": 1, "b": "x" * 100}))
)


def queued(id_: str) -> Event:
    return JobQueued(originator_id=id_, originator_version=1, at=datetime.now(UTC), attempt=1, details=DETAILS)


def succeeded(id_: str) -> Event:
    now = datetime.now(UTC)
    return JobSucceeded(
        originator_id=id_, originator_version=2, at=now, attempt=1, worker="w", started_at=now, result=Result()
    )


async def store(log: Log, jobs: range) -> None:
    """Store jobs in groups, one group after the other."""
    for start in range(jobs.start, jobs.stop, GROUP):
        ids = [f"job-{number}" for number in range(start, start + GROUP)]
        last = await log.append([Append("job", id_, 0, [queued(id_)]) for id_ in ids])
        await log.append(
            [Append("job", id_, after, [succeeded(id_)]) for id_, after in zip(ids, last, strict=True)]
        )


def cpu_seconds(service: Service) -> float:
    fields = Path(f"/proc/{service.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


async def measure(setting: str, jobs: int, singles: int) -> dict[str, float]:
    """Return the figures of one setting."""
    with tempfile.TemporaryDirectory(prefix="rota-bench-", dir=ROOT) as folder:
        home = Path(folder)
        text = (ROOT / "nats.conf").read_text()
        kept = [line for line in text.splitlines() if not line.strip().startswith("sync_interval")]
        at = next(number for number, line in enumerate(kept) if "store_dir" in line)
        kept.insert(at, f"    sync_interval: {setting}")
        (home / "nats.conf").write_text("\n".join(kept))
        with nats_running(home / "store", home / "nats.log", home / "nats.conf") as (server, url):
            async with await Connection.open(url, name="bench") as connection:
                await prepare(connection)
                log = Log(connection)
                await store(log, range(-5 * GROUP, 0))
                cpu, started = cpu_seconds(server), time.perf_counter()
                share = jobs // AT_ONCE
                await asyncio.gather(*(store(log, range(n * share, (n + 1) * share)) for n in range(AT_ONCE)))
                took = time.perf_counter() - started
                cpu = cpu_seconds(server) - cpu
                waits = []
                for number in range(singles):
                    started = time.perf_counter()
                    await log.append([Append("job", f"single-{number}", 0, [queued(f"single-{number}")])])
                    waits.append(1000 * (time.perf_counter() - started))
    return {
        "jobs_per_second": jobs / took,
        "cpu_us_per_job": 1e6 * cpu / jobs,
        "single_p50_ms": statistics.median(waits),
        "single_p99_ms": statistics.quantiles(waits, n=100)[98],
    }


def fsync_ms() -> float:
    """Return what it takes to make 4 KiB durable, in the middle."""
    waits = []
    with tempfile.NamedTemporaryFile(dir=ROOT, buffering=0) as file:
        for _ in range(50):
            started = time.perf_counter()
            file.write(bytes(4096))
            os.fsync(file.fileno())
            waits.append(1000 * (time.perf_counter() - started))
    return statistics.median(waits)


WHAT = {
    "jobs_per_second": "jobs stored a second, two events each, in groups of 100, four at once",
    "cpu_us_per_job": "CPU of the server a job, with the work that it makes of it",
    "single_p50_ms": "one event, stored by itself: median",
    "single_p99_ms": "one event, stored by itself: 99th percentile",
}


async def main() -> None:
    given = options(__doc__)
    runs, jobs, singles = (1, 4000, 100) if given.quick else (3, 20_000, 500)
    figures: dict[str, tuple[str, list[float]]] = {"fsync_ms": ("4 KiB made durable", [])}
    for _ in range(runs):
        figures["fsync_ms"][1].append(fsync_ms())
        for setting in SETTINGS:
            # The first is so slow that it needs no more.
            found = await measure(setting, jobs // 10 if setting == "always" else jobs, singles)
            for name, value in found.items():
                figures.setdefault(f"{name}_{setting}", (WHAT[name], []))[1].append(value)
    show("Durability", dict(sorted(figures.items())), as_json=given.json)


if __name__ == "__main__":
    asyncio.run(main())
