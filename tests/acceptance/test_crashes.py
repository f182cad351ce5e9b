"""A process is killed (-9) in the middle of a batch: no row is lost, no job made twice, log and views agree."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import pytest_asyncio

import rota
from rota.batch_protocol import BatchView
from scripts.dataset import sums
from tests.acceptance.audit import assert_log_and_views_agree
from tests.acceptance.conftest import MANY_ROWS
from tests.acceptance.system import System, assert_each_row_once, until

ROWS_PER_JOB = 1000
JOBS = MANY_ROWS // ROWS_PER_JOB
IN_FLIGHT = 60
JOB_SECONDS = 0.1


class Run:
    """A batch in the middle of its work: files are being read, jobs run, many are done."""

    def __init__(self, system: System, client: rota.Client, batch: str, runs: Path) -> None:
        self.system = system
        self.stack = system.stack
        self._client = client
        self._batch = batch
        self._runs = runs

    async def view(self) -> BatchView:
        return await self._client.batches.get(self._batch)

    async def until_done(self, jobs: int) -> None:
        """Wait until so many jobs are done."""
        await until(self.view, lambda view: view.jobs.get("succeeded", 0) >= jobs)

    async def in_the_middle(self) -> bool:
        view = await self.view()
        return view.status == "reading" and 0 < view.jobs.get("succeeded", 0) < JOBS

    def runs(self) -> Counter[str]:
        """Return how often each job was run."""
        return Counter(self._runs.read_text().split())


@pytest_asyncio.fixture
async def run(system: System, client: rota.Client, many_orders: pa.Table, tmp_path: Path) -> AsyncIterator[Run]:
    """Hand a batch to the test when some of its jobs are done; check all of it when the test has done its worst."""
    runs = tmp_path / "runs"
    batch = await client.batches.open(
        spec="slow_tally",
        connection="lake",
        files=["many.csv"],
        rows_per_job=ROWS_PER_JOB,
        max_jobs_in_flight=IN_FLIGHT,
        params={"seconds": JOB_SECONDS, "runs": str(runs)},
    )
    run = Run(system, client, batch, runs)
    await run.until_done(30)
    yield run
    await assert_each_row_once(client, batch, [JOBS], sums(many_orders))
    assert set(run.runs()) == {job.id async for job in client.jobs(batch=batch, page_size=1000)}
    await assert_log_and_views_agree(system.stack.nats_url, system.stack.home / "views.sqlite")


async def test_a_worker_is_killed(run: Run) -> None:
    worker, other = run.system.workers
    worker.kill()
    assert await run.in_the_middle()
    assert other.alive
    await run.until_done(150)
    worker.start()
    await until(run.view, lambda view: view.status == "completed")
    # What it had begun was begun again, by others or by its successor.
    assert run.runs().total() > JOBS


async def test_a_shard_is_killed(run: Run) -> None:
    await kill_actors(run, "ShardHost")
    await kill_actors(run, "ShardHost")
    # What it had in hand goes to the next one at once, not when its time to acknowledge is over.
    async with asyncio.timeout(20):
        await assert_each_job_ran_once(run)


async def test_the_reader_of_the_batch_is_killed(run: Run) -> None:
    await kill_actors(run, "ReaderHost")
    await run.until_done(100)
    await kill_actors(run, "ReaderHost")
    await assert_each_job_ran_once(run)


async def test_the_supervisor_of_the_actors_is_killed(run: Run) -> None:
    before = run.stack.actor_pids("ShardHost") + run.stack.actor_pids("ReaderHost")
    run.stack.services["actors"].kill()
    assert await run.in_the_middle()
    run.stack.restart("actors")
    for role in ("ShardHost", "ReaderHost"):
        await pids(run, role, lambda found: bool(found) and not set(before) & set(found))
    await assert_each_job_ran_once(run)


async def test_nats_server_is_killed(run: Run) -> None:
    run.stack.services["nats-server"].kill()
    run.stack.restart("nats-server")
    assert await run.in_the_middle()


async def test_the_gateway_is_killed(run: Run) -> None:
    run.stack.services["gateway"].kill()
    run.stack.restart("gateway")
    assert await run.in_the_middle()
    await assert_each_job_ran_once(run)


async def test_the_projections_are_killed(run: Run) -> None:
    run.stack.services["projections"].kill()
    assert await run.in_the_middle()
    run.stack.restart("projections")
    await assert_each_job_ran_once(run)


@pytest.mark.parametrize("name", ["nats-server", "gateway"])
async def test_no_job_that_was_accepted_is_lost(system: System, client: rota.Client, name: str) -> None:
    accepted: list[str] = []

    async def schedule() -> None:
        for number in range(20):
            accepted.append(await client.schedule("add", {"a": number, "b": 1}))  # noqa: PERF401 - one by one

    scheduling = [asyncio.create_task(schedule()) for _ in range(10)]

    async def count() -> int:
        return len(accepted)

    await until(count, lambda accepted: accepted >= 50)
    system.stack.services[name].kill()
    assert len(accepted) < 200
    system.stack.restart(name)
    await asyncio.gather(*scheduling)
    # A request is repeated until it is answered, and done once.
    assert len(set(accepted)) == 200
    values = await asyncio.gather(*(client.wait(id_, timeout=30) for id_ in accepted))
    assert sorted(values) == sorted(number + 1 for number in range(20) for _ in range(10))
    await assert_log_and_views_agree(system.stack.nats_url, system.stack.home / "views.sqlite")


async def kill_actors(run: Run, role: str) -> None:
    """Kill all actors of a role, also those that wait for work, and wait until there is another."""
    killed = await pids(run, role, bool)
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    assert await run.in_the_middle()
    await pids(run, role, lambda found: bool(set(found) - set(killed)))


async def pids(run: Run, role: str, holds: Callable[[list[int]], bool]) -> list[int]:
    async def look() -> list[int]:
        return run.stack.actor_pids(role)

    return await until(look, holds)


async def assert_each_job_ran_once(run: Run) -> None:
    """Check that nothing was run again: workers and server were there all the time."""
    await until(run.view, lambda view: view.status == "completed")
    counts: Any = run.runs()
    assert set(counts.values()) == {1}
    assert len(counts) == JOBS
