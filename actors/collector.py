"""Collects the results of a batch into one file, in the order of its files and of their jobs."""

import asyncio
import hashlib
import logging
import tempfile
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing, closing
from typing import Any, BinaryIO

from actors.batch_log import BatchLog
from actors.results.delivery import Delivery, Download, Store
from actors.results.errors import ResultsError
from actors.results.outcomes import Outcomes
from actors.results.registry import Row, Writer, writer
from actors.results.rows import decoded, rows_of, with_origin
from actors.scheduled_jobs import first_unscheduled
from events.batch_results import FailResults, FinishResults, ResultsRequested
from events.batch_state import BatchState
from events.ids import batch_job_id
from events.jetstream.collections import find_collection
from events.jetstream.ends import ends, rows_of_jobs
from events.jetstream.payloads import DamagedPayloadError, Payloads
from events.job import JobSucceeded
from events.sources import Connection as SourceConnection
from rota.batch_protocol import Manifest
from rota.errors import NotFoundError, RotaError, UnavailableError
from rota.jetstream import Connection, until_available
from rota.protocol import Rows

GROUP_BYTES = 16 * 1024 * 1024
"""Results that are in memory at a time; a larger one alone."""
HASHED_BYTES = 1024 * 1024

Sources = Callable[[], dict[str, SourceConnection]]
Success = tuple[str, JobSucceeded]

log = logging.getLogger("rota.results")


async def collect_results(connection: Connection, sources: Sources, batch: str, collection: str) -> None:
    """Carry a collection of results to its end: its file is there whole and its batch told, or told why not.

    It does nothing if it has ended, and may be done again at any time by another process. UnavailableError says
    that NATS was away; what was done does no harm then.
    """
    found = await until_available(lambda: find_collection(connection, batch, collection))
    if found is None or found.ended is not None:
        return
    batch_log = BatchLog(connection, batch, caller="results")
    try:
        delivery = _delivery(connection, sources, batch, found.asked)
        manifest = await delivery.earlier()
        if manifest is None:
            manifest = await Collector(connection, batch_log, found.asked, delivery).run()
    except UnavailableError:
        raise
    except (RotaError, OSError, MemoryError) as error:
        reason = _reason(error)
        log.warning("batch %s: collection %s failed: %s", batch, collection, reason)
        await batch_log.ask(FailResults(id=batch, collection=collection, reason=reason))
    else:
        await batch_log.ask(FinishResults(id=batch, collection=collection, manifest=_plain(manifest)))
        log.info("batch %s: collection %s has %d rows", batch, collection, manifest.rows)


