"""Workflows from end to end: over HTTP in, through one shard, to two worker processes, until their end is told.

Times are taken from the request to the moment at which the end of the workflow is heard on NATS. A step of a chain
is the time from the release of one job to that of the next, which uses its output; beside it stands what one job
alone takes from submit to result, over the same HTTP. The memory is that of shard and nats-server together, at its
peak, after another five workflows of ten thousand jobs compared with that after the first five: by then the shard
remembers as many jobs as it ever does.
"""

import asyncio
import statistics
import time
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import aiohttp
import msgspec

import rota
from bench.jobs import latency, throughput
from bench.report import memory, options, running, show
from events.jetstream.log import Log
from events.workflow import WorkflowJobReleased
from rota.jetstream import Connection, Msg
from scripts.demo import until_known
from scripts.stack import Stack

ENDS = ("succeeded", "partly_failed", "failed", "timed_out", "cancelled")
PATIENCE_SECONDS = 120.0
WIDTH = 100
MANY = 10_000
AT_ONCE = 1_000
REQUESTS_AT_ONCE = 16


def chain(length: int) -> list[dict[str, Any]]:
    """Return jobs of which each uses the output of the one before."""
    rest = [
        {"name": f"j{n}", "spec": "add", "inputs": {"a": {"from": f"j{n - 1}"}, "b": 1}} for n in range(1, length)
    ]
    return [{"name": "j0", "spec": "add", "inputs": {"a": 0, "b": 1}}, *rest]


def fan(width: int) -> list[dict[str, Any]]:
    """Return one job, many that use its output, and one that uses the outputs of all of these."""
    middle = [{"name": f"m{n}", "spec": "add", "inputs": {"a": {"from": "first"}, "b": n}} for n in range(width)]
    values = [{"from": one["name"]} for one in middle]
    last = {"name": "last", "spec": "total", "inputs": {"values": values}}
    return [{"name": "first", "spec": "add", "inputs": {"a": 1, "b": 1}}, *middle, last]


def layers(count: int, width: int) -> list[dict[str, Any]]:
    """Return jobs in layers, each of which uses the outputs of two of the layer before."""
    jobs: list[dict[str, Any]] = []
    for number in range(count):
        before = number - number % width - width
        uses = [f"j{before + number % width}", f"j{before + 7 * number % width}"]
        inputs = {"a": {"from": uses[0]}, "b": {"from": uses[1]}} if before >= 0 else {"a": 0, "b": 0}
        jobs.append({"name": f"j{number}", "spec": "add", "inputs": inputs})
    return jobs


