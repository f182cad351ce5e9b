"""What runs inside an actor's process: a role with a connection of its own."""

import asyncio
import logging
import os
import resource
import secrets
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime

import msgspec

from actors.handler import Handler
from actors.offers import Offer, Offers
from actors.reader import Reader
from actors.role_registry import roles
from actors.shard import Shard
from actors.some_files import read_some_files
from events.batch import BatchDetails
from events.catalog import encode
from events.config import LOG_FORMAT, Config
from rota.batch_protocol import DryRunView
from rota.errors import RotaError
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
                roles(connection),
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
    """A process that reads one batch after another, some files of batches that others lead, or results."""

    def __init__(self, config: Config) -> None:
        logging.basicConfig(level=config.log_level, format=LOG_FORMAT)
        # The last defence against files that take more than the limits of their formats foresee.
        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (config.reader_memory_bytes, most))
        # What a file needs is loaded before the first batch has to wait for it.
        import s3fs  # noqa: F401, PLC0415

        import actors.formats.csv  # noqa: F401, PLC0415

        self._config = config
        self._running: asyncio.Task[None] | None = None
        self._offers = Offers()
        self._leading: str | None = None

    async def run(self, batch: str, leads_only: bool) -> bool:  # noqa: FBT001 - Ray calls it
        """Carry a batch to its end, or until `stop`; False asks to be run again, when nobody else reads it."""
        self._leading, self._offers = batch, Offers()
        offers, sources = self._offers, self._config.connections
        ended, alone = False, True

        async def lead(connection: Connection) -> None:
            nonlocal ended, alone
            reader = Reader(connection, sources, batch, offers, leads_only=leads_only)
            # After NATS was away this is called again, and those to whom files were given may read on.
            at_first, alone = alone, False
            ended = await reader.run(alone=at_first)

        try:
            await self._run(batch, lead)
        finally:
            offers.close()
        return ended

    async def read(self, batch: str, files: Sequence[int], max_jobs: int) -> None:
        """Read some files of a batch to their end, or until `stop`."""
        sources = self._config.connections
        await self._run(batch, lambda connection: read_some_files(connection, sources, batch, files, max_jobs))

    async def offer(self, batch: str) -> Offer | None:
        """Wait for files of the batch that another process may read; None if there will be no more."""
        if batch != self._leading:
            return None  # it has ended by now; files of the next one are not for who asks
        return await self._offers.take_for_other()

    async def wanted(self, batch: str) -> int:
        """Return how many other readers the batch wants at a time."""
        return self._offers.others if batch == self._leading else 0

    async def collect(self, batch: str, collection: str) -> None:
        """Write results of a batch into a file, or until `stop`."""
        from actors.collector import collect_results  # noqa: PLC0415 - what writes tables is large

        sources = self._config.connections
        await self._run(batch, lambda connection: collect_results(connection, sources, batch, collection))

    async def dry_run(self, body: bytes) -> bytes:
        """Return what a batch would be: takes BatchDetails, returns a DryRunView, both as MessagePack."""
        from actors.dry_run import dry_run  # noqa: PLC0415 - few readers need it

        try:
            details = msgspec.msgpack.decode(body, type=BatchDetails)
            view = await asyncio.to_thread(dry_run, self._config.connections(), details)
        except msgspec.MsgspecError as error:
            view = DryRunView(files=[], files_total=0, jobs=[], error=f"The actors cannot read this: {error}")
        except RotaError as error:
            view = DryRunView(files=[], files_total=0, jobs=[], error=str(error))
        except MemoryError:
            most = "The first files take more memory than ROTA_READER_MEMORY_BYTES allows"
            view = DryRunView(files=[], files_total=0, jobs=[], error=most)
        return encode(view)

    async def _run(self, batch: str, work: Callable[[Connection], Awaitable[None]]) -> None:
        async def connected() -> None:
            async with await Connection.open(self._config.nats_url, name=f"reader {batch}") as connection:
                await work(connection)

        # While NATS is away no reader is at fault; a new one goes on from the log.
        self._running = asyncio.ensure_future(until_available(connected))
        await asyncio.wait([self._running])
        if not self._running.cancelled():
            self._running.result()

    async def stop(self) -> None:
        """Stop reading; the batch stays as it is for the next reader."""
        if self._running:
            self._running.cancel()

    async def pid(self) -> int:
        """Return the id of this process."""
        return os.getpid()
