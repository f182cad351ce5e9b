"""The batch reader: reads the files of one batch, cuts them into jobs, and follows the jobs to their end.

Its progress is in the log: whoever takes over goes on after the last `batch.advanced`, and the jobs that it makes
again have the ids that they had, so none is doubled. Payloads are stored before the jobs that need them, and jobs
in one publish with the progress that counts them.
"""

import asyncio
import logging
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, suppress
from typing import TypeVar

import pyarrow as pa

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
    evolve,
)
from events.catalog import AnyCommand
from events.config import Connection as SourceConnection
from events.ids import batch_job_id
from events.jetstream.bus import Bus
from events.jetstream.log import Follower, Log
from events.jetstream.payloads import Payloads
from events.job import ScheduleJob
from events.subjects import aggregate_filter, ended_jobs_filter, payload_subject
from rota.errors import NotFoundError, TooLargeError
from rota.jetstream import Connection, until_available
from rota.protocol import ENDED_BATCH, JobDetails, Payload, Rows

COUNT_SECONDS = 0.5
CUTS_AHEAD = 2

T = TypeVar("T")

log = logging.getLogger("rota.reader")


class Reader:
    """Carries one batch to its end."""

    def __init__(
        self, connection: Connection, sources: Callable[[], dict[str, SourceConnection]], batch: str
    ) -> None:
        self._connection = connection
        self._bus = Bus(connection)
        self._log = Log(connection)
        self._payloads = Payloads(connection)
        self._sources = sources
        self._batch = batch
        self._scheduled = 0
        self._ended = 0
        self._some_ended = asyncio.Event()

    async def run(self) -> None:
        """Read and follow the batch until it has ended."""
        history = await until_available(lambda: self._log.load("batch", self._batch))
        state: BatchState | None = None
        for recorded in history:
            state = evolve(state, recorded.event)  # type: ignore[arg-type] # a batch has only events of batches
        if state is None or state.status in ENDED_BATCH:
            return
        self._scheduled, self._ended = state.jobs, state.jobs_ended
        after = max(state.counted_until, history[0].sequence)
        subjects = [ended_jobs_filter(self._batch), aggregate_filter("batch", self._batch)]
        async with self._log.follow(subjects, after=after, headers_only=True) as follower:
            reading = asyncio.create_task(self._read_files(state), name=f"read {self._batch}")
            try:
                await self._follow(follower, state, reading)
            finally:
                reading.cancel()
                with suppress(asyncio.CancelledError):
                    await reading

    async def _follow(self, follower: Follower, state: BatchState, reading: asyncio.Task[None]) -> None:
        """Count the jobs that end, until the batch has ended."""
        succeeded, failed = state.succeeded, state.failed
        counted = self._ended
        loop = asyncio.get_running_loop()
        counted_at = loop.time()
        while True:
            for message in await follower.take(timeout=COUNT_SECONDS):
                _, _, kind, _, name, *_ = message.subject.split(".")
                if kind == "job":
                    succeeded, failed = (succeeded + 1, failed) if name == "succeeded" else (succeeded, failed + 1)
                elif name in ENDED_BATCH:
                    return
            self._ended = succeeded + failed
            self._some_ended.set()
            if reading.done():
                reading.result()
            all_ended = reading.done() and self._ended >= self._scheduled
            if self._ended > counted and (all_ended or loop.time() - counted_at >= COUNT_SECONDS):
                counted, counted_at = self._ended, loop.time()
                await self._send(
                    CountJobs(id=self._batch, until=follower.position, succeeded=succeeded, failed=failed)
                )

    async def _read_files(self, state: BatchState) -> None:
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
            await self._send(FailFile(id=self._batch, file_index=index, fault=fault))
            return

    async def _read_file(self, state: BatchState, index: int) -> None:
        details, progress = state.details, state.files[index]
        path = details.files[index]
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

        rows, jobs = progress.rows, progress.jobs
        async with aclosing(ahead(slices, CUTS_AHEAD)) as cuts:
            async for some in cuts:
                await self._schedule(details, index, path, some)
                rows, jobs = some[-1].first_row + some[-1].count, some[-1].index + 1
        await asyncio.to_thread(file.check_unchanged)
        await self._send(FinishFile(id=self._batch, file_index=index, rows=rows, jobs=jobs))

    async def _schedule(self, details: BatchDetails, index: int, path: str, slices: list[Slice]) -> None:
        """Schedule the jobs of a cut, no more at a time than may be in flight."""
        while slices:
            room = details.max_jobs_in_flight - (self._scheduled - self._ended)
            if room <= 0:
                self._some_ended.clear()
                await self._some_ended.wait()
                continue
            some, slices = slices[:room], slices[room:]
            await until_available(lambda some=some: self._payloads.put(self._bodies(index, some)))  # type: ignore[misc] # mypy cannot infer a lambda with a default
            jobs = [self._job(details, index, path, one) for one in some]
            last = some[-1]
            progress = AdvanceFile(
                id=self._batch,
                file_index=index,
                position=last.position,
                rows=last.first_row + last.count,
                jobs=last.index + 1,
            )
            await self._send(*jobs, progress)
            self._scheduled += len(some)

    def _bodies(self, index: int, slices: list[Slice]) -> list[tuple[str, pa.Buffer]]:
        return [(payload_subject(batch_job_id(self._batch, index, one.index)), one.body) for one in slices]

    def _job(self, details: BatchDetails, index: int, path: str, one: Slice) -> ScheduleJob:
        id_ = batch_job_id(self._batch, index, one.index)
        rows = Rows(
            batch=self._batch,
            file=path,
            file_index=index,
            index=one.index,
            first_row=one.first_row,
            count=one.count,
            payload=Payload(payload_subject(id_), one.body.size, one.sha256),
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
        await until_available(lambda: self._bus.send(commands))


async def ahead(make: Callable[[], Iterator[T]], limit: int) -> AsyncGenerator[T, None]:
    """Run a blocking iterator in a thread, up to `limit` items ahead of who takes them."""
    loop = asyncio.get_running_loop()
    items: asyncio.Queue[T | BaseException | None] = asyncio.Queue(limit)
    stopped = threading.Event()

    def put(item: T | BaseException | None) -> None:
        asyncio.run_coroutine_threadsafe(items.put(item), loop).result()

    def run() -> None:
        try:
            for item in make():
                put(item)
                if stopped.is_set():
                    return
        except BaseException as error:  # noqa: BLE001 - it is raised again where the items are taken
            put(error)
        else:
            put(None)

    thread = asyncio.ensure_future(asyncio.to_thread(run))
    try:
        while (item := await items.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stopped.set()
        while not thread.done():
            # The thread may be waiting for room.
            with suppress(asyncio.QueueEmpty):
                items.get_nowait()
            await asyncio.wait([thread], timeout=0.05)
