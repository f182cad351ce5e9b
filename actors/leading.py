"""One batch's life as the supervisor sees it: a reader leads it to its end, and others read files that it offers.

The lead may ask to be run again, when the batch is cancelled: by then nobody else reads the batch. Readers that die
are replaced; a file at which one after the other dies is given up. Of several files at which one has died, each is
read alone, so that it is known which one is deadly.
"""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from weakref import WeakValueDictionary

from actors.batch_log import BatchLog
from actors.deaths import MAX_DEATHS, Deaths
from actors.reader_pool import ReaderPool
from actors.system import Actor, ActorDiedError, ActorFailedError
from actors.watching import AGAIN_SECONDS, LostActorError
from events.batch import FailBatch, FailFile, FileFault
from rota.jetstream import Connection

log = logging.getLogger("rota.supervisor")


class Leading:
    """Has batches led, each by one reader at a time."""

    def __init__(self, connection: Connection, pool: ReaderPool, stopping: asyncio.Event) -> None:
        self._connection = connection
        self._pool = pool
        self._stopping = stopping
        self._led: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        """For each batch that somebody leads, or waits to lead."""

    async def keep(self, batch: str) -> None:
        """Carry a batch to its end, with as many readers as that takes, or return when the supervisor stops.

        While it is led already this waits: whoever leads it may leave it to the next, as after a redrive.
        """
        lock = self._led.setdefault(batch, asyncio.Lock())
        async with lock:
            deaths, leads_only = Deaths(), False
            while not self._stopping.is_set():
                ended = None
                with suppress(LostActorError):
                    ended = await self._lead(batch, leads_only=leads_only)
                if ended:
                    return
                if ended is None:
                    # After a death only others read files: what is deadly is found out there, by its name.
                    leads_only = True
                    state = await self._batch_log(batch).known_state()
                    if deaths.too_many(state.version) and state.status == "reading":
                        log.error("batch %s has ended %d readers and is given up", batch, MAX_DEATHS)
                        await self._give_up(batch, None)
                        return

    async def _lead(self, batch: str, *, leads_only: bool) -> bool:
        """Have a batch led by a reader of its own; say whether that came to its end, or it has to be run again."""
        lead = await self._pool.take()
        others = asyncio.create_task(self._keep_others(batch, lead, leads_only=leads_only))
        try:
            ended: bool = await self._pool.work(lead, lead.call("run", batch, leads_only))
        finally:
            others.cancel()
            await asyncio.wait([others])
        return ended

    async def _keep_others(self, batch: str, lead: Actor, *, leads_only: bool) -> None:
        """Have files of a batch read by other readers, as the batch's own offers them and there is room."""
        running: set[asyncio.Task[None]] = set()
        try:
            while True:
                wanted = await lead.call("wanted", batch)
                if running and len(running) >= wanted:
                    # How many are wanted may change meanwhile.
                    _, running = await asyncio.wait(
                        running, timeout=AGAIN_SECONDS, return_when=asyncio.FIRST_COMPLETED
                    )
                    continue
                if self._pool.others >= self._pool.processors() and not leads_only:
                    await asyncio.sleep(AGAIN_SECONDS)
                    continue
                offer = await lead.call("offer", batch)
                if offer is None:
                    # It does not lead the batch yet, since calls overtake each other, or not any more: then this is
                    # cancelled.
                    await asyncio.sleep(AGAIN_SECONDS)
                    continue
                files, max_jobs, _ = offer
                running.add(asyncio.create_task(self._keep_other(batch, lead, files, max_jobs)))
        except (ActorDiedError, ActorFailedError):
            return  # who waits for the lead sees it, too
        finally:
            for task in running:
                task.cancel()
            if running:
                await asyncio.wait(running)

    async def _keep_other(self, batch: str, lead: Actor, files: Sequence[int], max_jobs: int) -> None:
        """Have some files read, with as many readers as that takes, one after the other."""
        self._pool.others += 1
        try:
            if len(files) > 1:
                files = await self._read_together(batch, files, max_jobs)
            for file_index in files:
                await self._keep_alone(batch, file_index, max_jobs)
        except Exception:
            log.exception("files %s of batch %s are left; the batch is led anew", list(files), batch)
            lead.end()
        finally:
            self._pool.others -= 1

    async def _read_together(self, batch: str, files: Sequence[int], max_jobs: int) -> Sequence[int]:
        """Have files read by one reader; return those that it leaves when it dies: any may have been deadly."""
        with suppress(LostActorError):
            await self._pool.run("read", batch, tuple(files), max_jobs)
            return ()
        state = await self._batch_log(batch).known_state()
        return [index for index in files if not state.files[index].finished]

    async def _keep_alone(self, batch: str, file_index: int, max_jobs: int) -> None:
        """Have one file read, with as many readers as that takes, which read nothing else meanwhile."""
        deaths = Deaths()
        while not self._stopping.is_set():
            with suppress(LostActorError):
                await self._pool.run("read", batch, (file_index,), max_jobs)
                return
            state = await self._batch_log(batch).known_state()
            if deaths.too_many(state.files[file_index]):
                name = f"file {file_index} of batch {batch}"
                log.error("%s has ended %d readers and is given up", name, MAX_DEATHS)
                await self._give_up(batch, file_index)
                return

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
            await events.send(
                [
                    FailFile(
                        id=batch,
                        file_index=index,
                        fault=fault,
                        rows=file.rows,
                        jobs=file.jobs,
                        bad=file.bad,
                        passed=file.passed,
                    )
                ]
            )

    def _batch_log(self, batch: str) -> BatchLog:
        return BatchLog(self._connection, batch, caller="supervisor")
