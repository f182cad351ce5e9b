"""The client: schedules work over HTTP, asks about it and waits for it.

For example:

    async with rota.Client("http://127.0.0.1:8080") as client:
        job = await client.schedule("add", {"a": 1, "b": 2})
        print(await client.wait(job))

Everything that it can raise stands in `rota.errors`.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Self
from urllib.parse import quote

import msgspec

from rota.batch_protocol import BatchRequest, BatchResponse, BatchView, RedriveRequest
from rota.dead_letters import DeadLetters
from rota.errors import JobFailedError
from rota.http import DEFAULT_URL, LONG_POLL_SECONDS, Event, Gateway
from rota.jobs import Job
from rota.options import BadRows
from rota.protocol import (
    ENDED_BATCH,
    ENDED_JOB,
    CancelRequest,
    JobFault,
    JobList,
    JobRequest,
    JobStatus,
    JobView,
    QueueView,
    ScheduleRequest,
    ScheduleResponse,
    SpecView,
)
from rota.stream import stream

Filter = str | Sequence[str] | None
"""One value, or several of which any will do; None lets all pass."""

VIEW_LAG_SECONDS = 0.05


class QueueList(msgspec.Struct, frozen=True):
    """All queues."""

    queues: list[QueueView]


class SpecList(msgspec.Struct, frozen=True):
    """All job specs."""

    specs: list[SpecView]


class Outcome(msgspec.Struct, frozen=True):
    """How a job ended, or its status so far."""

    id: str
    status: JobStatus
    result: Any = None
    error: JobFault | None = None


class Client:
    """Rota as its callers see it, over HTTP.

    `url` is the gateway's address, or else ROTA_URL's, or else this machine's. Each request is repeated for up
    to `patience_seconds` while the gateway cannot be reached. Every method may raise the errors of
    `rota.errors`.
    """

    def __init__(self, url: str | None = None, *, patience_seconds: float = 5.0) -> None:
        self._gateway = Gateway(url or os.environ.get("ROTA_URL") or DEFAULT_URL, patience_seconds)
        self.batches = Batches(self._gateway)
        self.dead_letters = DeadLetters(self._gateway)

    async def __aenter__(self) -> Self:
        self._gateway.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._gateway.close()

    async def schedule(
        self, spec: str | Job[..., Any], /, params: dict[str, Any] | None = None, **options: Any
    ) -> str:
        """Schedule a job and return its id; when it returns, the job is stored.

        `options` are those of JobRequest: queue, retry, timeout_seconds, delay_seconds, run_at, key, labels.
        """
        job = JobRequest(spec=_name(spec), params=params or {}, **options)
        (id_,) = await self._schedule(job)
        return id_

    async def schedule_many(self, jobs: Sequence[JobRequest]) -> list[str]:
        """Schedule all of the jobs or none, and return their ids in the same order."""
        return await self._schedule(ScheduleRequest(list(jobs)))

    async def get(self, id_: str) -> JobView:
        """Return what is known of a job."""
        return await self._gateway.get(_job(id_), JobView)

    async def jobs(
        self,
        *,
        status: JobStatus | None = None,
        queue: str | None = None,
        spec: str | None = None,
        batch: str | None = None,
        page_size: int = 100,
    ) -> AsyncGenerator[JobView, None]:
        """Yield all jobs that these describe, newest first, asked for by the page."""
        chosen = {"status": status, "queue": queue, "spec": spec, "batch": batch}
        after = None
        while True:
            page = await self._gateway.get("/jobs", JobList, **chosen, limit=page_size, after=after)
            for job in page.jobs:
                yield job
            if not (after := page.next):
                return

    async def wait(self, id_: str, timeout: float | None = None) -> Any:
        """Return a job's result when it has one.

        Raises JobFailedError if it ends without success, with `job`, `status` and `error` (a JobFault, or None)
        as its facts, and TimeoutError if it has not ended after so many seconds.
        """
        async with _limit(timeout, f"Job {id_}"):
            outcome = await self._outcome(id_)
            while outcome.status not in ENDED_JOB:
                outcome = await self._outcome(id_)
        if outcome.status == "succeeded":
            return outcome.result
        error = outcome.error
        reason = f", {error.type}: {error.message}" if error else ""
        raise JobFailedError(
            f"Job {id_} ended as {outcome.status}{reason}", job=id_, status=outcome.status, error=error
        )

    def watch(self, id_: str) -> AsyncGenerator[Event, None]:
        """Yield a job's events, those from before and those to come, until it has ended."""
        return self._gateway.follow(_job(id_), {f"job.{status}" for status in ENDED_JOB})

    def events(
        self,
        *,
        job: Filter = None,
        batch: Filter = None,
        workflow: Filter = None,
        queue: Filter = None,
        spec: Filter = None,
        type: Filter = None,  # noqa: A002 - the word for it everywhere else, too
        after: int | None = None,
    ) -> AsyncGenerator[Event, None]:
        """Yield the events that fit all of these, as they happen, or from after a sequence on (0: all there are).

        A type is like `job.queued` or `job.*`; `batch` stands for its own events and its jobs'. For one job or
        one batch alone it ends when that does, else never. Lost connections are made again, and nothing is lost;
        where the log itself has lost events, one of the type `gap` says so.
        """
        filters = {"job": job, "batch": batch, "workflow": workflow, "queue": queue, "spec": spec, "type": type}
        given = {
            name: [values] if isinstance(values, str) else list(values)
            for name, values in filters.items()
            if values is not None
        }
        return stream(self._gateway, given, after)

    async def history(self, id_: str) -> list[Event]:
        """Return a job's events until now."""
        return [event async for event in self._gateway.follow(_job(id_))]

    async def cancel(self, id_: str, reason: str = "") -> None:
        """Have a job cancelled; ConflictError if it has ended by then."""
        await self._gateway.post(f"{_job(id_)}/cancel", CancelRequest(reason))

    async def queues(self) -> list[QueueView]:
        """Return the queues that have or had jobs, by name."""
        return (await self._gateway.get("/queues", QueueList)).queues

    async def specs(self) -> list[SpecView]:
        """Return all job specs."""
        return (await self._gateway.get("/specs", SpecList)).specs

    async def _schedule(self, body: JobRequest | ScheduleRequest) -> list[str]:
        return msgspec.json.decode(await self._gateway.post("/schedule", body), type=ScheduleResponse).ids

    async def _outcome(self, id_: str) -> Outcome:
        return await self._gateway.get(f"{_job(id_)}/result", Outcome, wait=LONG_POLL_SECONDS)


