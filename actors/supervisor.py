"""The supervisor: starts the actors, watches them, and starts again what has ended."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

from actors.batch_log import BatchLog
from actors.deaths import MAX_DEATHS, Deaths
from actors.hosts import ReaderHost, ShardHost
from actors.system import Actor, ActorDiedError, ActorFailedError, System
from events.batch import FailBatch, FailFile, FileFault
from events.config import Config
from events.jetstream.topology import EVENTS, READERS
from rota.errors import UnavailableError
from rota.jetstream import ACK, IN_PROGRESS, NAK, Connection, Msg
from rota.pull import Pull

LEASE_SECONDS = 3.0
AGAIN_SECONDS = 0.5
STOP_SECONDS = 10.0
MAX_IDLE = 4

log = logging.getLogger("rota.supervisor")


class Supervisor:
    """Keeps the shards, and a reader for each batch that is being read."""

    def __init__(self, config: Config, system: System, connection: Connection) -> None:
        self._config = config
        self._system = system
        self._connection = connection
        self._shards: list[Actor] = []
        self._readers: list[Actor] = []
        """Readers that have something to do."""
        self._others = 0
        """Readers that read a file of a batch that another leads."""
        self._idle: list[Actor] = []
        """Readers that have a process and no batch."""
        self._reading: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()

    async def run(self, ready: Callable[[], None]) -> None:
        """Work until `stop`; call `ready` when all actors are there."""
        shards = [asyncio.create_task(self._keep_shard(number)) for number in range(self._config.shards)]
        self._idle.append(self._spawn_reader())
        await asyncio.sleep(0)  # so that the tasks have spawned their shards
        await asyncio.gather(*(actor.call("pid") for actor in [*self._shards, *self._idle]))

        def receive(message: Msg) -> None:
            task = asyncio.create_task(self._keep_reader(message, pull))
            self._reading.add(task)
            task.add_done_callback(self._reading.discard)

        pull = Pull(self._connection, EVENTS, READERS, receive, credit=self._config.readers)
        async with pull:
            ready()
            await self._stopping.wait()
        running = [*self._shards, *self._readers]
        await asyncio.gather(*(actor.call("stop") for actor in running), return_exceptions=True)
        tasks = [*shards, *self._reading]
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
            await self._watched(actor, actor.call("run"))

    async def _keep_reader(self, message: Msg, pull: Pull) -> None:
        """Carry one batch to its end, with as many readers as that takes."""
        batch = message.subject.split(".")[3]
        lease = asyncio.create_task(self._keep_lease(message))
        try:
            deaths, leads_only = Deaths(), False
            while not await self._lead(batch, leads_only=leads_only) and not self._stopping.is_set():
                # After a death each file is read in a process of its own, so that it is known which one is deadly.
                leads_only = True
                state = await self._batch_log(batch).known_state()
                if deaths.too_many(state.version) and state.status == "reading":
                    log.error("batch %s has ended %d readers and is given up", batch, MAX_DEATHS)
                    await self._give_up(batch, None)
                    break
        finally:
            lease.cancel()
            pull.free()
        with suppress(UnavailableError):
            await self._connection.send(message.reply, NAK if self._stopping.is_set() else ACK)

    async def _lead(self, batch: str, *, leads_only: bool) -> bool:
        """Have a batch led by a reader of its own; say whether that came to its end."""
        lead = await self._reader()
        others = asyncio.create_task(self._keep_others(batch, lead, leads_only=leads_only))
        try:
            return await self._work(lead, lead.call("run", batch, leads_only))
        finally:
            others.cancel()
            await asyncio.wait([others])

    async def _keep_others(self, batch: str, lead: Actor, *, leads_only: bool) -> None:
        """Have files of a batch read by other readers, as the batch's own offers them and there is room."""
        running: set[asyncio.Task[None]] = set()
        wanted = 1
        try:
            while True:
                while len(running) >= wanted:
                    _, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                while self._others >= self._system.processors() and not leads_only:
                    await asyncio.sleep(AGAIN_SECONDS)
                try:
                    offer = await lead.call("offer", batch)
                except (ActorDiedError, ActorFailedError):
                    return
                if offer is None:
                    # It does not lead the batch yet, since calls overtake each other, or not any more: then this is
                    # cancelled.
                    await asyncio.sleep(AGAIN_SECONDS)
                    continue
                file_index, max_jobs, wanted = offer
                running.add(asyncio.create_task(self._keep_other(batch, lead, file_index, max_jobs)))
        finally:
            for task in running:
                task.cancel()
            if running:
                await asyncio.wait(running)

    async def _keep_other(self, batch: str, lead: Actor, file_index: int, max_jobs: int) -> None:
        """Have one file read, with as many readers as that takes."""
        self._others += 1
        try:
            deaths = Deaths()
            while not self._stopping.is_set():
                actor = await self._reader()
                if await self._work(actor, actor.call("read", batch, file_index, max_jobs)):
                    return
                state = await self._batch_log(batch).known_state()
                if deaths.too_many(state.files[file_index]):
                    log.error(
                        "file %d of batch %s has ended %d readers and is given up", file_index, batch, MAX_DEATHS
                    )
                    await self._give_up(batch, file_index)
                    return
        except Exception:
            log.exception("file %d of batch %s is left; the batch is led anew", file_index, batch)
            lead.end()
        finally:
            self._others -= 1

    async def _reader(self) -> Actor:
        """Return a reader that lives: no batch is to blame for one that died before."""
        while True:
            actor = self._idle.pop() if self._idle else self._spawn_reader()
            self._readers.append(actor)
            lives = False
            try:
                lives = await self._watched(actor, actor.call("pid"))
            finally:
                if not lives:
                    self._readers.remove(actor)
                    actor.end()
            if lives:
                return actor

    async def _work(self, actor: Actor, work: Awaitable[None]) -> bool:
        """Wait for what a reader does; say whether it came to its end. A reader that has nothing to do is kept."""
        done = False
        try:
            done = await self._watched(actor, work)
        finally:
            self._readers.remove(actor)
            if done and len(self._idle) < MAX_IDLE:
                self._idle.append(actor)
            else:
                actor.end()
        return done

    async def _give_up(self, batch: str, file_index: int | None) -> None:
        """Fail the file whose reading ends its readers; if it is not known, the first that is not finished.

        As long as files are missing from the batch's list, it was the search for them.
        """
        events = self._batch_log(batch)
        state = await events.known_state()
        if not state.listed:
            reason = f"Looking for the files has ended the process of the batch's reader {MAX_DEATHS} times"
            await events.send([FailBatch(id=batch, reason=reason)])
            return
        unfinished = [index for index, file in enumerate(state.files) if not file.finished]
        index = file_index if file_index is not None else next(iter(unfinished), None)
        if index is not None and index in unfinished:
            file = state.files[index]
            what = "reading it" if file_index is not None else "leading its batch"
            fault = FileFault(f"{file.path}: {what} has ended the process of its reader {MAX_DEATHS} times")
            fail = FailFile(id=batch, file_index=index, fault=fault, rows=file.rows, jobs=file.jobs, bad=file.bad)
            await events.send([fail])

    def _batch_log(self, batch: str) -> BatchLog:
        return BatchLog(self._connection, batch, caller="supervisor")

    async def _keep_lease(self, message: Msg) -> None:
        while True:
            await asyncio.sleep(LEASE_SECONDS)
            with suppress(UnavailableError):
                await self._connection.send(message.reply, IN_PROGRESS)

    async def _watched(self, actor: Actor, run: Awaitable[None]) -> bool:
        """Wait for an actor; say whether it returned by itself."""
        try:
            await run
        except ActorDiedError as error:
            log.warning("%s; starting it again", error)
        except ActorFailedError:
            log.exception("%s failed; starting it again", actor.name)
            actor.end()
            await asyncio.sleep(AGAIN_SECONDS)
        else:
            return True
        return False

    def _spawn_reader(self) -> Actor:
        return self._system.spawn("reader", ReaderHost, self._config)
