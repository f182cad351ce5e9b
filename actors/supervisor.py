"""The supervisor: starts the actors, watches them, and starts again what has ended."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from actors.collecting import Collecting
from actors.dry_runs import DryRuns
from actors.hosts import ShardHost
from actors.leading import Leading
from actors.reader_pool import ReaderPool
from actors.system import Actor, System
from actors.watching import LostActorError, watched
from events.batch_results import ResultsRequested
from events.catalog import decode_event
from events.config import Config
from events.jetstream.topology import COLLECTORS, EVENTS, READERS
from rota.errors import UnavailableError
from rota.jetstream import ACK, IN_PROGRESS, NAK, Connection, Msg
from rota.pull import Pull

LEASE_SECONDS = 3.0
COLLECTIONS_AT_ONCE = 2
STOP_SECONDS = 10.0


class Supervisor:
    """Keeps the shards, and readers for what batches ask."""

    def __init__(self, config: Config, system: System, connection: Connection) -> None:
        self._config = config
        self._system = system
        self._connection = connection
        self._shards: list[Actor] = []
        self._asked: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()
        self._pool = ReaderPool(config, system)
        self._leading = Leading(connection, self._pool, self._stopping)
        self._collecting = Collecting(connection, self._pool, self._stopping)

    async def run(self, ready: Callable[[], None]) -> None:
        """Work until `stop`; call `ready` when all actors are there."""
        shards = [asyncio.create_task(self._keep_shard(number)) for number in range(self._config.shards)]
        await asyncio.sleep(0)  # so that the tasks have spawned their shards
        await asyncio.gather(*(actor.call("pid") for actor in self._shards), self._pool.start())

        batches = self._given(READERS, self._read, self._config.readers)
        results = self._given(COLLECTORS, self._collect, COLLECTIONS_AT_ONCE)
        async with batches, results, DryRuns(self._connection, self._pool):
            ready()
            await self._stopping.wait()
        await asyncio.gather(
            *(actor.call("stop") for actor in self._shards), self._pool.stop(), return_exceptions=True
        )
        tasks = [*shards, *self._asked]
        _, late = await asyncio.wait(tasks, timeout=STOP_SECONDS)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    def stop(self) -> None:
        """Stop all actors, in order; what they have taken is finished or stays for the next start."""
        self._stopping.set()

    async def _keep_shard(self, number: int) -> None:
        actor: Actor | None = None
        while not self._stopping.is_set():
            if actor in self._shards:
                self._shards.remove(actor)
            actor = self._system.spawn(f"shard {number}", ShardHost, self._config)
            self._shards.append(actor)
            with suppress(LostActorError):
                await watched(actor, actor.call("run"))

    def _given(self, consumer: str, keep: Callable[[Msg], Awaitable[None]], at_once: int) -> Pull:
        """Have done what the events of a consumer ask for, so many at a time."""

        def receive(message: Msg) -> None:
            task = asyncio.create_task(self._keep(message, keep, pull))
            self._asked.add(task)
            task.add_done_callback(self._asked.discard)

        pull = Pull(self._connection, EVENTS, consumer, receive, credit=at_once)
        return pull

    async def _read(self, message: Msg) -> None:
        await self._leading.keep(message.subject.split(".")[3])

    async def _collect(self, message: Msg) -> None:
        event = decode_event(message.data)
        if isinstance(event, ResultsRequested):
            await self._collecting.keep(event.originator_id, event.collection)

    async def _keep(self, message: Msg, keep: Callable[[Msg], Awaitable[None]], pull: Pull) -> None:
        """Do what an event asks for, with as many readers as that takes."""
        lease = asyncio.create_task(self._keep_lease(message))
        try:
            await keep(message)
        finally:
            lease.cancel()
            pull.free()
        with suppress(UnavailableError):
            await self._connection.send(message.reply, NAK if self._stopping.is_set() else ACK)

    async def _keep_lease(self, message: Msg) -> None:
        while True:
            await asyncio.sleep(LEASE_SECONDS)
            with suppress(UnavailableError):
                await self._connection.send(message.reply, IN_PROGRESS)
