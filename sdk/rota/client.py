"""The client: schedules work over HTTP, asks about it and waits for it.

async with rota.Client("http://127.0.0.1:8080") as client:
    job = await client.schedule("add", {"a": 1, "b": 2})
    print(await client.wait(job))
"""

import asyncio
import logging
import os
import re
import secrets
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Self, TypeVar
from urllib.parse import quote

import aiohttp
import msgspec

from rota.errors import BY_SLUG, InvalidRequestError, JobFailedError, Problem, RotaError, UnavailableError
from rota.jobs import Job
from rota.protocol import (
    ENDED_BATCH,
    ENDED_JOB,
    BatchRequest,
    BatchResponse,
    BatchView,
    CancelRequest,
    JobFault,
    JobList,
    JobRequest,
    JobStatus,
    JobView,
    ScheduleRequest,
    ScheduleResponse,
    SpecView,
)

DEFAULT_URL = "http://127.0.0.1:8080"
CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 30.0
LONG_POLL_SECONDS = 30
"""How long the gateway holds a question open until there is news; below what proxies usually cut off."""
FIRST_PAUSE_SECONDS = 0.1
VIEW_LAG_SECONDS = 0.05

T = TypeVar("T")
Event = dict[str, Any]
"""An event as JSON has it: `type`, `id`, `version`, `at`, `sequence`, and the fields of its type."""

log = logging.getLogger("rota.client")


class ProblemDocument(msgspec.Struct, frozen=True):
    """What the gateway says of an error (RFC 9457)."""

    type: str = "about:blank"
    title: str = ""
    detail: str = ""
    errors: list[Problem] = []


class EventList(msgspec.Struct, frozen=True):
    """Events of one job or batch, oldest first."""

    events: list[Event]


class SpecList(msgspec.Struct, frozen=True):
    """All job specs."""

    specs: list[SpecView]


class Outcome(msgspec.Struct, frozen=True):
    """How a job ended, or its status so far."""

    id: str
    status: JobStatus
    result: Any = None
    error: JobFault | None = None


class Gateway:
    """Requests to one gateway. They may all be repeated, and are while it cannot be reached.

    A GET changes nothing, and a POST carries an Idempotency-Key of its own, so that what was done before its
    answer was lost is not done again.
    """

    def __init__(self, url: str, patience_seconds: float) -> None:
        self._url = url.rstrip("/")
        self._shown = re.sub("//.*@", "//", self._url)
        """The address without a password, for messages."""
        self._patience_seconds = patience_seconds
        self._session: aiohttp.ClientSession | None = None

    def open(self) -> None:
        """Make ready for requests; nothing is sent yet."""
        self._session = aiohttp.ClientSession()

    async def close(self) -> None:
        """Close the connections."""
        if self._session:
            await self._session.close()
        self._session = None

    async def get(self, path: str, answer: type[T], **query: str | float | None) -> T:
        """Ask, and return the answer; what is None is left out of the query."""
        given = {name: value for name, value in query.items() if value is not None}
        return msgspec.json.decode(await self._patiently("GET", path, params=given), type=answer)

    async def post(self, path: str, body: Any) -> bytes:
        """Have something done, once; return the answer."""
        headers = {"Content-Type": "application/json", "Idempotency-Key": secrets.token_hex(16)}
        return await self._patiently("POST", path, data=msgspec.json.encode(body), headers=headers)

    async def follow(self, path: str, ends: Iterable[str] | None = None) -> AsyncGenerator[Event, None]:
        """Yield all events there are; with `ends` go on as they happen, up to one of these types."""
        after = 0
        while True:
            wait = LONG_POLL_SECONDS if ends else None
            page = await self.get(f"{path}/events", EventList, after=after, wait=wait)
            for event in page.events:
                yield event
                after = event["version"]
                if ends and event["type"] in ends:
                    return
            if not ends and not page.events:
                return

    async def _patiently(self, method: str, path: str, **options: Any) -> bytes:
        clock = asyncio.get_running_loop().time
        deadline = clock() + self._patience_seconds
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                return await self._send(method, path, **options)
            except UnavailableError as error:
                if clock() + pause > deadline:
                    raise
                log.info("%s; trying again", error)
                await asyncio.sleep(pause)
                pause *= 2

    async def _send(self, method: str, path: str, **options: Any) -> bytes:
        if self._session is None:
            raise RuntimeError("The client is not open: use `async with rota.Client() as client`")
        waits = options.get("params", {}).get("wait", 0)
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS + waits, connect=CONNECT_SECONDS)
        try:
            async with self._session.request(method, self._url + path, timeout=timeout, **options) as response:
                body = await response.read()
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError) as error:
            raise InvalidRequestError(
                f"{self._shown} is not the address of a gateway: it is like {DEFAULT_URL}"
            ) from error
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise UnavailableError(
                f"No gateway answers at {self._shown}. Start one with ./scripts/up, or set ROTA_URL to its address."
            ) from error
        except (aiohttp.ClientError, TimeoutError) as error:
            raise UnavailableError(
                f"The gateway at {self._shown} did not finish its answer ({type(error).__name__}); "
                "whether it did what was asked is not known"
            ) from error
        if response.ok and response.content_type == "application/json":
            return body
        raise self._refusal(response, body)

    def _refusal(self, response: aiohttp.ClientResponse, body: bytes) -> RotaError:
        """Return the error that an answer stands for."""
        if response.content_type == "application/problem+json":
            document = msgspec.json.decode(body, type=ProblemDocument)
            slug = re.split("[/:#]", document.type)[-1]
            return BY_SLUG.get(slug, RotaError)(document.detail or document.title, problems=document.errors)
        if response.status in {502, 503, 504}:  # from a proxy
            return UnavailableError(f"The gateway behind {self._shown} cannot be reached ({response.status})")
        return RotaError(
            f"{response.url} answered {response.status} {response.reason} ({response.content_type}), "
            "as no gateway of Rota does. Is the address right?"
        )


class Client:
    """Rota as its callers see it, over HTTP.

    `url` is the gateway's address, or else ROTA_URL's, or else this machine's. Each request is repeated for up
    to `patience_seconds` while the gateway cannot be reached. Every method may raise the errors of
    `rota.errors`.
    """

    def __init__(self, url: str | None = None, *, patience_seconds: float = 5.0) -> None:
        self._gateway = Gateway(url or os.environ.get("ROTA_URL") or DEFAULT_URL, patience_seconds)
        self.batches = Batches(self._gateway)

    async def __aenter__(self) -> Self:
        self._gateway.open()
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

    async def history(self, id_: str) -> list[Event]:
        """Return a job's events until now."""
        return [event async for event in self._gateway.follow(_job(id_))]

    async def cancel(self, id_: str, reason: str = "") -> None:
        """Have a job cancelled; ConflictError if it has ended by then."""
        await self._gateway.post(f"{_job(id_)}/cancel", CancelRequest(reason))

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

        Give a BatchRequest or its fields: spec, files, connection, rows_per_job, params and so on.
        """
        if request is None:
            request = BatchRequest(spec=_name(fields.pop("spec")), **fields)
        return msgspec.json.decode(await self._gateway.post("/batches", request), type=BatchResponse).id

    async def get(self, id_: str) -> BatchView:
        """Return what is known of a batch: its files, rows, and jobs by state."""
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
