"""Clients that ask Rota for all kinds of work, all the time, and note what was accepted and what must follow."""

import asyncio
import json
import random
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Self

import msgspec
import nats
from nats.aio.client import Client as NatsClient
from nats.errors import Error as NatsError

import rota
from rota.errors import ConflictError, UnavailableError
from rota.protocol import JobRequest
from scripts.dataset import as_csv, orders
from scripts.store import Store
from tests.acceptance.workflow_load import ExpectedWorkflow, random_workflow

FILE = "load.csv"
ROWS = 1000
ROWS_PER_JOB = 50
CONNECTION = "lake"
REQUEST = "request"
"""The label that tells which request a job is for: each request makes one job, however often it is repeated."""
PATIENCE_SECONDS = 60.0
NATS_SECONDS = 5.0


class Accepted(msgspec.Struct):
    """What was asked for with success: for each job its result, or None where somebody tried to cancel it."""

    jobs: dict[str, int | None] = {}
    batches: list[str] = []
    workflows: dict[str, ExpectedWorkflow] = {}
    unanswered: list[str] = []
    """Requests of which it is not known whether they were carried out, each with the reason."""


class Load:
    """Runs clients as long as it is entered. Each of them asks, waits for the answer, and pauses for a moment."""

    def __init__(
        self, url: str, nats_url: str, store: Store, chance: random.Random, *, pause_seconds: float
    ) -> None:
        self._url = url
        self._nats_url = nats_url
        self._store = store
        self._chance = chance
        self._pause_seconds = pause_seconds
        self._requests = 0
        self._name = secrets.token_hex(4)
        self.accepted = Accepted()

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._store.put, FILE, as_csv(orders(ROWS)))
        self._client = await rota.Client(self._url, patience_seconds=PATIENCE_SECONDS).__aenter__()
        self._nats = await connect(self._nats_url)
        self._stopping = asyncio.Event()
        asks: list[tuple[Callable[[], Awaitable[None]], float]] = [
            (self._one, 1),
            (self._one, 1),
            (self._keyed, 2),
            (self._list, 2),
            (self._cancelled, 2),
            (self._stumbling, 2),
            (self._delayed, 2),
            (self._over_nats, 1),
            (self._batch, 60),
            (self._workflow, 2),
        ]
        self._tasks = [asyncio.create_task(self._repeat(ask, pause), name=ask.__name__) for ask, pause in asks]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop asking; what was asked by then gets its answer."""
        self._stopping.set()
        results = await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._client.__aexit__(None, None, None)
        await self._nats.close()
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def _repeat(self, ask: Callable[[], Awaitable[None]], pauses: float) -> None:
        while not self._stopping.is_set():
            try:
                await ask()
            except UnavailableError as error:
                self.accepted.unanswered.append(f"{ask.__name__}: {error} ({error.__cause__!r})")
            with suppress(TimeoutError):
                async with asyncio.timeout(self._chance.expovariate(1 / (pauses * self._pause_seconds))):
                    await self._stopping.wait()

    def _labels(self) -> dict[str, str]:
        self._requests += 1
        return {REQUEST: f"{self._name} {self._requests}"}

    def _numbers(self) -> tuple[dict[str, int], int]:
        a, b = self._chance.randrange(1000), self._chance.randrange(1000)
        return {"a": a, "b": b}, a + b

    async def _one(self) -> None:
        params, expected = self._numbers()
        id_ = await self._client.schedule("add", params, labels=self._labels())
        self.accepted.jobs[id_] = expected

    async def _keyed(self) -> None:
        """Ask for one job several times at once."""
        params, expected = self._numbers()
        labels = self._labels()
        key = labels[REQUEST]
        asked = (self._client.schedule("add", params, key=key, labels=labels) for _ in range(3))
        ids = set(await asyncio.gather(*asked))
        assert len(ids) == 1
        self.accepted.jobs[ids.pop()] = expected

    async def _list(self) -> None:
        numbers = [self._numbers() for _ in range(self._chance.randrange(2, 20))]
        jobs = [JobRequest(spec="add", params=params, labels=self._labels()) for params, _ in numbers]
        ids = await self._client.schedule_many(jobs)
        self.accepted.jobs.update(zip(ids, (expected for _, expected in numbers), strict=True))

    async def _cancelled(self) -> None:
        """Have a job cancelled that waits for its time, or runs, or has just ended."""
        params = {"seconds": self._chance.random()}
        delay = self._chance.choice([0, 1])
        id_ = await self._client.schedule("sleep", params, delay_seconds=delay, labels=self._labels())
        self.accepted.jobs[id_] = None
        await asyncio.sleep(self._chance.random() * 2)
        with suppress(ConflictError):
            await self._client.cancel(id_, "changed my mind")

    async def _stumbling(self) -> None:
        times = self._chance.choice([1, 2])
        id_ = await self._client.schedule("stumble", {"times": times}, labels=self._labels())
        self.accepted.jobs[id_] = times + 1

    async def _delayed(self) -> None:
        params, expected = self._numbers()
        delay = self._chance.random() * 5
        id_ = await self._client.schedule("add", params, delay_seconds=delay, labels=self._labels())
        self.accepted.jobs[id_] = expected

    async def _over_nats(self) -> None:
        """Ask by a plain NATS request, once."""
        params, expected = self._numbers()
        request = {"spec": "add", "params": params, "labels": self._labels()}
        try:
            answer = await self._nats.request(
                "rota.api.job.schedule", json.dumps(request).encode(), timeout=NATS_SECONDS
            )
        except (NatsError, TimeoutError) as error:
            raise UnavailableError("The service has not answered") from error
        body: dict[str, Any] = json.loads(answer.data)
        if "ids" not in body:
            raise UnavailableError(str(body))
        [id_] = body["ids"]
        self.accepted.jobs[id_] = expected

    async def _batch(self) -> None:
        id_ = await self._client.batches.open(
            spec="tally", connection=CONNECTION, files=[FILE], rows_per_job=ROWS_PER_JOB
        )
        self.accepted.batches.append(id_)

    async def _workflow(self) -> None:
        flow, expected = random_workflow(self._chance, self._labels())
        self.accepted.workflows[await self._client.workflows.schedule(flow)] = expected


async def connect(url: str) -> NatsClient:
    """Connect as anybody may, and for good: the server may go and come back."""

    async def ignore(_: Exception) -> None:
        """Let nats-py not print what is expected here."""

    return await nats.connect(url, max_reconnect_attempts=-1, reconnect_time_wait=0.1, error_cb=ignore)
