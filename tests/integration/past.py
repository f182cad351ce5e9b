"""What the tests of replay and audit share: a log of their own with a known past, and the command line on it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from events.base import Event, Origin
from events.batch import BatchCompleted, BatchDetails, BatchFailed, BatchOpened, BatchRedriven, BatchSealed
from events.catalog import KINDS, encode
from events.jetstream.log import Append, Log
from events.jetstream.topology import prepare
from events.job import JobFailed, JobQueued, JobStarted, JobSucceeded
from projections.runner import Runner
from projections.tables import Tables
from rota.cli import main
from rota.jetstream import Connection
from rota.protocol import JobDetails, JobFault, Payload, Result, Rows
from scripts.stack import Service
from tests.integration.write_side import nats_server

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
EMPTY = msgspec.Raw(encode({}))


class Past:
    """A nats-server with a log of its own, and views of it in a file."""

    def __init__(self, server: Service, url: str, connection: Connection, home: Path) -> None:
        self.server = server
        self.url = url
        self.connection = connection
        self.home = home
        self.views = home / "views.sqlite"
        self.log = Log(connection)
        self._last: dict[tuple[str, str], int] = {}

    async def store(self, *events: Event) -> list[int]:
        """Store events, each by itself and in this order; return their sequences."""
        stored = []
        for event in events:
            kind, id_ = identity = KINDS[type(event)], event.originator_id
            append = Append(kind, id_, self._last.get(identity, 0), [event])
            [self._last[identity]] = await self.log.append([append])
            stored.append(self._last[identity])
        return stored

    async def store_many(self, count: int) -> None:
        """Store the first events of so many jobs."""
        for start in range(0, count, 1000):
            ids = [f"many-{number}" for number in range(start, min(start + 1000, count))]
            await self.log.append([Append("job", id_, 0, [queued(id_)]) for id_ in ids])

    async def fold(self) -> None:
        """Bring the views to the end of the log."""
        with closing(Tables.open(self.views)) as tables:
            await Runner(self.log, tables).catch_up()


class Terminal:
    """The command line, with what it prints."""

    def __init__(self, past: Past, capsys: pytest.CaptureFixture[str]) -> None:
        self._url = past.url
        self._capsys = capsys

    async def __call__(self, *arguments: str) -> tuple[int, str, str]:
        """Return exit status, output and error output."""
        # In a thread, since it runs an event loop of its own.
        status = await asyncio.to_thread(main, [*arguments, "--nats-url", self._url])
        return status, *self._capsys.readouterr()


@asynccontextmanager
async def past_in(home: Path) -> AsyncIterator[Past]:
    async with nats_server(home) as (server, url), await Connection.open(url, name="test") as connection:
        await prepare(connection)
        yield Past(server, url, connection, home)


def origin(correlation: str, cause: str = "", caller: str = "http:127.0.0.1") -> Origin:
    return Origin(command_id="7", caller=caller, causation_id=cause, correlation_id=correlation)


def queued(
    id_: str, version: int = 1, *, queue: str = "sums", batch: str | None = None, second: int = 0
) -> JobQueued:
    rows = Rows(batch, "a.csv", 0, 0, 0, 1, Payload("rota.payload.x", 1, "")) if batch else None
    details = JobDetails(spec="add", queue=queue, params=EMPTY, rows=rows)
    return JobQueued(
        originator_id=id_,
        originator_version=version,
        at=NOON + timedelta(seconds=second),
        attempt=1,
        details=details,
        origin=origin(batch, f"{batch}.1", "reader") if batch else origin(id_.partition("-")[0]),
    )


def started(id_: str, version: int = 2) -> JobStarted:
    return JobStarted(
        originator_id=id_, originator_version=version, at=NOON, attempt=1, worker="w", started_at=NOON
    )


def succeeded(id_: str, version: int = 2, *, batch: str | None = None, second: int = 0) -> JobSucceeded:
    return JobSucceeded(
        originator_id=id_,
        originator_version=version,
        at=NOON + timedelta(seconds=second),
        attempt=1,
        batch=batch,
        worker="w",
        started_at=NOON,
        result=Result(),
        origin=origin(batch or id_.partition("-")[0], f"{id_}.1", "worker:w"),
    )


def failed(id_: str, version: int = 2) -> JobFailed:
    fault = JobFault("ValueError", "no")
    return JobFailed(
        originator_id=id_, originator_version=version, at=NOON, attempt=1, worker="w", started_at=NOON, fault=fault
    )


def a_batch(id_: str) -> Sequence[Event]:
    """Return the events of a batch with two jobs, and theirs."""
    details = BatchDetails(
        spec="add", queue="sums", files=("a.csv",), rows_per_job=1, max_jobs_in_flight=10, params=EMPTY
    )
    facts = {"originator_id": id_, "at": NOON}
    one, two = f"{id_}_0-0", f"{id_}_0-1"
    mine = origin(id_, f"{id_}.1", "reader")
    return [
        BatchOpened(originator_version=1, details=details, origin=origin(id_), **facts),  # type: ignore[arg-type] # facts of two types
        queued(one, batch=id_),
        queued(two, batch=id_),
        succeeded(one, batch=id_),
        BatchSealed(originator_version=2, rows=2, jobs=2, origin=mine, **facts),  # type: ignore[arg-type] # as above
        succeeded(two, batch=id_),
        BatchCompleted(originator_version=3, succeeded=2, failed=0, origin=mine, **facts),  # type: ignore[arg-type] # as above
    ]


def a_redriven_batch(id_: str) -> list[Event]:
    """Return the events of a batch that failed, was redriven, and is completed, all without a job."""
    details = BatchDetails(
        spec="add", queue="sums", files=("a.csv",), rows_per_job=1, max_jobs_in_flight=10, params=EMPTY
    )
    facts = {"originator_id": id_, "at": NOON}
    mine = origin(id_, f"{id_}.1", "reader")
    return [
        BatchOpened(originator_version=1, details=details, origin=origin(id_), **facts),  # type: ignore[arg-type] # facts of two types
        BatchFailed(originator_version=2, reason="away", origin=mine, **facts),  # type: ignore[arg-type] # as above
        BatchRedriven(originator_version=3, origin=origin(id_), **facts),  # type: ignore[arg-type] # as above
        BatchSealed(originator_version=4, rows=0, jobs=0, origin=mine, **facts),  # type: ignore[arg-type] # as above
        BatchCompleted(originator_version=5, succeeded=0, failed=0, origin=mine, **facts),  # type: ignore[arg-type] # as above
    ]