class Batches:
    """The batches of a client: files that Rota reads and cuts into jobs."""

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
          `skip`, or `quarantine` (left out, and kept with its place and the reason in a `batch.rows_quarantined`).
        - `rows_per_job` (1000), `max_jobs_in_flight` (2000), `max_readers` (4 files at a time).
        - `params`, `queue`, `retry`, `timeout_seconds`, `labels`: as for a job, for each job of the batch.
        - `key`: idempotency key; the same spec and key again are the same batch.
        """
        if request is None:
            request = BatchRequest(spec=_name(fields.pop("spec")), **fields)
        return msgspec.json.decode(await self._gateway.post("/batches", request), type=BatchResponse).id

    async def redrive(
        self,
        id_: str,
        *,
        format: str | None = None,  # noqa: A002 - the word for it everywhere else, too
        options: dict[str, Any] | None = None,
        bad_rows: BadRows | None = None,
    ) -> None:
        """Have the reading of a failed batch go on where it stopped; what is None stays as it was.

        Rows that are in jobs stay there and run once. In another format, or with other options, a file is read from
        its start, past as many rows as are in jobs. A batch that has not failed stays as it is. ConflictError if it
        is completed, or if the format or the options are others and rows of a file may have been left out as bad.
        """
        request = RedriveRequest(format=format, options=options, bad_rows=bad_rows)
        await self._gateway.post(f"{_batch(id_)}/redrive", request)

    async def get(self, id_: str) -> BatchView:
        """Return what is known of a batch: its files with their formats and bad rows, and its jobs by state."""
        return await self._gateway.get(_batch(id_), BatchView)

    async def wait(self, id_: str, timeout: float | None = None) -> BatchView:
        """Return the batch when it has ended; TimeoutError if it has not after so many seconds.

        It has ended when its files are read and its jobs have ended, or when it failed: see its `status`, and
        in `jobs` how many have not succeeded.
        """
        async with _limit(timeout, f"Batch {id_}"):
            async for _ in self.watch(id_):
                pass
            # A view follows its events; no event tells of it.
            while (view := await self.get(id_)).status not in ENDED_BATCH:
                await asyncio.sleep(VIEW_LAG_SECONDS)
            return view

    def watch(self, id_: str) -> AsyncGenerator[Event, None]:
        """Yield a batch's events, those from before and those to come, until it has ended."""
        return self._gateway.follow(_batch(id_), {f"batch.{status}" for status in ENDED_BATCH})


def _name(spec: str | Job[..., Any]) -> str:
    return spec if isinstance(spec, str) else spec.name


def _job(id_: str) -> str:
    return f"/jobs/{quote(id_, safe='')}"


def _batch(id_: str) -> str:
    return f"/batches/{quote(id_, safe='')}"


@asynccontextmanager
async def _limit(seconds: float | None, what: str) -> AsyncGenerator[None, None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise TimeoutError(f"{what} has not ended after {seconds:g} seconds") from None
