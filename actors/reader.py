"""The batch reader: reads the files of one batch, cuts them into jobs, and follows the jobs to their end.

Its progress is in the log: whoever takes over goes on after the last `batch.advanced`, and the jobs that it makes
again have the ids that they had, so none is doubled. Rows are stored before the jobs that need them, jobs before
the progress that counts them. The rows of ROWS_BLOCK neighbouring jobs are removed when the last of them has ended,
and what is left when the batch has completed; what is left of a failed one goes by its age.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import aclosing, suppress

from actors.ahead import ahead
from actors.cutter import Slice, cut
from actors.formats.block import BadRowError
from actors.formats.registry import read
from actors.sources.file import SourceError, SourceFile
from events.batch import (
    AdvanceFile,
    BatchDetails,
    BatchState,
    CountJobs,
    FailFile,
    FileFault,
    FindFile,
    FinishFile,
)
from events.catalog import AnyCommand, encode
from events.config import Connection as SourceConnection
from events.ids import batch_job_id, place_in_batch
from events.jetstream.bus import Bus
from events.jetstream.log import Log
from events.jetstream.payloads import Payloads
from events.jetstream.repository import load_state
from events.jetstream.snapshots import Snapshots
from events.job import ScheduleJob
from events.subjects import (
    ROWS_BLOCK,
    aggregate_filter,
    ended_jobs_filter,
    opened_subject,
    rows_block_filter,
    rows_filter,
    rows_subject,
)
from rota.errors import NotFoundError, TooLargeError, UnavailableError
from rota.follow import Follower
from rota.jetstream import Connection, until_available
from rota.protocol import ENDED_BATCH, JobDetails, Payload, Rows

TELL_SECONDS = 0.5
CUTS_AHEAD = 2
SCHEDULE_BYTES = 1024 * 1024
MAX_BYTES_IN_FLIGHT = 512 * 1024 * 1024

log = logging.getLogger("rota.reader")


class Reader:
    """Carries one batch to its end."""

    def __init__(
        self, connection: Connection, sources: Callable[[], dict[str, SourceConnection]], batch: str
    ) -> None:
        self._connection = connection
        self._bus = Bus(connection)
        self._log = Log(connection)
        self._snapshots = Snapshots(connection)
        self._payloads = Payloads(connection)
        self._sources = sources
        self._batch = batch
        self._scheduled = 0
        self._ended = 0
        self._some_ended = asyncio.Event()
        self._ended_of_block: Counter[tuple[int, int]] = Counter()
        self._sizes: dict[tuple[int, int], int] = {}
        """Bytes of the rows of each job that is in flight, by file and index."""
        self._completed = False
        self._done = (0, 0)
        """Rows and jobs of the file that is being read, as far as they are scheduled."""
        self._told_at = time.monotonic()

    async def run(self) -> None:
        """Read and follow the batch until it has ended."""
        state: BatchState | None
        state, _ = await until_available(lambda: load_state(self._log, self._snapshots, "batch", self._batch))
        if state is None:
            return
        self._scheduled, self._ended = state.jobs, state.jobs_ended
        self._completed = state.status == "completed"
        after = state.counted_until or await until_available(
            lambda: self._log.sequence_on(opened_subject(self._batch))
        )
        subjects = [ended_jobs_filter(self._batch), aggregate_filter("batch", self._batch)]
        async with self._log.follow(subjects, after=after, headers_only=True) as follower:
            reading = asyncio.create_task(self._read_files(state), name=f"read {self._batch}")
            try:
                await self._follow(follower, state, reading)
            finally:
                reading.cancel()
                await asyncio.wait([reading])
        if self._completed:
            await until_available(lambda: self._payloads.remove(rows_filter(self._batch)))

    async def _follow(self, follower: Follower, state: BatchState, reading: asyncio.Task[None]) -> None:
        """Count the jobs that end, until the batch and all its jobs have ended."""
        succeeded, failed = state.succeeded, state.failed
        over = state.status in ENDED_BATCH
        counted, counted_at = self._ended, time.monotonic()
        while True:
            all_ended = reading.done() and self._ended >= self._scheduled
            if over and all_ended:
                return
            if self._ended > counted and (all_ended or time.monotonic() - counted_at >= TELL_SECONDS):
                counted, counted_at = self._ended, time.monotonic()
                await self._send(
                    CountJobs(id=self._batch, until=follower.position, succeeded=succeeded, failed=failed)
                )
            for message in await follower.take(timeout=TELL_SECONDS):
                _, _, kind, id_, name, *_ = message.subject.split(".")
                if kind == "batch":
                    over = over or name in ENDED_BATCH
                    self._completed = self._completed or name == "completed"
                    continue
                place = place_in_batch(id_, self._batch)
                if place is None:
                    continue  # it only says that it is of this batch
                if name == "succeeded":
                    succeeded += 1
                else:
                    failed += 1
                await self._forget(*place)
            self._ended = succeeded + failed
            self._some_ended.set()
            if reading.done():
                reading.result()

    async def _forget(self, file_index: int, index: int) -> None:
        """Note that a job has ended; remove the rows of its block when it was the last."""
        self._sizes.pop((file_index, index), None)
        block = (file_index, index // ROWS_BLOCK)
        self._ended_of_block[block] += 1
        if self._ended_of_block[block] == ROWS_BLOCK:
            del self._ended_of_block[block]
            with suppress(UnavailableError):
                # What is left because of this goes at the end of the batch.
                await self._payloads.remove(rows_block_filter(self._batch, *block))

    async def _read_files(self, state: BatchState) -> None:
        if state.status != "reading":
            return
        for index, file in enumerate(state.files):
            if file.finished:
                continue
            try:
                await self._read_file(state, index)
            except BadRowError as error:
                fault = error.fault
            except (SourceError, NotFoundError, TooLargeError) as error:
                fault = FileFault(str(error))
            except Exception as error:
                log.exception("batch %s: reading %s failed", self._batch, state.details.files[index])
                fault = FileFault(f"{state.details.files[index]} cannot be read: {type(error).__name__}")
            else:
                continue
            log.info("batch %s fails: %s", self._batch, fault.message)
            rows, jobs = self._done
            await self._send(FailFile(id=self._batch, file_index=index, fault=fault, rows=rows, jobs=jobs))
            return

    async def _read_file(self, state: BatchState, index: int) -> None:
        details, progress = state.details, state.files[index]
        path = details.files[index]
        self._done = (progress.rows, progress.jobs)
        source = self._sources().get(details.connection) if details.connection else None
        if details.connection and source is None:
            raise NotFoundError(f"The connection {details.connection} is not configured any more")
        file = await asyncio.to_thread(SourceFile, source, path)
        if progress.found and progress.version != file.version:
            raise SourceError(f"{path} was changed since its reading began")
        await self._send(FindFile(id=self._batch, file_index=index, size=file.size, file_version=file.version))

        def slices() -> Iterator[list[Slice]]:
            blocks = read(details.format, file, details.options, progress.position)
            return cut(blocks, details.rows_per_job, rows=progress.rows, jobs=progress.jobs)

        async with aclosing(ahead(slices, CUTS_AHEAD)) as cuts:
            async for some in cuts:
                await self._schedule(details, index, path, some)
        await asyncio.to_thread(file.check_unchanged)
        rows, jobs = self._done
        await self._send(FinishFile(id=self._batch, file_index=index, rows=rows, jobs=jobs))

    async def _schedule(self, details: BatchDetails, index: int, path: str, slices: list[Slice]) -> None:
        """Schedule the jobs of a cut, no more at a time than may be in flight."""
        while slices:
            room = details.max_jobs_in_flight - (self._scheduled - self._ended)
            if room <= 0 or sum(self._sizes.values()) > MAX_BYTES_IN_FLIGHT:
                self._some_ended.clear()
                await self._some_ended.wait()
                continue
            together = min(room, self._jobs_a_message(details, path))
            some, slices = slices[:together], slices[together:]
            bodies = [(rows_subject(self._batch, index, one.index), one.body) for one in some]
            await until_available(lambda bodies=bodies: self._payloads.put(bodies))  # type: ignore[misc] # mypy cannot infer a lambda with a default
            await self._send(*[self._job(details, index, path, one) for one in some])
            self._scheduled += len(some)
            self._sizes.update(((index, one.index), one.body.size) for one in some)
            last = some[-1]
            rows, jobs = self._done = (last.first_row + last.count, last.index + 1)
            if time.monotonic() - self._told_at >= TELL_SECONDS:
                self._told_at = time.monotonic()
                await self._send(
                    AdvanceFile(id=self._batch, file_index=index, position=last.position, rows=rows, jobs=jobs)
                )

    def _jobs_a_message(self, details: BatchDetails, path: str) -> int:
        """Return how many jobs are sent together: they share a message, and each has the batch's params in it."""
        size = len(details.params) + len(encode(details.labels)) + len(path)
        return max(1, SCHEDULE_BYTES // size)

    def _job(self, details: BatchDetails, index: int, path: str, one: Slice) -> ScheduleJob:
        id_ = batch_job_id(self._batch, index, one.index)
        rows = Rows(
            batch=self._batch,
            file=path,
            file_index=index,
            index=one.index,
            first_row=one.first_row,
            count=one.count,
            payload=Payload(rows_subject(self._batch, index, one.index), one.body.size, one.sha256),
        )
        return ScheduleJob(
            id=id_,
            details=JobDetails(
                spec=details.spec,
                queue=details.queue,
                params=details.params,
                retry=details.retry,
                timeout_seconds=details.timeout_seconds,
                labels=details.labels,
                rows=rows,
            ),
        )

    async def _send(self, *commands: AnyCommand) -> None:
        opened = f"{self._batch}.1"
        await until_available(lambda: self._bus.send(commands, caller="reader", causation_id=opened))
