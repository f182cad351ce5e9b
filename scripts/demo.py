"""The main job, from start to end: a CSV in an object store becomes batches of jobs.

Starts the whole stack on free loopback ports in a temporary folder, loads a CSV from a real S3 server, runs a job
for each 1,000 rows on two workers, then a few single jobs. Ends with status 0 only if every row was worked on once.
"""

import argparse
import asyncio
import math
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

import rota
from rota.batch_protocol import BatchView
from rota.errors import RotaError
from scripts.dataset import as_csv, orders, sums
from scripts.stack import Stack, StartError
from scripts.store import Store
from scripts.workers import start_workers

ROWS_PER_JOB = 1000
SINGLE_JOBS = 20
SPECS_SECONDS = 20
LOOK_SECONDS = 0.1
FETCHES_AT_ONCE = 20

console = Console()


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/demo", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the CSV (default: %(default)s)")
    parser.add_argument("--keep", action="store_true", help="leave everything running until Ctrl-C")
    options = parser.parse_args()
    if options.rows < 1:
        parser.error("--rows must be at least 1")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that nothing is left behind then either
    with ExitStack() as stack:
        home = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="rota-demo-", ignore_cleanup_errors=True))
        )
        console.print(f"[bold]Rota demo[/]: {options.rows:,} rows, in {home}")
        store = stack.enter_context(_store(home / "s3"))
        (home / "connections.toml").write_text(store.connection("demo"))
        rota_stack = stack.enter_context(
            Stack(home, nats_port=0, port=0, environment={"RAY_TMPDIR": str(home)}, step=_show)
        )
        workers = start_workers(2, rota_stack.nats_url, home, rota_stack.environment)
        for worker in workers:
            stack.callback(worker.stop)
        agrees = asyncio.run(_run(rota_stack.url, store, options.rows))
        if options.keep:
            with suppress(KeyboardInterrupt):
                console.print(f"\n  Gateway  {rota_stack.url}\n  NATS     {rota_stack.nats_url}")
                console.print(f"  S3       {store.endpoint}\n\nRunning until Ctrl-C.")
                signal.pause()
    return 0 if agrees else 1


async def _run(url: str, store: Store, rows: int) -> bool:
    table = orders(rows)
    body = as_csv(table)
    path = await asyncio.to_thread(store.put, "orders.csv", body)
    console.print(
        f"  {path}: {rows:,} rows x {table.num_columns} columns, {len(body) / 1e6:.0f} MB in the object store"
    )
    async with rota.Client(url) as client:
        await until_known(client, {"add", "tally"})
        started = time.perf_counter()
        id_ = await client.batches.open(spec="tally", connection="demo", files=[path], rows_per_job=ROWS_PER_JOB)
        batch = await _watch(client, id_, rows)
        seconds = time.perf_counter() - started
        found, total = await _collect(client, id_)
        latencies = await _single_jobs(client)
        await _history(client)
    expected = sums(table)
    jobs = math.ceil(rows / ROWS_PER_JOB)
    checks = {
        "the batch has completed": batch.status == "completed",
        f"jobs = batches of rows ({jobs:,})": batch.jobs.get("succeeded", 0)
        == batch.jobs["total"]
        == found
        == jobs,
        f"rows in = rows worked on ({rows:,})": batch.rows == total["rows"] == rows,
        "the checksums agree": dict(total) == expected,
    }
    console.print()
    for text, holds in checks.items():
        console.print(f"  {'[green]yes[/]' if holds else '[red]NO [/]'}  {text}")
    console.print(
        f"\n  {rows / seconds:,.0f} rows/s   {jobs / seconds:,.0f} jobs/s   "
        f"submit -> result p50 {statistics.median(latencies) * 1000:.1f} ms"
    )
    return all(checks.values())


async def until_known(client: rota.Client, names: set[str]) -> None:
    """Wait until the workers have made their jobs known."""
    async with asyncio.timeout(SPECS_SECONDS):
        while not names <= {spec.name for spec in await client.specs()}:
            await asyncio.sleep(LOOK_SECONDS)


async def _watch(client: rota.Client, id_: str, rows: int) -> BatchView:
    """Show how far the batch is until it has ended."""
    columns = (
        TextColumn("  {task.description:<10}"),
        BarColumn(40),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
    )
    started = time.perf_counter()
    with Progress(*columns, console=console) as progress:
        reading = progress.add_task("rows read", total=rows, rate="")
        working = progress.add_task("jobs done", total=math.ceil(rows / ROWS_PER_JOB), rate="")
        while True:
            batch = await client.batches.get(id_)
            done = batch.jobs.get("succeeded", 0) + batch.jobs.get("failed", 0)
            rate = f"{batch.rows / (time.perf_counter() - started):>12,.0f} rows/s"
            progress.update(reading, completed=batch.rows, rate=rate)
            progress.update(working, completed=done)
            if batch.status in ("completed", "failed"):
                break
            await asyncio.sleep(LOOK_SECONDS)
    if batch.error:
        console.print(f"  [red]{batch.error}[/]")
    return batch


async def _collect(client: rota.Client, batch: str) -> tuple[int, Counter[str]]:
    """Add up the results of a batch's jobs; return how many there are, and the sums."""
    places = asyncio.Semaphore(FETCHES_AT_ONCE)

    async def result(id_: str) -> dict[str, Any]:
        async with places:
            return dict(await client.wait(id_, timeout=10))

    results = await asyncio.gather(*[result(job.id) async for job in client.jobs(batch=batch)])
    total: Counter[str] = Counter()
    for each in results:
        total.update(each)
    return len(results), total


async def _single_jobs(client: rota.Client) -> list[float]:
    """Schedule a few jobs one at a time; return the seconds from submit to result."""
    latencies = []
    for number in range(SINGLE_JOBS):
        started = time.perf_counter()
        id_ = await client.schedule("add", {"a": number, "b": number})
        value = await client.wait(id_, timeout=10)
        latencies.append(time.perf_counter() - started)
        if value != 2 * number:
            raise RotaError(f"add({number}, {number}) gave {value}")
    console.print(f"\n  {SINGLE_JOBS} single jobs: add(0, 0) = 0 ... add({number}, {number}) = {value}")
    return latencies


async def _history(client: rota.Client) -> None:
    """Show one job's history by replaying its events."""
    id_ = await client.schedule("add", {"a": 19, "b": 23})
    await client.wait(id_, timeout=10)
    console.print(f"  the history of job {id_}:")
    for event in await client.history(id_):
        console.print(f"    {event['sequence']:>8}  {event['at']}  {event['type']}  version {event['version']}")


def _store(folder: Path) -> Store:
    folder.mkdir(parents=True)
    return Store(folder)


def _show(name: str, address: str, seconds: float) -> None:
    console.print(f"  {name:<12} ready in {seconds:4.1f} s  {address}")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (RotaError, StartError, TimeoutError) as error:
        sys.exit(f"demo: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
