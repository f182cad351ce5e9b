"""The write side on the shared NATS server."""

from collections.abc import AsyncIterator

import pytest_asyncio

from actors.shard import Shard
from events.jetstream.topology import STREAMS, prepare
from rota.jetstream import Connection
from tests.integration.write_side import WriteSide, sharding


@pytest_asyncio.fixture(loop_scope="session")
async def write_side(nats_url: str) -> AsyncIterator[WriteSide]:
    """Prepare the streams; what is left in them afterwards is not for other tests."""
    async with await Connection.open(nats_url, name="test") as connection:
        await prepare(connection)
        yield WriteSide(connection)
        for stream in STREAMS:
            await connection.call(f"STREAM.PURGE.{stream}")


@pytest_asyncio.fixture(loop_scope="session")
async def shard(write_side: WriteSide) -> AsyncIterator[Shard]:
    """Run the owner of all partitions."""
    async with sharding(write_side.connection) as running:
        yield running
