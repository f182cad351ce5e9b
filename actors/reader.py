"""The batch reader: finds the files of one batch, has them read, and follows the jobs to their end.

It reads one file at a time itself, and offers the others to readers in other processes, as far as the batch wishes
and there is room. All of them tell the batch how far they are, so that whoever takes over goes on from the log.

The rows of ROWS_BLOCK neighbouring jobs are removed when the last of them has ended, and what is left when the
batch has completed; what is left of a failed one goes by its age.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

from actors.batch_log import BatchLog
from actors.file_reader import FileReader, configured
from actors.flight import Flight
from actors.offers import Offers
from actors.sources.errors import SourceError
from actors.sources.registry import file_system, full_path
from actors.sources.walk import walk
from events.batch import BatchDetails, CountJobs, FailBatch, ListFiles
from events.batch_state import BatchState, FileState
from events.ids import place_in_batch
from events.jetstream.payloads import Payloads
from events.sources import Connection as SourceConnection
from events.subjects import ROWS_BLOCK, rows_block_filter, rows_filter
from rota.errors import NotFoundError, TooLargeError, UnavailableError
from rota.follow import Follower
from rota.jetstream import Connection, until_available
from rota.protocol import ENDED_BATCH, BatchStatus
from rota.pull import delivery

TELL_SECONDS = 0.5
PATHS_A_MESSAGE = 200
"""Paths may be of 4,096 characters."""

log = logging.getLogger("rota.reader")


class Reader:
    """Carries one batch to its end.

    With `leads_only` it reads no file itself: all are offered.
    """

    def __init__(
        self,
        connection: Connection,
        sources: Callable[[], dict[str, SourceConnection]],
        batch: str,
        offers: Offers | None = None,
        *,
        leads_only: bool = False,
    ) -> None:
        self._log = BatchLog(connection, batch, caller="reader")
        self._payloads = Payloads(connection)
        self._sources = sources
        self._batch = batch
        self._leads_only = leads_only
        self._ended_of_block: Counter[tuple[int, int]] = Counter()
        self._offers = offers or Offers()
        self._sealed = False
        self._jobs = 0
        """All jobs of the batch, once it is known that no more will come."""

    async def run(self) -> None:
        """Have the batch read, and follow it until it has ended."""
        state, seen = await self._log.state()
        if state is None:
            return
        after = state.counted_until or await self._log.opened_at()
        self._see_end(state)
        known = {index: file.jobs for index, file in enumerate(state.files)}
        self._flight = Flight(state.details.max_jobs_in_flight, state.jobs - state.jobs_ended, known)
        async with self._log.follow(after) as follower:
            reading = asyncio.create_task(self._read(state), name=f"read {self._batch}")
            try:
                completed = await self._follow(follower, state, seen, reading)
            finally:
                reading.cancel()
                await asyncio.wait([reading])
        if completed:
            await until_available(lambda: self._payloads.remove(rows_filter(self._batch)))

    async def _follow(self, follower: Follower, state: BatchState, seen: int, reading: asyncio.Task[None]) -> bool:
        """Count the jobs that end, until the batch and all its jobs have ended; say whether it is completed.

        `seen` is the sequence of the state: what happened to the batch before is in it.
        """
        succeeded, failed = state.succeeded, state.failed
        status = state.status
        counted, counted_at = succeeded + failed, time.monotonic()
        while True:
            ended = succeeded + failed
            all_ended = self._sealed and ended >= self._jobs
            if status in ENDED_BATCH and all_ended:
                return status == "completed"
            if ended > counted and (all_ended or time.monotonic() - counted_at >= TELL_SECONDS):
                counted, counted_at = ended, time.monotonic()
                count = CountJobs(id=self._batch, until=follower.position, succeeded=succeeded, failed=failed)
                await self._log.send([count])
            for message in await follower.take(timeout=TELL_SECONDS):
                _, _, kind, id_, name, *_ = message.subject.split(".")
                if kind == "batch":
                    if delivery(message).sequence <= seen:
                        continue
                    if name == "redriven" and status == "failed":
                        return False  # another reader takes it from here
                    if name in ("sealed", "failed", "completed"):
                        status = await self._look_for_end()
                    if status == "failed":
                        self._offers.withdraw()
                        reading.cancel()
                    continue
                place = place_in_batch(id_, self._batch)
                if place is None:
                    continue  # it only says that it is of this batch
                if name == "succeeded":
                    succeeded += 1
                else:
                    failed += 1
                await self._forget(*place)
            if reading.done() and not reading.cancelled():
                reading.result()

    async def _forget(self, file_index: int, index: int) -> None:
        """Note that a job has ended; remove the rows of its block when it was the last."""
        if not self._leads_only:
            self._flight.ended((file_index, index), mine=file_index not in self._offers.given)
        block = (file_index, index // ROWS_BLOCK)
        self._ended_of_block[block] += 1
        if self._ended_of_block[block] == ROWS_BLOCK:
            del self._ended_of_block[block]
            with suppress(UnavailableError):
                # What is left because of this goes at the end of the batch.
                await self._payloads.remove(rows_block_filter(self._batch, *block))

    async def _look_for_end(self) -> BatchStatus:
        state = await self._log.known_state()
        self._see_end(state)
        return state.status

    def _see_end(self, state: BatchState) -> None:
        self._sealed = state.status != "reading"
        self._jobs = state.jobs

    async def _read(self, state: BatchState) -> None:
        """Find the files, and read those that no other process takes."""
        if state.status != "reading":
            return
        files = list(state.files)
        if not state.listed:
            found = await self._list(state)
            if found is None:
                return
            files += found
        unread = [index for index, file in enumerate(files) if not file.finished]
        readers = max(1, min(state.details.max_readers, len(unread)))
        self._flight.max_jobs = max(1, state.details.max_jobs_in_flight // readers)
        self._offers.put(
            unread, max_jobs=self._flight.max_jobs, others=readers if self._leads_only else readers - 1
        )
        if self._leads_only:
            return
        reader = FileReader(
            self._batch,
            state.details,
            sources=self._sources,
            payloads=self._payloads,
            flight=self._flight,
            send=self._log.send,
        )
        while (index := self._offers.take()) is not None:
            if not await reader.run(index, files[index]):
                self._offers.withdraw()

    async def _list(self, state: BatchState) -> list[FileState] | None:
        """Find the files in the batch's directories; None if that fails, which fails the batch."""
        details = state.details
        known = {file.path for file in state.files}
        try:
            paths = await asyncio.to_thread(self._search, details)
        except (SourceError, NotFoundError, TooLargeError) as error:
            await self._fail(str(error))
            return None
        except Exception as error:
            log.exception("batch %s: its files cannot be found", self._batch)
            await self._fail(f"The files cannot be found: {type(error).__name__}")
            return None
        if not paths and not details.selection.allow_empty:
            reason = (
                f"There is no file at {', '.join(details.files)}; allow_empty would make it a batch without rows"
            )
            await self._fail(reason)
            return None
        new = [path for path in paths if path not in known]
        for start in range(0, max(1, len(new)), PATHS_A_MESSAGE):
            some = tuple(new[start : start + PATHS_A_MESSAGE])
            last = start + PATHS_A_MESSAGE >= len(new)
            found = ListFiles(id=self._batch, first=len(known) + start, paths=some, last=last)
            await self._log.send([found])
        return [FileState(path) for path in new]

    async def _fail(self, reason: str) -> None:
        await self._log.send([FailBatch(id=self._batch, reason=reason)])

    def _search(self, details: BatchDetails) -> list[str]:
        source = configured(self._sources(), details.connection)
        root = full_path(source, "")
        return list(walk(file_system(source), root, details.files, details.selection))
