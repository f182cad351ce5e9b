"""The reader of one file: cuts it into jobs and schedules them, from where the batch's events say to its end.

Rows are stored before the jobs that need them, jobs before the progress that counts them. Whoever takes over goes
on after the last `batch.advanced`, and the jobs that it makes again have the ids that they had, so none is doubled.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing

import msgspec
import pyarrow as pa
from msgspec.structs import replace

from actors.ahead import ahead
from actors.cutter import Cut, MissingRowsError, Slice, cut
from actors.flight import Flight
from actors.formats.block import BadRowError
from actors.formats.detect import detect
from actors.formats.input import Input
from actors.formats.registry import read
from actors.prefetch import prefetched
from actors.sources.errors import SourceError
from actors.sources.file import SourceFile
from events.batch import (
    AdvanceFile,
    BatchDetails,
    FailFile,
    FileFault,
    FindFile,
    FinishFile,
    Position,
    QuarantineRows,
)
from events.batch_state import FileState
from events.catalog import AnyCommand, encode
from events.formats import formats
from events.ids import batch_job_id
from events.jetstream.payloads import Payloads
from events.job import ScheduleJob
from events.sources import Connection
from events.subjects import rows_subject
from rota.errors import NotFoundError, TooLargeError
from rota.jetstream import until_available
from rota.options import Compression, Options
from rota.protocol import JobDetails, Payload, Rows

TELL_SECONDS = 0.5
BLOCKS_AHEAD = 1
CUTS_AHEAD = 2
MESSAGE_BYTES = 1024 * 1024
"""About the size of the messages that schedule jobs or tell of bad rows."""
MAX_FAULTS_A_MESSAGE = 500
MAX_MESSAGE_CHARACTERS = 2000
MAX_TEXT_CHARACTERS = 500

log = logging.getLogger("rota.reader")


class FileReader:
    """Reads files of one batch, one after the other, as far as there is room for their jobs."""

    def __init__(
        self,
        batch: str,
        details: BatchDetails,
        *,
        sources: Callable[[], dict[str, Connection]],
        payloads: Payloads,
        flight: Flight,
        send: Callable[[Sequence[AnyCommand]], Awaitable[None]],
    ) -> None:
        self._batch = batch
        self._details = details
        self._sources = sources
        self._payloads = payloads
        self._flight = flight
        self._send_all = send

    async def run(self, index: int, progress: FileState) -> bool:
        """Read a file to its end, or tell the batch why that cannot be; say whether it was read."""
        reading = _Reading(index, progress)
        try:
            await self._read(reading)
        except BadRowError as error:
            fault = error.fault
        except (SourceError, NotFoundError, TooLargeError) as error:
            message = str(error)
            fault = FileFault(message if progress.path in message else f"{progress.path}: {message}")
        except MemoryError:
            fault = FileFault(f"{progress.path} takes more memory than ROTA_READER_MEMORY_BYTES allows")
        except MissingRowsError as error:
            fault = FileFault(f"{progress.path} was changed: {error}")
        except Exception as error:
            log.exception("batch %s: reading %s failed", self._batch, progress.path)
            fault = FileFault(f"{progress.path} cannot be read: {type(error).__name__}")
        else:
            return True
        log.info("batch %s fails: %s", self._batch, fault.message)
        await self._send(
            FailFile(
                id=self._batch,
                file_index=index,
                fault=clipped(fault),
                rows=reading.rows,
                jobs=reading.jobs,
                bad=reading.bad,
            )
        )
        return False

    async def _read(self, reading: "_Reading") -> None:
        details, progress = self._details, reading.progress
        source = configured(self._sources(), details.connection)
        file = await asyncio.to_thread(SourceFile, source, progress.path)
        try:
            if progress.found and progress.version != file.version:
                raise SourceError(f"{progress.path} was changed since its reading began")
            if progress.found:
                format_, compression = progress.format, progress.compression
            else:
                format_, compression = await asyncio.to_thread(_detected, file, details)
                await self._send(
                    FindFile(
                        id=self._batch,
                        file_index=reading.index,
                        size=file.size,
                        file_version=file.version,
                        format=format_,
                        compression=compression,
                    )
                )
                if (file.version, format_, compression) != (
                    progress.version,
                    progress.format,
                    progress.compression,
                ):
                    self._check_countable(progress)
                    reading.begin_again()
            await self._cut(reading, Input(file, compression), format_, self._options(format_))
            await asyncio.to_thread(file.check_unchanged)
        finally:
            await asyncio.to_thread(file.close)
        await self._send(
            FinishFile(
                id=self._batch,
                file_index=reading.index,
                rows=reading.rows,
                jobs=reading.jobs,
                bad=reading.bad,
            )
        )

    def _check_countable(self, progress: FileState) -> None:
        """Raise SourceError if rows of another version of the file cannot be told from those that are in jobs."""
        left_out = progress.bad or progress.position.bad or progress.quarantined
        if progress.rows and left_out:
            raise SourceError(
                f"{progress.path} was changed, and bad rows of it were left out: its rows would be counted anew. "
                "Open another batch"
            )

    def _options(self, format_: str) -> Options:
        given = self._details.options if self._details.format else self._details.options.get(format_, {})
        try:
            return msgspec.convert(given, formats()[format_].options)
        except msgspec.ValidationError as error:
            raise BadRowError(FileFault(f"The options of {format_} are wrong: {error}")) from error

    async def _cut(self, reading: "_Reading", file: Input, format_: str, options: Options) -> None:
        details = self._details
        start, known = reading.start, reading.schema

        def cuts() -> Iterator[Cut]:
            # Parsing, and writing with digests, leave Python alone most of the time: each has a thread.
            blocks = prefetched(
                lambda: read(format_, file, options, start, known, bad_rows=details.bad_rows),
                BLOCKS_AHEAD,
                f"parse {file.path}",
            )
            return cut(blocks, details.rows_per_job or 2**53, rows=reading.rows, jobs=reading.jobs)

        async with aclosing(ahead(cuts, CUTS_AHEAD)) as some:
            async for one in some:
                await self._quarantine(reading, one)
                reading.schema = one.schema
                await self._schedule(reading, one.slices)

    async def _quarantine(self, reading: "_Reading", one: Cut) -> None:
        """Count the bad rows, and keep them if the batch wishes."""
        faults = list(one.bad)
        reading.bad = max(reading.bad, one.bad_before + len(faults))
        if self._details.bad_rows != "quarantine":
            return
        before = one.bad_before
        while faults:
            some = [clipped(fault) for fault in faults[:MAX_FAULTS_A_MESSAGE]]
            faults = faults[MAX_FAULTS_A_MESSAGE:]
            await self._send(
                QuarantineRows(id=self._batch, file_index=reading.index, bad_before=before, faults=tuple(some))
            )
            before += len(some)

    async def _schedule(self, reading: "_Reading", slices: list[Slice]) -> None:
        """Schedule the jobs of a cut, no more at a time than may be in flight."""
        index, path = reading.index, reading.progress.path
        while slices:
            together = min(await self._flight.room(), self._jobs_a_message(path))
            some, slices = slices[:together], slices[together:]
            for one in some:
                self._check_size(path, one)
            jobs = [self._job(index, path, one) for one in some]
            bodies = [
                (job.details.rows.payload.subject, one.body)
                for job, one in zip(jobs, some, strict=True)
                if job.details.rows
            ]
            await until_available(lambda bodies=bodies: self._payloads.put(bodies))  # type: ignore[misc] # mypy cannot infer a lambda with a default
            self._flight.add(((index, one.index), one.body.size) for one in some)
            await self._send(*jobs)
            last = some[-1]
            reading.rows, reading.jobs = last.first_row + last.count, last.index + 1
            if time.monotonic() - reading.told_at >= TELL_SECONDS:
                reading.told_at = time.monotonic()
                await self._send(
                    AdvanceFile(
                        id=self._batch,
                        file_index=index,
                        position=last.position,
                        rows=reading.rows,
                        jobs=reading.jobs,
                        columns=reading.columns(),
                    )
                )

    async def _send(self, *commands: AnyCommand) -> None:
        await self._send_all(commands)

    def _check_size(self, path: str, one: Slice) -> None:
        limit = self._payloads.max_bytes
        if one.body.size > limit:
            last = one.first_row + one.count
            what = f"rows {one.first_row + 1} to {last}" if one.count > 1 else f"row {last}"
            helps = "make rows_per_job smaller" if one.count > 1 else "read fewer columns"
            raise TooLargeError(f"{path}, {what}: {one.body.size} bytes for one job; the limit is {limit}; {helps}")

    def _jobs_a_message(self, path: str) -> int:
        """Return how many jobs are sent together: they share a message, and each has the batch's params in it."""
        size = len(self._details.params) + len(encode(self._details.labels)) + len(path)
        return max(1, MESSAGE_BYTES // size)

    def _job(self, index: int, path: str, one: Slice) -> ScheduleJob:
        details = self._details
        rows = Rows(
            batch=self._batch,
            file=path,
            file_index=index,
            index=one.index,
            first_row=one.first_row,
            count=one.count,
            payload=Payload(rows_subject(self._batch, index, one.index, one.sha256), one.body.size, one.sha256),
        )
        return ScheduleJob(
            id=batch_job_id(self._batch, index, one.index),
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


def configured(connections: dict[str, Connection], name: str | None) -> Connection | None:
    """Return a connection by its name, None for plain URLs; NotFoundError if it is gone."""
    if name is None:
        return None
    if name not in connections:
        raise NotFoundError(f"The connection {name} is not configured any more")
    return connections[name]


def _detected(file: SourceFile, details: BatchDetails) -> tuple[str, Compression]:
    """Return the format of a file and its compression, as they are given or as the file shows them."""
    return detect(
        file.path,
        file.media_type,
        Input(file).head(),
        format=details.format,
        compression=file.compression or details.compression,
    )


def clipped(fault: FileFault) -> FileFault:
    """Return a fault that is not too long for an event, whatever stands in the file."""
    return replace(
        fault,
        message=_clip(fault.message, MAX_MESSAGE_CHARACTERS),
        column=fault.column and _clip(fault.column, MAX_TEXT_CHARACTERS),
        text=fault.text and _clip(fault.text, MAX_TEXT_CHARACTERS),
    )


def _clip(text: str, size: int) -> str:
    return text if len(text) <= size else f"{text[: size - 1]}…"


class _Reading:
    """How far a file has been read by now."""

    def __init__(self, index: int, progress: FileState) -> None:
        self.index = index
        self.progress = progress
        self.rows, self.jobs = progress.rows, progress.jobs
        """As far as they are scheduled."""
        self.bad = max(progress.bad, progress.position.bad)
        self.start = progress.position
        self.schema: pa.Schema | None = None
        if progress.columns and self.start.row:
            self.schema = pa.ipc.read_schema(pa.py_buffer(progress.columns))
        self.told_at = time.monotonic()
        self._told: tuple[pa.Schema | None, bytes | None] = (None, None)

    def begin_again(self) -> None:
        """Read from the start and pass over the rows that are in jobs: their places may be others by now."""
        self.start, self.schema = Position(), None

    def columns(self) -> bytes | None:
        """Return the columns that are known, as an IPC message; made anew only when they have changed."""
        if self.schema is not self._told[0]:
            body = None if self.schema is None else self.schema.remove_metadata().serialize().to_pybytes()
            self._told = (self.schema, body)
        return self._told[1]
