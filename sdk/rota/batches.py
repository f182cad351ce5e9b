"""The batches of a client: files that Rota reads, or streams that the client sends, cut into jobs."""

from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

import msgspec

from rota import results
from rota.appender import Appender
from rota.batch_protocol import (
    BadRowList,
    BadRowsAgain,
    BadRowView,
    BatchList,
    BatchRequest,
    BatchResponse,
    BatchView,
    ChangeRequest,
    DryRunView,
    FailedJobs,
    RedriveRequest,
    ResultsFormat,
    ResultsRequest,
    ResultsView,
    RowView,
    StreamRules,
    Tolerance,
)
from rota.data_stream import Stream
from rota.file_names import check_streamed
from rota.http import Event, Gateway
from rota.jobs import spec_name
from rota.options import BadRows
from rota.patience import ended, limit
from rota.protocol import ENDED_BATCH, BatchStatus, CancelRequest
from rota.sender import Sender, Sent

DRY_RUN_SECONDS = 90.0
"""The heads of all files are read before the answer comes."""
PAGE = 1000
ENDS = frozenset(f"batch.{status}" for status in ENDED_BATCH)


class Batches:
    """The batches of a client."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def open(self, request: BatchRequest | None = None, /, **fields: Any) -> str:
        """Have files read and cut into jobs, and return the batch's id; when it returns, that is stored.

        Give a BatchRequest or its fields:

        - `spec`: a job that takes rows, or its name.
        - `files`: paths below the connection, or http(s) URLs; one that ends with `/` is a directory, one with `*`,
          `?` or `[` a glob. `connection`: where the paths lie, as Rota's configuration calls it.
        - `selection`: a `rota.options.Selection` for directories and globs: recursive, include, exclude, hidden,
          allow_empty.
        - `format` and `compression`: found out for each file if they are left out. `options`: how files are read,
          as the format has them (`rota.options`); without a format, options by the names of formats.
        - `bad_rows`: what is done with a row that cannot be read: `fail` (the default: the batch fails there),
          `skip`, or `quarantine` (left out, and kept with its place and the reason: see `bad_rows` below).
        - `rows_per_job` (1000) and `bytes_per_job` (4 MiB): a job ends at the first of them that is reached; None
          is no limit, and without both a file is one job.
        - `first` (0) and `limit` (all): so many rows are passed over and then taken, of all files in their order.
        - `max_jobs_in_flight` (2000), `max_bytes_in_flight` (512 MiB): more wait until some have ended.
          `max_readers`: 4 files at a time.
        - `tolerance`: a Tolerance: how many jobs, or rows, may fail before the batch does.
        - `params`, `queue`, `retry`, `timeout_seconds`, `labels`: as for a job, for each job of the batch.
        - `key`: idempotency key; the same spec and key again are the same batch.
        """
        return await self._open(_request(request, fields))

    def stream(self, request: BatchRequest | None = None, /, **fields: Any) -> Stream:
        """Return the stream of a new batch; `async with` opens it, and seals it at the end.

        Give a BatchRequest or its fields, as for `open` but without files; besides

        - `format`, which must be given: arrow, avro, csv, json, messagepack, ndjson, tsv, xml or yaml.
          `compression` if the data is compressed.
        - `seconds_per_job`: a row waits no longer for others to be in a job with.
        - `stream`: StreamRules: what becomes of it if it falls silent.

        With a `key` of a stream that is there already, it goes on with that one: write the same data from its
        beginning again, and what is durable is passed over. InvalidRequestError for a format that is not read in
        pieces.
        """
        opened = _request(request, {"stream": StreamRules(), **fields})
        check_streamed(opened.format)

        async def open_() -> Appender:
            return await self._appender(await self._open(opened))

        return Stream(open_, opened.format)

    def resume_stream(self, id_: str, *, append: bool = False) -> Stream:
        """Return a stream whose writer is gone: after `async with`, write the same data from its beginning again.

        What is durable is passed over. Where the data cannot be had again, `append` has what is written follow what
        is durable: the byte at its `offset` and those behind it. The writer before may have got no further than to
        the middle of a row.
        """
        return Stream(lambda: self._appender(id_), append=append)

    async def send_file(
        self,
        id_: str,
        file: BinaryIO,
        *,
        seal: bool = True,
        progress: Callable[[Sent], None] = lambda _: None,
    ) -> int:
        """Send a file or a pipe as a batch's stream; return the length of the stream when all of it is durable.

        What is durable already is passed over: to go on after an interruption, give the file again from its
        beginning. Two pieces of 8 MiB are held, whatever the file's size. `progress` is told how far it is, again
        and again. When the batch has all the rows that its `limit` lets it take, the rest is not sent. Errors as of
        `Stream.write`; InvalidRequestError if the file is shorter than what is durable.
        """
        appender = await self._appender(id_)
        await Sender(appender, file, progress).send()
        if seal:
            await appender.seal()
        return appender.offset

    async def dry_run(self, request: BatchRequest | None = None, /, **fields: Any) -> DryRunView:
        """Find out what a batch would be, by the heads of its files; nothing is started. Give what `open` takes."""
        answer = await self._gateway.post(
            "/batches/dry-run", _request(request, fields), answer_seconds=DRY_RUN_SECONDS
        )
        return msgspec.json.decode(answer, type=DryRunView)

    async def get(self, id_: str) -> BatchView:
        """Return what is known of a batch: its files with their formats and bad rows, and its jobs by state."""
        return await self._gateway.get(_batch(id_), BatchView)

    async def list(
        self, *, status: BatchStatus | None = None, spec: str | None = None, page_size: int = 100
    ) -> AsyncGenerator[BatchView, None]:
        """Yield all batches that these describe, newest first and without their files, asked for by the page."""
        async for page in self._gateway.pages("/batches", BatchList, status=status, spec=spec, limit=page_size):
            for batch in page.batches:
                yield batch

    async def wait(self, id_: str, timeout: float | None = None) -> BatchView:
        """Return the batch when it has ended; TimeoutError if it has not after so many seconds.

        Its `status` says how: completed, completed_with_failures, failed or cancelled.
        """
        async with limit(timeout, f"Batch {id_}"):
            return await ended(self.watch(id_), ENDS, lambda: self.get(id_), ENDED_BATCH)

    def watch(self, id_: str) -> AsyncGenerator[Event, None]:
        """Yield a batch's events, those from before and those to come, until it has ended."""
        return self._gateway.follow(_batch(id_), ENDS)

    async def pause(self, id_: str, reason: str = "") -> None:
        """Have a batch schedule no more jobs for now; ConflictError if all are scheduled, or it has ended."""
        await self._gateway.post(f"{_batch(id_)}/pause", CancelRequest(reason))

    async def resume(self, id_: str) -> None:
        """Have a paused batch go on; ConflictError if it has ended."""
        await self._gateway.post(f"{_batch(id_)}/resume")

    async def cancel(self, id_: str, reason: str = "") -> None:
        """Have a batch stopped: waiting jobs are withdrawn, running ones told; ConflictError if it has ended."""
        await self._gateway.post(f"{_batch(id_)}/cancel", CancelRequest(reason))

    async def change(
        self,
        id_: str,
        *,
        max_jobs_in_flight: int | None = None,
        max_bytes_in_flight: int | None = None,
        max_readers: int | None = None,
        tolerance: Tolerance | None = None,
    ) -> None:
        """Have a batch at work go on with other limits; what is None stays. ConflictError if it has ended."""
        request = ChangeRequest(
            max_jobs_in_flight=max_jobs_in_flight,
            max_bytes_in_flight=max_bytes_in_flight,
            max_readers=max_readers,
            tolerance=tolerance,
        )
        await self._gateway.patch(_batch(id_), request)

    async def redrive(
        self,
        id_: str,
        *,
        format: str | None = None,  # noqa: A002 - the word for it everywhere else, too
        options: dict[str, Any] | None = None,
        bad_rows: BadRows | None = None,
        tolerance: Tolerance | None = None,
        jobs: FailedJobs | None = None,
        rows: BadRowsAgain | None = None,
    ) -> None:
        """Have a batch go on that has failed, or completed with failures; what is None stays as it was.

        Reading goes on where it stopped, and the jobs that ended without success run again: all, or those that
        `jobs` describes. With `rows` the quarantined rows are read again, after their file or the options were
        mended; then no jobs run again but those that `jobs` describes: `FailedJobs()` for all that ended without
        success. What succeeded is not run again. In another
        format, or with other options, a file is read from its start, past as many rows as are in jobs.
        ConflictError if the batch is completed or cancelled, or if the format or the options are others and rows of
        a file may have been left out as bad.
        """
        request = RedriveRequest(
            format=format, options=options, bad_rows=bad_rows, tolerance=tolerance, jobs=jobs, rows=rows
        )
        await self._gateway.post(f"{_batch(id_)}/redrive", request)

    async def row(self, id_: str, row: int, file: str | None = None) -> RowView:
        """Return which job had a row, by its number from 0 in its file, and what became of it.

        The file may be left out where the batch has one, as a stream has. NotFoundError if no job had the row.
        """
        return await self._gateway.get(f"{_batch(id_)}/rows", RowView, file=file, row=row)

    async def bad_rows(self, id_: str, file: str | None = None) -> AsyncGenerator[BadRowView, None]:
        """Yield the quarantined rows of a batch, or of one of its files, asked for by the page."""
        async for page in self._gateway.pages(f"{_batch(id_)}/bad-rows", BadRowList, file=file, limit=PAGE):
            for row in page.bad_rows:
                yield row

    async def results(
        self,
        id_: str,
        *,
        format: ResultsFormat = "ndjson",  # noqa: A002 - the word for it everywhere else, too
        connection: str | None = None,
        path: str | None = None,
        origin_columns: bool = False,
        timeout: float | None = None,
    ) -> ResultsView:
        """Have the results of the jobs that succeeded written to a file, in order; return it when it is there.

        `path` is below the connection; without both the file is kept for `download_results`. With `origin_columns`
        each row says from which job, file and row it comes. The `manifest` says what is missing. RotaError with the
        reason if it fails, TimeoutError if it is not done after so many seconds.
        """
        request = ResultsRequest(format=format, connection=connection, path=path, origin_columns=origin_columns)
        async with limit(timeout, f"The collection of the results of batch {id_}"):
            return await results.collect(self._gateway, _batch(id_), request)

    async def download_results(
        self,
        id_: str,
        path: Path,
        *,
        format: ResultsFormat = "ndjson",  # noqa: A002 - the word for it everywhere else, too
        origin_columns: bool = False,
        collected: ResultsView | None = None,
    ) -> ResultsView:
        """Have results collected, and write them to a file of this machine: whole or not at all.

        Give as `collected` what `results` has returned to write those.
        """
        view = collected or await self.results(id_, format=format, origin_columns=origin_columns)
        await results.download(self._gateway, _batch(id_), view, path)
        return view

    async def _open(self, request: BatchRequest) -> str:
        return msgspec.json.decode(await self._gateway.post("/batches", request), type=BatchResponse).id

    async def _appender(self, id_: str) -> Appender:
        appender = Appender(self._gateway, id_)
        await appender.find_end()
        return appender


def _request(request: BatchRequest | None, fields: dict[str, Any]) -> BatchRequest:
    return request or BatchRequest(**{**fields, "spec": spec_name(fields["spec"])})


def _batch(id_: str) -> str:
    return f"/batches/{quote(id_, safe='')}"
