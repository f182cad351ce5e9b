"""Streams from end to end: NDJSON and Arrow sent in chunks over HTTP, against the same data from an object store.

Both are cut into jobs of 1,000 rows that two worker processes count; measured from the request to the last end of a
job. Then a sender that is held back: it sends as fast as it may to workers of which it could feed ten, for two
minutes (with --quick 15 s); measured are what is stored meanwhile, the memory of all processes, and the rows that
came.
"""

import asyncio
import io
import os
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pyarrow as pa

import rota
from bench.report import STORE, memory, options, running, show
from rota.errors import RotaError
from scripts.dataset import orders
from scripts.demo import until_known
from scripts.stack import Stack
from scripts.store import Store

ROWS_PER_JOB = 1000
PIECE_BYTES = 256 * 1024
SLICE_ROWS = 50_000
SLOW_SECONDS = 0.5
SLOW_JOBS = 10
"""At a time, so that workers take 20,000 rows a second."""
LOOK_SECONDS = 0.5


def as_ndjson(table: pa.Table) -> bytes:
    """Return the table with an object a line."""
    encoder = msgspec.json.Encoder()
    slices = (table.slice(start, SLICE_ROWS) for start in range(0, table.num_rows, SLICE_ROWS))
    return b"".join(encoder.encode_lines(one.to_pylist()) for one in slices)


def as_arrow(table: pa.Table) -> bytes:
    """Return the table as an Arrow stream of record batches of 16,384 rows."""
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=16_384)
    return sink.getvalue()


async def pieces(body: bytes) -> AsyncIterator[bytes]:
    """Yield a body as a client sends it whose data comes bit by bit."""
    view = memoryview(body)
    for start in range(0, len(body), PIECE_BYTES):
        yield bytes(view[start : start + PIECE_BYTES])


async def send(session: aiohttp.ClientSession, batch: str, body: AsyncIterator[bytes], offset: int = 0) -> int:
    """Send bytes of a stream, and return the durable offset."""
    headers = {"Upload-Offset": str(offset)}
    async with session.patch(f"/batches/{batch}/data", data=body, headers=headers) as response:
        if response.status != 204:
            raise RotaError(f"{response.status}: {await response.text()}")
        return int(response.headers["Upload-Offset"])


async def seal(session: aiohttp.ClientSession, batch: str) -> None:
    async with session.post(f"/batches/{batch}/seal") as response:
        response.raise_for_status()


async def streamed(
    client: rota.Client, session: aiohttp.ClientSession, format_: str, body: bytes, rows: int
) -> float:
    """Send the data; return rows/s from the opening to the end of the last job."""
    started = time.perf_counter()
    id_ = await client.batches.open(spec="count", stream={}, format=format_, rows_per_job=ROWS_PER_JOB)
    await send(session, id_, pieces(body))
    await seal(session, id_)
    await finished(client, id_, rows)
    return rows / (time.perf_counter() - started)


async def from_file(client: rota.Client, format_: str, path: str, rows: int) -> float:
    """Have the same data read; return rows/s likewise."""
    started = time.perf_counter()
    id_ = await client.batches.open(
        spec="count", connection=STORE, files=[path], format=format_, rows_per_job=ROWS_PER_JOB
    )
    await finished(client, id_, rows)
    return rows / (time.perf_counter() - started)


