"""The write side on the shared NATS server."""

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest_asyncio

from actors.shard import Shard
from events.jetstream.topology import STREAMS, prepare
from rota.jetstream import Connection
from tests.integration.write_side import WriteSide, sharding


@pytest_asyncio.fixture(loop_scope="session")
async def write_side(nats_url: str) -> AsyncIterator[WriteSide]:
    """Prepare the streams, without what other tests have left, and leave nothing to them."""
    async with await Connection.open(nats_url, name="test") as connection:
        await prepare(connection)
        await purge(connection)
        yield WriteSide(connection)
        await purge(connection)


async def purge(connection: Connection) -> None:
    for stream in STREAMS:
        await connection.call(f"STREAM.PURGE.{stream}")


@pytest_asyncio.fixture(loop_scope="session")
async def shard(write_side: WriteSide) -> AsyncIterator[Shard]:
    """Run the owner of all partitions."""
    async with sharding(write_side.connection) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def connection(nats_url: str) -> AsyncIterator[Connection]:
    async with await Connection.open(nats_url, name="test") as connection:
        yield connection


@pytest_asyncio.fixture(loop_scope="session")
async def stream(connection: Connection) -> AsyncIterator[str]:
    """A stream of its own; its subjects are not those of Rota, so that nothing else comes in."""
    name = uuid4().hex
    config = {"name": name, "subjects": [f"{name}.>"], "allow_direct": True, "allow_atomic": True}
    await connection.call(f"STREAM.CREATE.{name}", config)
    yield name
    await connection.call(f"STREAM.DELETE.{name}")
