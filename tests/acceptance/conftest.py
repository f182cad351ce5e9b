"""One whole Rota for all acceptance tests: real processes on free loopback ports, in a temporary folder."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack

import aiohttp
import pyarrow as pa
import pytest
import pytest_asyncio

import rota
from scripts.dataset import as_csv, orders
from scripts.demo import until_known
from scripts.stack import Stack, free_port
from scripts.store import Store
from scripts.workers import start_workers
from tests.acceptance import kinds
from tests.acceptance.system import Http, System

WORKER_OPTIONS = ("--concurrency", "10", "--lease-seconds", "3", "--queue", "urgent")
MANY_ROWS = 300_000


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    home = tmp_path_factory.mktemp("rota")
    with ExitStack() as resources:
        folder = home / "s3"
        folder.mkdir()
        store = resources.enter_context(Store(folder))
        (home / "connections.toml").write_text(store.connection("lake"))
        # A port of its own, so that a gateway that was started again is found.
        stack = resources.enter_context(Stack(home, nats_port=0, port=free_port()))
        workers = start_workers(
            2, stack.nats_url, home, stack.environment, module=kinds.__name__, options=WORKER_OPTIONS
        )
        for worker in workers:
            resources.callback(worker.stop)
        asyncio.run(_until_workers_are_there(stack.url))
        yield System(stack, store, workers)


@pytest_asyncio.fixture(scope="session")
async def http(system: System) -> AsyncIterator[Http]:
    async with aiohttp.ClientSession(system.stack.url, timeout=aiohttp.ClientTimeout(total=60)) as session:
        yield Http(session)


@pytest_asyncio.fixture(scope="session")
async def client(system: System) -> AsyncIterator[rota.Client]:
    async with rota.Client(system.stack.url, patience_seconds=20) as client:
        yield client


@pytest.fixture(scope="session")
def many_orders(system: System) -> pa.Table:
    """A table whose CSV is in the store as `many.csv`."""
    table = orders(MANY_ROWS)
    system.put("many.csv", as_csv(table))
    return table


async def _until_workers_are_there(url: str) -> None:
    async with rota.Client(url) as client:
        await until_known(client, set(kinds.__all__))