async def finished(client: rota.Client, id_: str, rows: int) -> None:
    await client.batches.wait(id_, timeout=300)
    batch = await client.batches.get(id_)
    if batch.status != "completed" or batch.rows != rows or batch.jobs.get("succeeded") != -(-rows // ROWS_PER_JOB):
        raise RotaError(f"the batch went wrong: {batch}")


def processes(stack: Stack) -> list[int]:
    """Return the processes through which the data goes, but the workers."""
    services = [stack.services[name].process.pid for name in ("nats-server", "gateway")]
    return [*services, *stack.actor_pids("ReaderHost")]


def reset_peaks(stack: Stack) -> None:
    for pid in processes(stack):
        Path(f"/proc/{pid}/clear_refs").write_text("5")


def stored(stack: Stack) -> int:
    """Return the bytes that nats-server has on disk."""
    found = 0
    for folder, _, names in os.walk(stack.home / "nats"):
        for name in names:
            with suppress(FileNotFoundError):
                found += (Path(folder) / name).stat().st_blocks * 512
    return found


async def held_back(
    client: rota.Client, session: aiohttp.ClientSession, stack: Stack, seconds: float
) -> dict[str, Any]:
    """Send as fast as one may for so long to workers that are slow; return what was seen."""
    block = as_ndjson(orders(100_000))
    id_ = await client.batches.open(
        spec="count_slowly",
        stream={},
        format="ndjson",
        rows_per_job=ROWS_PER_JOB,
        max_jobs_in_flight=SLOW_JOBS,
        params={"seconds": SLOW_SECONDS},
    )
    deadline = time.monotonic() + seconds
    rows = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal rows
        while time.monotonic() < deadline:
            async for piece in pieces(block):
                yield piece
            rows += 100_000

    reset_peaks(stack)
    seen: list[tuple[int, int]] = []
    sending = asyncio.create_task(send(session, id_, endless()))
    while not sending.done():
        seen.append((memory(processes(stack)), await asyncio.to_thread(stored, stack)))
        await asyncio.sleep(LOOK_SECONDS)
    sent = sending.result()
    took = rows / (time.monotonic() - deadline + seconds)
    await seal(session, id_)
    batch = await client.batches.wait(id_, timeout=300)
    # What was there at first: connections and buffers are made in the first seconds.
    first = seen[: max(1, len(seen) // 4)]
    later = seen[len(seen) // 4 :]
    return {
        "rows": rows,
        "lost": rows - batch.rows,
        "megabytes": sent / 1e6,
        "rows_per_second": took,
        "memory": max(one for one, _ in later) / max(one for one, _ in first) - 1,
        "disk": max(one for _, one in seen) / 1e6,
        "succeeded": batch.jobs.get("succeeded", 0),
    }


async def measure(stack: Stack, store: Store, *, quick: bool) -> dict[str, tuple[str, list[float]]]:
    rows, runs, seconds = (400_000, 3, 15.0) if quick else (2_000_000, 5, 120.0)
    figures: dict[str, tuple[str, list[float]]] = {}
    timeout = aiohttp.ClientTimeout(total=None)
    async with rota.Client(stack.url) as client, aiohttp.ClientSession(stack.url, timeout=timeout) as session:
        await until_known(client, {"count", "count_slowly"})
        for format_, write in (("ndjson", as_ndjson), ("arrow", as_arrow)):
            body, small = write(orders(rows)), write(orders(rows // 5))
            await asyncio.to_thread(store.put, f"large.{format_}", body)
            rates: list[float] = []
            files: list[float] = []
            growths: list[float] = []
            await streamed(client, session, format_, small, rows // 5)
            for _ in range(runs):
                reset_peaks(stack)
                await streamed(client, session, format_, small, rows // 5)
                peak = memory(processes(stack), "VmHWM")
                reset_peaks(stack)
                rates.append(await streamed(client, session, format_, body, rows))
                growths.append(memory(processes(stack), "VmHWM") / peak - 1)
                files.append(await from_file(client, format_, f"large.{format_}", rows))
            shares = [rate / file for rate, file in zip(rates, files, strict=True)]
            figures |= {
                f"{format_}_rows_per_second": (
                    f"{rows:,} rows of {format_}, {len(body) / 1e6:,.0f} MB, streamed",
                    rates,
                ),
                f"{format_}_file_rows_per_second": ("the same from an object store", files),
                f"{format_}_share": ("share of the file's", shares),
                f"{format_}_memory_growth": (
                    f"peak of gateway, reader and nats-server, {rows // 5:,} -> {rows:,} rows",
                    growths,
                ),
            }
        held = await held_back(client, session, stack, seconds)
    return figures | {
        "held_back_rows_per_second": (
            f"rows taken of a sender without bounds, {seconds:.0f} s",
            [held["rows_per_second"]],
        ),
        "held_back_rows_lost": (f"of {held['rows']:,} rows, {held['megabytes']:,.0f} MB", [held["lost"]]),
        "held_back_memory_growth": ("memory of the same processes, after the first quarter", [held["memory"]]),
        "held_back_disk_megabytes": ("what nats-server has on disk at most", [held["disk"]]),
    }


def main() -> None:
    chosen = options(__doc__)
    with running(workers=2) as (stack, store, _):
        figures = asyncio.run(measure(stack, store, quick=chosen.quick))
    show("Streams", figures, as_json=chosen.json)


if __name__ == "__main__":
    main()
