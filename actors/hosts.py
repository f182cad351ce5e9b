"""What runs inside an actor's process: a role with a connection of its own."""

import asyncio
import logging
import os
import secrets
from datetime import UTC, datetime

from actors.handler import Handler
from actors.jobs import Jobs
from actors.reader import Reader
from actors.shard import Shard
from events.config import LOG_FORMAT, Config
from rota.jetstream import Connection, until_available


class ShardHost:
    """A process with one shard."""

    def __init__(self, config: Config) -> None:
        logging.basicConfig(level=config.log_level, format=LOG_FORMAT)
        self._config = config
        self._shard: Shard | None = None

    async def run(self) -> None:
        """Own its share of the partitions until `stop`."""
        name = f"shard-{secrets.token_hex(4)}"
        async with await Connection.open(self._config.nats_url, name=name) as connection:
            handler = Handler(
                connection,
                [Jobs(connection)],
                lambda: datetime.now(UTC),
                cached_aggregates=self._config.cached_aggregates,
            )
            self._shard = Shard(connection, name, handler)
            await self._shard.run()

    async def stop(self) -> None:
        """Let `run` return after what it is working on."""
        if self._shard:
            self._shard.stop()

    async def pid(self) -> int:
        """Return the id of this process."""
        return os.getpid()


class ReaderHost:
    """A process that reads one batch after another."""

    def __init__(self, config: Config) -> None:
        logging.basicConfig(level=config.log_level, format=LOG_FORMAT)
        # What a file needs is loaded before the first batch has to wait for it.
        import s3fs  # noqa: F401, PLC0415

        import actors.formats.csv  # noqa: F401, PLC0415

        self._config = config
        self._running: asyncio.Task[None] | None = None

    async def run(self, batch: str) -> None:
        """Carry a batch to its end, or until `stop`."""
        # While NATS is away no reader is at fault; a new one goes on from the log.
        self._running = asyncio.ensure_future(until_available(lambda: self._read(batch)))
        await asyncio.wait([self._running])
        if not self._running.cancelled():
            self._running.result()

    async def _read(self, batch: str) -> None:
        async with await Connection.open(self._config.nats_url, name=f"reader {batch}") as connection:
            await Reader(connection, self._config.connections, batch).run()

    async def stop(self) -> None:
        """Stop reading; the batch stays as it is for the next reader."""
        if self._running:
            self._running.cancel()

    async def pid(self) -> int:
        """Return the id of this process."""
        return os.getpid()
