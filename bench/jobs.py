"""No-op jobs from end to end: over HTTP in, through one shard, to two worker processes, and back into the views.

Throughput is measured from the first request (lists of 100) to the last end of a job in the views; latency from
the request that schedules one job to the answer with its result, one at a time. The floor of the throughput is
what the log takes: two events a job in atomic batches, published by one process that does nothing else.
"""

import asyncio
import time

import msgspec

import rota
from bench.report import options, running, show
from rota.jetstream import Connection, Message
from rota.protocol import ENDED_JOB, JobRequest
from scripts.demo import until_known

LIST = 100
REQUESTS_AT_ONCE = 4
FLOOR_BATCH = 500


async def throughput(client: rota.Client, jobs: int) -> float:
    """Return jobs/s from the first request until the views have all of them ended."""
    label = f"run-{time.monotonic_ns()}"
    requests = [[JobRequest(spec="nothing", labels={"run": label})] * LIST for _ in range(jobs // LIST)]
    places = asyncio.Semaphore(REQUESTS_AT_ONCE)

    async def send(jobs: list[JobRequest]) -> list[str]:
        async with places:
            return await client.schedule_many(jobs)

    started = time.perf_counter()
    ids = await asyncio.gather(*(send(request) for request in requests))
    # The views follow the log: once they show the end of one job of each list, they know of all jobs.
    for group in ids:
        while (await client.get(group[-1])).status not in ENDED_JOB:
            await asyncio.sleep(0.005)
    while await any_pending(client):
        await asyncio.sleep(0.005)
    return jobs / (time.perf_counter() - started)


async def any_pending(client: rota.Client) -> bool:
    """Say whether the views show a job that has not ended."""
    for status in ("queued", "running", "scheduled"):
        async for _ in client.jobs(status=status):
            return True
    return False


async def latency(client: rota.Client, jobs: int) -> list[float]:
    """Return the milliseconds from submit to result of each job, one at a time."""
    taken = []
    for number in range(jobs):
        started = time.perf_counter()
        await client.wait(await client.schedule("add", {"a": number, "b": 1}), timeout=10)
        taken.append((time.perf_counter() - started) * 1000)
    return sorted(taken)


async def floor(nats_url: str, jobs: int) -> float:
    """Return jobs/s if all that had to be done were to store two messages of an event's size for each."""
    body = msgspec.msgpack.encode({"type": "job.queued", "id": "0" * 26, "details": "x" * 250})
    async with await Connection.open(nats_url, name="floor") as connection:
        await connection.call(
            "STREAM.CREATE.FLOOR", {"name": "FLOOR", "subjects": ["floor.>"], "allow_atomic": True}
        )
        started = time.perf_counter()
        for first in range(0, 2 * jobs, FLOOR_BATCH):
            await connection.publish_all(
                [Message(f"floor.{first + i}", body, {"ce-id": "x" * 28}) for i in range(FLOOR_BATCH)]
            )
        seconds = time.perf_counter() - started
        await connection.call("STREAM.DELETE.FLOOR")
    return jobs / seconds


async def measure(url: str, nats_url: str, *, quick: bool) -> dict[str, tuple[str, list[float]]]:
    jobs, runs, single = (6000, 3, 300) if quick else (20_000, 5, 1000)
    async with rota.Client(url) as client:
        await until_known(client, {"nothing", "add"})
        await throughput(client, 1000)
        await latency(client, 50)
        rates, floors, p50s, p99s = [], [], [], []
        for _ in range(runs):
            rates.append(await throughput(client, jobs))
            floors.append(await floor(nats_url, jobs))
            taken = await latency(client, single)
            p50s.append(taken[len(taken) // 2])
            p99s.append(taken[int(len(taken) * 0.99)])
    return {
        "jobs_per_second": ("no-op jobs end to end, in lists of 100", rates),
        "floor_jobs_per_second": ("floor: two stored messages a job", floors),
        "share_of_floor": ("share of the floor", [rate / low for rate, low in zip(rates, floors, strict=True)]),
        "latency_p50_ms": ("submit -> result, one at a time, median", p50s),
        "latency_p99_ms": ("submit -> result, one at a time, 99 %", p99s),
    }


def main() -> None:
    chosen = options(__doc__)
    with running(workers=2) as (stack, _, _):
        figures = asyncio.run(measure(stack.url, stack.nats_url, quick=chosen.quick))
    show("Jobs", figures, as_json=chosen.json)


if __name__ == "__main__":
    main()
