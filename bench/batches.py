"""CSV from end to end: from an object store, in jobs of 1,000 rows, through two worker processes.

Measured from the request to the last end of a job. The floors read the same file from the local disk in one
process that does nothing else: pyarrow's streaming reader alone, and with each 1,000 rows as an Arrow IPC stream.

Then two files together, of 10 million rows (with --quick of 2 million), by one reader and by two.
"""

import asyncio
import tempfile
import time
from pathlib import Path

import pyarrow as pa
from pyarrow import csv

import rota
from bench.report import STORE, options, running, show
from rota.errors import RotaError
from scripts.dataset import as_csv, orders
from scripts.demo import until_known
from scripts.stack import Stack
from scripts.store import Store

ROWS_PER_JOB = 1000


async def rows_per_second(client: rota.Client, rows: int, *paths: str, readers: int = 1) -> float:
    """Load files as a batch; return rows/s from the request to the end of the last job."""
    started = time.perf_counter()
    id_ = await client.batches.open(
        spec="count", connection=STORE, files=list(paths), rows_per_job=ROWS_PER_JOB, max_readers=readers
    )
    await client.batches.wait(id_, timeout=300)
    seconds = time.perf_counter() - started
    batch = await client.batches.get(id_)
    if batch.status != "completed" or batch.rows != rows or batch.jobs.get("succeeded") != -(-rows // ROWS_PER_JOB):
        raise RotaError(f"the batch went wrong: {batch}")
    return rows / seconds


def floor(file: Path, rows: int, *, slices: bool) -> float:
    """Return rows/s of pyarrow's streaming reader, with or without an Arrow IPC stream of each slice."""
    started = time.perf_counter()
    for batch in csv.open_csv(file):
        for offset in range(0, batch.num_rows if slices else 0, ROWS_PER_JOB):
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, batch.schema) as writer:
                writer.write_batch(batch.slice(offset, ROWS_PER_JOB))
            sink.getvalue()
    return rows / (time.perf_counter() - started)


def peak_bytes(stack: Stack, *, reset: bool = False) -> int:
    """Return the readers' peak of resident memory, in bytes, since it was reset."""
    peaks = []
    for pid in stack.actor_pids("ReaderHost"):
        if reset:
            Path(f"/proc/{pid}/clear_refs").write_text("5")
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        peaks += [int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")]
    return max(peaks)


async def measure(stack: Stack, store: Store, folder: Path, *, quick: bool) -> dict[str, tuple[str, list[float]]]:
    small, large, runs = (200_000, 1_000_000, 3) if quick else (1_000_000, 5_000_000, 5)
    file = folder / "large.csv"
    file.write_bytes(as_csv(orders(large)))
    store.put("large.csv", file.read_bytes())
    store.put("small.csv", as_csv(orders(small)))
    store.put("other.csv", file.read_bytes())
    async with rota.Client(stack.url) as client:
        await until_known(client, {"count"})
        await rows_per_second(client, small, "small.csv")
        peak_bytes(stack, reset=True)
        await rows_per_second(client, small, "small.csv")
        peak_of_small = peak_bytes(stack)
        rates, plain, sliced, shares, growths = [], [], [], [], []
        for _ in range(runs):
            peak_bytes(stack, reset=True)
            rates.append(await rows_per_second(client, large, "large.csv"))
            growths.append(peak_bytes(stack) / peak_of_small - 1)
            plain.append(floor(file, large, slices=False))
            sliced.append(floor(file, large, slices=True))
            shares.append(rates[-1] / sliced[-1])
        pair = ("large.csv", "other.csv")
        by_one, by_two = [], []
        for _ in range(runs):
            by_one.append(await rows_per_second(client, 2 * large, *pair))
            by_two.append(await rows_per_second(client, 2 * large, *pair, readers=2))
    return {
        "rows_per_second": (f"{large:,} rows x 10 columns end to end", rates),
        "floor_rows_per_second": ("floor: pyarrow.csv.open_csv alone", plain),
        "floor_ipc_rows_per_second": ("floor: open_csv and Arrow IPC of each slice", sliced),
        "share_of_floor": ("share of the second floor", shares),
        "one_reader_rows_per_second": (f"two files, {2 * large:,} rows, by one reader", by_one),
        "two_readers_rows_per_second": ("the same by two readers", by_two),
        "two_readers_ratio": ("two readers to one", [two / one for one, two in zip(by_one, by_two, strict=True)]),
        "memory_growth": (f"reader's peak memory, {small:,} -> {large:,} rows", growths),
    }


def main() -> None:
    chosen = options(__doc__)
    with running(workers=2) as (stack, store, _), tempfile.TemporaryDirectory() as folder:
        figures = asyncio.run(measure(stack, store, Path(folder), quick=chosen.quick))
    show("Batches", figures, as_json=chosen.json)


if __name__ == "__main__":
    main()