class Collector:
    """Makes the file of one collection and delivers it."""

    def __init__(
        self, connection: Connection, batch_log: BatchLog, asked: ResultsRequested, delivery: Delivery
    ) -> None:
        self._connection = connection
        self._payloads = Payloads(connection)
        self._log = batch_log
        self._asked = asked
        self._delivery = delivery
        self._outcomes = Outcomes()
        self._rows = 0

    async def run(self) -> Manifest:
        """Make and deliver the file; return its manifest."""
        state = await self._log.known_state()
        with tempfile.TemporaryFile() as file:
            with closing(await asyncio.to_thread(writer, self._asked.format, file)) as to:
                async with aclosing(self._successes(state)) as pages:
                    async for page in pages:
                        for group in _groups(page):
                            await self._write(to, group)
                await asyncio.to_thread(to.finish)
            size, sha256 = await asyncio.to_thread(_digest, file)
            manifest = Manifest(
                batch=self._log.batch,
                spec=state.details.spec,
                format=self._asked.format,
                jobs=self._outcomes.jobs,
                rows=self._rows,
                size=size,
                sha256=sha256,
                failed=self._outcomes.failed(await rows_of_jobs(self._connection, self._outcomes.listed)),
                pending=self._outcomes.pending,
            )
            await self._delivery.deliver(file, manifest)
        return manifest

    async def _successes(self, state: BatchState) -> AsyncGenerator[list[Success], None]:
        """Yield the jobs that succeeded, a page at a time; the next page is fetched while one is written."""
        pages = ends(self._connection, self._log.batch, _jobs(self._log.batch, await self._counts(state)))
        try:
            coming = asyncio.ensure_future(anext(pages, None))
            while page := await coming:
                coming = asyncio.ensure_future(anext(pages, None))
                for job, end in page:
                    self._outcomes.add(job, end)
                yield [(job, end) for job, end in page if isinstance(end, JobSucceeded)]
        finally:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)
            await pages.aclose()

    async def _counts(self, state: BatchState) -> list[int]:
        """Return how many jobs each file has: a reader that was stopped may have scheduled more than it told of."""
        counts = [file.jobs for file in state.files]
        if state.status == "failed":
            for index, file in enumerate(state.files):
                if file.found and not file.finished:
                    counts[index] = await first_unscheduled(self._connection, self._log.batch, index, file.jobs)
        return counts

    async def _write(self, to: Writer, group: Sequence[Success]) -> None:
        bodies = await asyncio.gather(*(self._body(job, end) for job, end in group))
        origins: dict[str, Rows] = {}
        if self._asked.origin_columns:
            origins = await rows_of_jobs(self._connection, [job for job, _ in group])
        self._rows += await asyncio.to_thread(
            _written, to, group, bodies, origins if self._asked.origin_columns else None
        )

    async def _body(self, job: str, end: JobSucceeded) -> Any:
        if end.result.payload is None:
            return end.result.value
        try:
            return await self._payloads.get(end.result.payload)
        except NotFoundError:
            raise ResultsError(
                f"The result of the job {job} is gone: large ones are kept for ROTA_KEEP_RESULTS_DAYS. "
                "Results of this batch cannot be collected any more"
            ) from None
        except DamagedPayloadError:
            raise ResultsError(f"The result of the job {job} is not what the job has stored") from None


def _written(to: Writer, group: Sequence[Success], bodies: Sequence[Any], origins: dict[str, Rows] | None) -> int:
    """Write the results of some jobs; return how many rows they are."""
    rows: list[Row] = []
    for (job, _), body in zip(group, bodies, strict=True):
        own = rows_of(decoded(job, body))
        rows += own if origins is None else [with_origin(row, job, origins.get(job)) for row in own]
    if rows:
        to.add(rows)
    return len(rows)


def _groups(page: Sequence[Success]) -> Iterator[list[Success]]:
    """Cut a page where its results would be too much at a time."""
    group: list[Success] = []
    size = 0
    for job, end in page:
        own = end.result.payload.size if end.result.payload else len(memoryview(end.result.value))
        if group and size + own > GROUP_BYTES:
            yield group
            group, size = [], 0
        group.append((job, end))
        size += own
    if group:
        yield group


def _jobs(batch: str, counts: Sequence[int]) -> Iterator[str]:
    """Yield the ids of all jobs in their order, so many of each file."""
    for file_index, count in enumerate(counts):
        for index in range(count):
            yield batch_job_id(batch, file_index, index)


def _delivery(connection: Connection, sources: Sources, batch: str, asked: ResultsRequested) -> Delivery:
    if asked.connection is None:
        return Download(connection, batch, asked.collection)
    source = sources().get(asked.connection)
    if source is None or asked.path is None:
        raise ResultsError(f"There is no connection {asked.connection} in connections.toml any more")
    return Store(source, asked.path, asked.collection)


def _digest(file: BinaryIO) -> tuple[int, str]:
    """Return a file's size and its SHA-256."""
    digest = hashlib.sha256()
    file.seek(0)
    while piece := file.read(HASHED_BYTES):
        digest.update(piece)
    return file.tell(), digest.hexdigest()


def _plain(manifest: Manifest) -> Manifest:
    """Return a manifest as events have it: without what stands beside the file only."""
    return Manifest(**{name: getattr(manifest, name) for name in Manifest.__struct_fields__})


def _reason(error: Exception) -> str:
    match error:
        case RotaError():
            return str(error)
        case MemoryError():
            return "The results need more memory than a reader may have; take NDJSON in place of this format"
        case OSError():
            return f"The results cannot be kept on disk while they are collected: {error.strerror}"
        case _:
            return type(error).__name__
