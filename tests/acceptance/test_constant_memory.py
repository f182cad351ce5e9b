"""Steady load, an hour's kinds of work in a minute: no process takes more and more memory."""

import asyncio
import os
import random
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, aclosing, closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import rota
from projections.retention import Retention
from projections.tables import Tables
from rota.errors import UnavailableError
from rota.jetstream import Connection
from rota.replay import Replay
from scripts.demo import until_known
from scripts.stack import Stack, free_port
from scripts.store import Store
from scripts.workers import start_workers
from tests.acceptance import kinds
from tests.acceptance.audit import assert_log_and_views_agree
from tests.acceptance.load import CONNECTION, Load
from tests.acceptance.memory import MB, Memory, Trend, table
from tests.acceptance.system import until

SECONDS = float(os.environ.get("ROTA_SOAK_SECONDS", "60"))
PAUSE_SECONDS = 0.05
KEPT = timedelta(seconds=15)
"""How long events are kept after the end of a job, so that log and views have a size that lasts."""
EVERY_SECONDS = 5.0
"""Between two removals of what is old, and between two replays of the log."""
CACHED_AGGREGATES = 500
GARBAGE_PERCENT = "20"
"""Garbage that nats-server keeps, of what it uses: with Go's 100 its memory swings by 20 MB, which hides much."""

MAY_GROW = 8 * MB
MAY_GROW_SHARE = 0.05
"""What allocators keep at hand differs by so much from minute to minute; the larger of the two counts."""


@pytest.mark.timeout(120 + SECONDS)
async def test_memory_does_not_grow_under_steady_load(tmp_path: Path) -> None:
    with ExitStack() as resources:
        folder = tmp_path / "s3"
        folder.mkdir()
        store = resources.enter_context(Store(folder))
        (tmp_path / "connections.toml").write_text(store.connection(CONNECTION))
        environment = {"ROTA_CACHED_AGGREGATES": str(CACHED_AGGREGATES), "GOGC": GARBAGE_PERCENT}
        stack = resources.enter_context(Stack(tmp_path, nats_port=0, port=free_port(), environment=environment))
        for worker in start_workers(2, stack.nats_url, tmp_path, stack.environment, module=kinds.__name__):
            resources.callback(worker.stop)
        async with rota.Client(stack.url) as client:
            await until_known(client, set(kinds.__all__))
            trends = await _soak(stack, store, client)
            await _until_all_has_ended(client)
        await assert_log_and_views_agree(stack.nats_url, stack.home / "views.sqlite")
    print(table(trends))  # noqa: T201
    growing = [trend.name for trend in trends if trend.growth > max(MAY_GROW, MAY_GROW_SHARE * trend.second)]
    assert growing == [], f"these grow:\n{table(trends)}"


async def _soak(stack: Stack, store: Store, client: rota.Client) -> list[Trend]:
    memory = Memory(stack)
    async with (
        Load(stack.url, stack.nats_url, store, random.Random(0), pause_seconds=PAUSE_SECONDS) as load,
        await Connection.open(stack.nats_url, name="soak") as connection,
    ):
        with closing(Tables.open(stack.home / "views.sqlite")) as tables:
            retention = Retention(connection, tables, stack.home / "views.sqlite", KEPT, lambda: datetime.now(UTC))
            tasks = [
                memory.watch(),
                _again_and_again(retention.trim),
                _again_and_again(lambda: _replay(connection)),
                _again_and_again(lambda: _resume(client)),
                *(_follow(client, **selection) for selection in SELECTIONS),
            ]
            running = [asyncio.create_task(task) for task in tasks]
            ended, _ = await asyncio.wait(running, timeout=SECONDS, return_when=asyncio.FIRST_COMPLETED)
            for task in running:
                task.cancel()
            await asyncio.wait(running)
            for task in ended:
                task.result()
    jobs = len(load.accepted.jobs)
    print(f"{jobs} jobs, {len(load.accepted.batches)} batches of 20 jobs in {SECONDS:.0f} s")  # noqa: T201
    assert not ended, "none of what goes on all the time ends by itself"
    assert jobs > SECONDS
    return memory.trends()


SELECTIONS: list[dict[str, str]] = [{}, {"spec": "add"}, {"type": "job.*"}, {"type": "batch.*"}]


async def _again_and_again(do: Callable[[], Awaitable[object]]) -> None:
    while True:
        with suppress(UnavailableError):  # NATS may be late on a busy machine
            await do()
        await asyncio.sleep(EVERY_SECONDS)


async def _follow(client: rota.Client, **selection: str) -> None:
    """Read a stream of events as they happen."""
    async with aclosing(client.events(**selection)) as events:  # type: ignore[arg-type] # mypy takes them for `after`
        async for _ in events:
            pass


async def _resume(client: rota.Client) -> None:
    """Read a stream of events from the beginning of the log, and leave it in the middle."""
    count = 0
    async with aclosing(client.events(after=0)) as events:
        async for _ in events:
            count += 1
            if count == 1000:
                return


async def _replay(connection: Connection) -> None:
    """Read the log from its beginning to its end."""
    async with Replay(connection) as replay:
        while await replay.take():
            pass


async def _until_all_has_ended(client: rota.Client) -> None:
    async def look() -> int:
        return sum(
            queue.jobs.get(state, 0)
            for queue in await client.queues()
            for state in ("scheduled", "queued", "running")
        )

    await until(look, lambda waiting: waiting == 0)
