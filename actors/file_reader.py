"""The reader of one file: cuts it into jobs and schedules them, from where the batch's events say to its end.

Rows are stored before the jobs that need them, jobs before the progress that counts them, and an early cut is in
the log before its job is. Whoever takes over goes on after the last `batch.advanced`, and the jobs that it makes
again have the ids and the rows that they had, so none is doubled.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Generator, Iterator, Sequence
from contextlib import aclosing, closing, nullcontext
from functools import partial

from actors.ahead import ahead, by_turns
from actors.bad_rows import clipped, quarantine
from actors.batch_jobs import BatchJobs
from actors.batch_log import BatchLog
from actors.cutter import Cut, Cutter, JobLimits, MissingRowsError, Slice
from actors.flight import Flight
from actors.formats.block import BadRowError, Block
from actors.formats.input import Input
from actors.formats.registry import read
from actors.opening import OpenedFile, configured, kinds, open_file, open_stream, options_of
from actors.outbox import Outbox
from actors.picker import pick, quarantined_numbers
from actors.prefetch import prefetched
from actors.progress import Progress
from actors.row_range import RowRange, row_range
from actors.scheduled_jobs import first_unscheduled
from actors.sources.errors import SourceError
from actors.sources.file import is_small
from actors.stream_file import StreamFile
from events.batch import AdvanceFile, BatchDetails, CutJob, FileFault, FindFile, FinishFile
from events.batch_state import FileState
from events.catalog import AnyCommand
from events.jetstream.payloads import Payloads
from events.sources import Connection as SourceConnection
from rota.errors import NotFoundError, RotaError, TooLargeError
from rota.jetstream import Connection, until_available
from rota.options import Compression

BLOCKS_AHEAD = 1
CUTS_AHEAD = 2
CUTS_A_TURN = 2
"""Of a small file, which has one as a rule: then its end is seen in the same turn."""
TICK_SECONDS = 0.1
"""How often it is looked whether rows have waited long enough, while nothing comes."""
SOURCES_SECONDS = 1.0
"""How long connections are taken for what they were: to read them takes longer than a small file."""
FILES_AT_ONCE = 4
SMALL_FILES_AT_ONCE = 32
"""If those before were small, too."""
MANY_FILES = 16
"""At work at a time: what they tell is gathered. Fewer are not held up."""
TOLD_TOGETHER = 500
"""Files of which a message tells that they are found or finished."""

log = logging.getLogger("rota.reader")


class OvertakenError(RotaError):
    """Another reader cuts the same file, so that this one must not go on."""


class FileReader:
    """Reads files of one batch as far as there is room for their jobs: one at a time, beside it some small ones."""

    def __init__(
        self,
        log: BatchLog,
        details: BatchDetails,
        *,
        sources: Callable[[], dict[str, SourceConnection]],
        connection: Connection,
        flight: Flight,
    ) -> None:
        self._log = log
        self._batch = log.batch
        self._details = details
        self._sources = sources
        self._sources_read: dict[str, SourceConnection] = {}
        self._sources_read_at = -SOURCES_SECONDS
        self._connection = connection
        self._payloads = Payloads(connection)
        self._flight = flight
        self._running = 0
        """How many files are at work."""
        self._first_at_once = self._at_once = 1 if details.in_order else min(FILES_AT_ONCE, details.max_readers)
        """How many files may be at work: most of the time of small ones is waiting."""
        self._told, self._scheduled = Outbox(log), Outbox(log)
        self._large = asyncio.Lock()
        """Held by the one file at a time that may take memory and processors."""

    async def run_each(self, take: Callable[[], int | None], files: Sequence[FileState]) -> bool:
        """Read one file after the other, as `take` gives their numbers, until it gives None or one cannot be read.

        Small ones are read beside each other. Say whether all were read.
        """
        failed = False

        async def run_one(index: int) -> None:
            nonlocal failed
            if not await self.run(index, files[index]):
                failed = True
            self._running -= 1
            take_more()

        def take_more() -> None:
            while not failed and self._running < self._at_once and (index := take()) is not None:
                self._running += 1
                group.create_task(run_one(index), name=f"read {self._batch} {index}")

        async with asyncio.TaskGroup() as group:
            take_more()
        return not failed

    def _note_size(self, *, small: bool) -> None:
        """Take more files at a time as long as they are small: what waits for a large one is left to others."""
        most = 1 if self._first_at_once == 1 else SMALL_FILES_AT_ONCE
        self._at_once = min(most, self._at_once + 1) if small else self._first_at_once

    async def run(self, index: int, file: FileState) -> bool:
        """Read a file to its end, or tell the batch why that cannot be; say whether it was read.

        OvertakenError says that another reader is at the same file.
        """
        if self._details.seconds_per_job is not None:
            file = await self._settled(index, file)
        if file.finished:
            return True
        progress = Progress(self._batch, index, file)
        try:
            await self._read(progress)
        except OvertakenError:
            raise
        except BadRowError as error:
            fault = error.fault
        except (SourceError, NotFoundError, TooLargeError) as error:
            message = str(error)
            fault = FileFault(message if file.path in message else f"{file.path}: {message}")
        except MemoryError:
            fault = FileFault(f"{file.path} takes more memory than ROTA_READER_MEMORY_BYTES allows")
        except MissingRowsError as error:
            fault = FileFault(f"{file.path} was changed: {error}")
        except Exception as error:
            log.exception("batch %s: reading %s failed", self._batch, file.path)
            fault = FileFault(f"{file.path} cannot be read: {type(error).__name__}")
        else:
            return True
        log.info("batch %s fails: %s", self._batch, fault.message)
        await self._send(progress.fail(clipped(fault)))
        return False

    async def _settled(self, index: int, file: FileState) -> FileState:
        """Return how far a file is when all is in the log that the reader before has told at last.

        That is so once a later command, which says nothing new, is carried out. Cuts are forgotten when progress
        has passed them, so that both must be of one state.
        """
        await self._log.ask(Progress(self._batch, index, file).advance())
        return (await self._log.known_state()).files[index]

    async def _read(self, progress: Progress) -> None:
        range_ = await self._range(progress)
        if progress.jobs or not range_.is_empty:
            file = await self._open(progress.file.path)
            try:
                self._note_size(small=is_small(file.size))
                async with nullcontext() if is_small(file.size) else self._large:
                    format_, compression = await self._find(progress, file)
                    await self._cut(progress, file, format_, compression, range_)
            finally:
                await asyncio.to_thread(file.close)
        if self._counts_all:
            await self._log.ask(progress.finish())
        else:
            await self._tell(progress.finish())

    @property
    def _counts_all(self) -> bool:
        """Whether rows are counted over all files: the log must know of the files before."""
        return bool(self._details.first) or self._details.limit is not None

    async def _range(self, progress: Progress) -> RowRange:
        if not self._counts_all:
            return RowRange()
        return row_range(self._details, (await self._log.known_state()).files, progress.index)

    async def _open(self, path: str) -> OpenedFile:
        details = self._details
        if details.stream:
            return await open_stream(self._connection, self._batch, details.stream)
        return await open_file(configured(self._known_sources(), details.connection), path)

    def _known_sources(self) -> dict[str, SourceConnection]:
        """Return the connections as they were read a moment ago: they may change while a batch is read."""
        if time.monotonic() - self._sources_read_at > SOURCES_SECONDS:
            self._sources_read, self._sources_read_at = self._sources(), time.monotonic()
        return self._sources_read

    async def _find(self, progress: Progress, file: OpenedFile) -> tuple[str, Compression]:
        """Find out the format of a file, and tell it; SourceError if it is not the file that was read before."""
        known = progress.file
        if known.found:
            if known.version != file.version:
                raise SourceError(f"{known.path} was changed since its reading began")
            return known.format, known.compression
        format_, compression = await asyncio.to_thread(kinds, file, self._details)
        found = FindFile(
            id=self._batch,
            file_index=progress.index,
            size=file.size,
            file_version=file.version,
            format=format_,
            compression=compression,
        )
        changed = (file.version, format_, compression) != (known.version, known.format, known.compression)
        if changed:
            # Before it is told: a version that the batch knows is not looked at again.
            self._check_countable(known)
        await self._tell(found)
        if changed:
            progress.begin_again()
        return format_, compression

    def _check_countable(self, known: FileState) -> None:
        """Raise SourceError if rows of another version of the file cannot be told from those that are in jobs."""
        if known.rows and known.left_out:
            raise SourceError(
                f"{known.path} was changed, and bad rows of it were left out: its rows would be counted anew. "
                "Open another batch"
            )

    async def _cut(
        self, progress: Progress, file: OpenedFile, format_: str, compression: Compression, range_: RowRange
    ) -> None:
        details = self._details
        progress.passed = range_.passed
        cutter = await self._cutter(progress, range_)
        given = Input(file, compression, pieces_as_they_come=bool(details.stream))
        cuts = await self._cuts(progress, given, format_, cutter, file.check_unchanged)
        jobs = BatchJobs(self._batch, details, progress.index, progress.file, version=file.version, size=file.size)
        releases = not details.keeps_stream
        try:
            await _while_telling(
                self._schedule_all(progress, jobs, cuts, file),
                progress.tell(partial(self._advance, file if releases else None)),
            )
        finally:
            if not progress.jobs:
                progress.passed = min(range_.passed, cutter.reached)

    async def _cutter(self, progress: Progress, range_: RowRange) -> Cutter:
        details, timed_from = self._details, 0
        if details.seconds_per_job is not None:
            timed_from = await first_unscheduled(self._connection, self._batch, progress.index, progress.jobs)
        return Cutter(
            JobLimits(details.rows_per_job, details.bytes_per_job, details.seconds_per_job),
            rows=progress.rows,
            jobs=progress.jobs,
            passed=range_.passed,
            end=range_.end,
            known=dict(progress.file.cuts),
            timed_from=timed_from,
            form=details.form,
        )

    async def _cuts(
        self, progress: Progress, file: Input, format_: str, cutter: Cutter, check: Callable[[], None]
    ) -> Callable[[], Iterator[Cut]]:
        """Return what reads the file, calls `check` at its end, and blocks."""
        details, options = self._details, options_of(self._details, format_)
        start, known, mends = progress.start, progress.schema, progress.file.mends
        numbers = None if mends is None else quarantined_numbers(await self._log.events(), mends)
        ticks = None if details.seconds_per_job is None else TICK_SECONDS
        bad_rows = details.bad_rows if numbers is None else "skip"

        def parsed() -> Iterator[Block | None]:
            return read(format_, file, options, start, known, bad_rows=bad_rows)

        def parsed_ahead() -> Generator[Block | None, None, None]:
            # Parsing, and writing with digests, leave Python alone most of the time: each has a thread.
            return prefetched(parsed, BLOCKS_AHEAD, f"parse {file.path}", tick_seconds=ticks)

        def cuts() -> Iterator[Cut]:
            with nullcontext(parsed()) if is_small(file.size) else closing(parsed_ahead()) as blocks:
                if numbers is None:
                    yield from cutter.cut(blocks)
                else:
                    yield from cutter.cut(pick(blocks, numbers, file.path, bad_rows=details.bad_rows))
            check()

        return cuts

    async def _schedule_all(
        self, progress: Progress, jobs: BatchJobs, cuts: Callable[[], Iterator[Cut]], file: OpenedFile
    ) -> None:
        # Who is not to read on may be waiting for bytes.
        found = by_turns(cuts, CUTS_A_TURN) if is_small(file.size) else ahead(cuts, CUTS_AHEAD, file.close)
        async with aclosing(found) as some:
            async for one in some:
                await self._quarantine(progress, one)
                progress.schema = one.schema
                await self._schedule(progress, jobs, one.slices)

    async def _quarantine(self, progress: Progress, one: Cut) -> None:
        """Count the bad rows, and keep them if the batch wishes."""
        progress.bad = max(progress.bad, one.bad_before + len(one.bad))
        if self._details.bad_rows == "quarantine":
            for command in quarantine(self._batch, progress.index, one.bad_before, one.bad):
                await self._send(command)

    async def _schedule(self, progress: Progress, jobs: BatchJobs, slices: list[Slice]) -> None:
        """Schedule the jobs of a cut, no more at a time than may be in flight."""
        while slices:
            sizes = [one.body.size for one in slices[: jobs.at_once]]
            together = await self._flight.room(sizes)
            some, slices = slices[:together], slices[together:]
            # At once, since other files take of the same room.
            self._flight.add(((progress.index, one.index), one.body.size) for one in some)
            for one in some:
                jobs.check_size(one, self._payloads.max_bytes)
                if one.early:
                    await self._tell_cut(progress.index, one)
            commands = [jobs.make(one) for one in some]
            bodies = [
                (command.details.rows.payload.subject, one.body)
                for command, one in zip(commands, some, strict=True)
                if command.details.rows
            ]
            await until_available(lambda bodies=bodies: self._payloads.put(bodies))  # type: ignore[misc] # mypy cannot infer a lambda with a default
            await self._scheduled.send(commands, len(commands) / jobs.at_once, gather=self._gathers(len(commands)))
            progress.schedule(some[-1])

    async def _tell_cut(self, index: int, one: Slice) -> None:
        """Have an early cut in the log; OvertakenError if another one of the same job is there."""
        await self._log.ask(CutJob(id=self._batch, file_index=index, index=one.index, count=one.count))
        state = await self._log.known_state()
        if (one.index, one.count) in state.files[index].cuts:
            return
        if state.status == "reading":
            raise OvertakenError(f"Another reader has cut job {one.index} of file {index} of {self._batch}")
        # The batch has ended, or is about to: without its cut the job must not be, and this reader is stopped soon.
        await asyncio.Event().wait()

    async def _advance(self, releases: OpenedFile | None, command: AdvanceFile) -> None:
        """Tell the batch how far the file is read; bytes of a stream may go that nobody will read again."""
        if not isinstance(releases, StreamFile):
            await self._send(command)
            return
        await self._log.ask(command)
        known = (await self._log.known_state()).files[command.file_index]
        # A batch that has ended meanwhile has not heard of it, and its bytes are needed to go on.
        if known.jobs >= command.jobs:
            await releases.release(known.position.offset)

    async def _tell(self, command: FindFile | FinishFile) -> None:
        """Tell the batch of a file, together with what it is told of others."""
        await self._told.send([command], 1 / TOLD_TOGETHER, gather=self._gathers(1))

    def _gathers(self, count: int) -> bool:
        """Say whether so many commands of one file are worth waiting for those of others, which will soon come."""
        return count * MANY_FILES <= self._running

    async def _send(self, *commands: AnyCommand) -> None:
        await self._log.send(commands)


async def _while_telling(work: Awaitable[None], telling: Awaitable[None]) -> None:
    """Do some work to its end, and something that has no end beside it."""
    tasks = [asyncio.ensure_future(work), asyncio.ensure_future(telling)]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled():
            task.result()
