"""The client: schedules work over HTTP, asks about it and waits for it.

For example:

    async with rota.Client("http://127.0.0.1:8080") as client:
        job = await client.schedule("add", {"a": 1, "b": 2})
        print(await client.wait(job))

Everything that it can raise stands in `rota.errors`.
"""

import os
from collections.abc import AsyncGenerator, Sequence
from typing import Any, Self
from urllib.parse import quote

import msgspec

from rota.batches import Batches
from rota.dead_letters import DeadLetters
from rota.errors import JobFailedError
from rota.http import DEFAULT_URL, LONG_POLL_SECONDS, Event, Gateway
from rota.jobs import Job, spec_name
from rota.patience import limit
from rota.protocol import (
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
from rota.workflows import Workflows

Filter = str | Sequence[str] | None
"""One value, or several of which any will do; None lets all pass."""


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
        self.workflows = Workflows(self._gateway)

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
        job = JobRequest(spec=spec_name(spec), params=params or {}, **options)
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
        workflow: str | None = None,
        page_size: int = 100,
    ) -> AsyncGenerator[JobView, None]:
        """Yield all jobs that these describe, newest first, asked for by the page."""
        chosen = {"status": status, "queue": queue, "spec": spec, "batch": batch, "workflow": workflow}
        async for page in self._gateway.pages("/jobs", JobList, **chosen, limit=page_size):
            for job in page.jobs:
                yield job

    async def wait(self, id_: str, timeout: float | None = None) -> Any:
        """Return a job's result when it has one.

        Raises JobFailedError if it ends without success, with `job`, `status` and `error` (a JobFault, or None)
        as its facts, and TimeoutError if it has not ended after so many seconds.
        """
        async with limit(timeout, f"Job {id_}"):
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


def _job(id_: str) -> str:
    return f"/jobs/{quote(id_, safe='')}"