class Runner:
    """Schedules workflows, and hears of their ends."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session
        self._ends: dict[str, asyncio.Future[tuple[str, float]]] = {}

    async def hear(self, connection: Connection) -> None:
        """Listen from now on."""
        for end in ENDS:
            await connection.client.subscribe(f"rota.status.workflow.*.{end}", cb=self._note)

    async def run(self, jobs: Sequence[dict[str, Any]]) -> tuple[str, float]:
        """Return the id of a workflow that has succeeded, and the seconds that it took."""
        body = msgspec.json.encode({"jobs": jobs})
        started = time.perf_counter()
        async with self._session.post("/workflows", data=body) as response:
            answer = await response.json()
            if response.status != 202:
                raise RuntimeError(f"The workflow was refused: {answer}")
        id_ = answer["id"]
        async with asyncio.timeout(PATIENCE_SECONDS):
            end, at = await self._end(id_)
        if end != "succeeded":
            raise RuntimeError(f"The workflow {id_} has {end}")
        return id_, at - started

    def _end(self, id_: str) -> asyncio.Future[tuple[str, float]]:
        return self._ends.setdefault(id_, asyncio.get_running_loop().create_future())

    async def _note(self, message: Msg) -> None:
        _, _, _, id_, end = message.subject.split(".")
        if not (found := self._end(id_)).done():
            found.set_result((end, time.perf_counter()))


async def steps(connection: Connection, id_: str) -> list[float]:
    """Return the milliseconds from each release of a job of a workflow to the next."""
    events = [one.event for one in await Log(connection).load("workflow", id_)]
    released = [event.at for event in events if isinstance(event, WorkflowJobReleased)]
    return [(later - earlier).total_seconds() * 1000 for earlier, later in pairwise(released)]


async def many(runner: Runner, count: int) -> float:
    """Return the seconds that so many small workflows take, scheduled as fast as that goes."""
    places = asyncio.Semaphore(REQUESTS_AT_ONCE)
    small = fan(3)

    async def one() -> None:
        async with places:
            posted = asyncio.ensure_future(runner.run(small))
            await asyncio.wait([posted], timeout=0.01)
        await posted

    started = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(count)))
    return time.perf_counter() - started


def peak(stack: Stack) -> int:
    """Return the memory of shard and nats-server together at its peak, in bytes."""
    pids = [*stack.actor_pids("ShardHost"), stack.services["nats-server"].process.pid]
    return memory(pids, "VmHWM")


async def measure(stack: Stack, *, quick: bool) -> dict[str, tuple[str, list[float]]]:
    runs, large, again = (3, 2_000, 1) if quick else (7, MANY, 5)
    small = 200 if quick else AT_ONCE
    async with (
        rota.Client(stack.url) as client,
        aiohttp.ClientSession(stack.url) as session,
        await Connection.open(stack.nats_url, name="bench") as connection,
    ):
        await until_known(client, {"add", "total"})
        runner = Runner(session)
        await runner.hear(connection)
        await runner.run(fan(WIDTH))
        await latency(client, 50)
        fans, p50s, p99s, alone = [], [], [], []
        for _ in range(runs):
            fans.append((await runner.run(fan(WIDTH)))[1])
            id_, _ = await runner.run(chain(WIDTH))
            taken = sorted(await steps(connection, id_))
            p50s.append(statistics.median(taken))
            p99s.append(taken[int(len(taken) * 0.99)])
            alone.append(statistics.median(await latency(client, 100)))
        rates = [small * len(fan(3)) / await many(runner, small) for _ in range(3)]
        plain = [await throughput(client, 5_000) for _ in range(3)]
        dags = [(await runner.run(layers(large, WIDTH)))[1] for _ in range(again)]
        before = peak(stack)
        dags += [(await runner.run(layers(large, WIDTH)))[1] for _ in range(again)]
        growth = peak(stack) / before - 1
    return {
        "fan_out_seconds": (f"1 -> {WIDTH} -> 1, from the request to the end", fans),
        "step_p50_ms": (f"a step in a chain of {WIDTH}, median", p50s),
        "step_p99_ms": (f"a step in a chain of {WIDTH}, 99 %", p99s),
        "step_share_of_a_job": (
            "a step, as a share of submit -> result of one job",
            [step / one for step, one in zip(p50s, alone, strict=True)],
        ),
        "many_jobs_per_second": (f"{small:,} workflows of {len(fan(3))} jobs at once", rates),
        "many_share_of_plain_jobs": (
            "that, as a share of no-op jobs in lists of 100",
            [rate / other for rate, other in zip(rates, plain, strict=True)],
        ),
        "dag_seconds": (f"{large:,} jobs in layers of {WIDTH}, two inputs each", dags),
        "dag_jobs_per_second": (f"{large:,} jobs in layers of {WIDTH}", [large / seconds for seconds in dags]),
        "memory_growth": (f"peak of shard and nats-server, {again} more after {again} of these", [growth]),
    }


def main() -> None:
    chosen = options(__doc__)
    with running(workers=2) as (stack, _, _):
        figures = asyncio.run(measure(stack, quick=chosen.quick))
    show("Workflows", figures, as_json=chosen.json)


if __name__ == "__main__":
    main()
