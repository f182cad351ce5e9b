"""Whole batches, read from files and streamed in, while everything is killed (-9) at random, their clients too.

Some of their jobs fail and are redriven, and results are collected: in the view, the log and the file of results
there is each row once.
"""

import asyncio
import json
import os
import random
import secrets
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

import rota
from events.catalog import AnyEvent
from events.job import JobQueued, JobSucceeded
from rota.protocol import ENDED_BATCH, Rows
from scripts.dataset import as_csv
from scripts.demo import until_known
from scripts.stack import Service, Stack, free_port
from scripts.store import Store
from scripts.workers import start_workers
from tests.acceptance import kinds
from tests.acceptance.audit import assert_log_and_views_agree, history
from tests.acceptance.system import Http
from tests.acceptance.test_streams_over_http import WRITERS

CRASHES = int(os.environ.get("ROTA_BATCH_CRASHES", "25"))
SEED = int(os.environ.get("ROTA_CRASH_SEED") or secrets.randbits(32))
MEAN_SECONDS = 0.5
LOOK_SECONDS = 0.2
ROWS = 3_000
ROWS_PER_JOB = 40
IN_FLIGHT = 12
JOB_SECONDS = 0.2
PATIENCE_SECONDS = 120.0
WEIGHTS = {"client": 8, "gateway": 6, "reader": 5, "shard": 4, "worker": 3, "projections": 2, "nats-server": 2}
STREAMS: dict[str, dict[str, Any]] = {
    "ndjson": {"format": "ndjson"},
    "csv": {"format": "csv", "seconds_per_job": 0.3, "rows_per_job": 200},
    "messagepack": {"format": "messagepack"},
    "arrow": {"format": "arrow", "rows_per_job": None, "bytes_per_job": 4_000},
}


class Clients:
    """Processes that stream data in, each started again until it has sealed its batch."""

    def __init__(self, url: str, chance: random.Random, log: Path) -> None:
        self._url, self._chance, self._log = url, chance, log
        self._services: list[Service] = []

    def add(self, batch: str, file: Path) -> None:
        command = [sys.executable, "-m", "tests.acceptance.stream_client", self._url, batch, str(file)]
        command.append(str(self._chance.random()))
        service = Service(batch, command, dict(os.environ), self._log, says_ready=False)
        service.start()
        self._services.append(service)

    @property
    def pids(self) -> list[int]:
        return [service.process.pid for service in self._services if service.alive]

    def keep(self) -> bool:
        """Start again those that were killed; say whether all are done."""
        for service in self._services:
            if not service.alive and service.process.returncode:
                service.spawn()
        return not self.pids


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stack, Store, list[Service]]]:
    home = tmp_path_factory.mktemp("rota")
    (home / "s3").mkdir()
    with Store(home / "s3") as store:
        (home / "connections.toml").write_text(store.connection("lake"))
        with Stack(home, nats_port=0, port=free_port(), environment={"ROTA_SHARDS": "2"}) as stack:
            options = ("--concurrency", "60", "--lease-seconds", "3")
            workers = start_workers(
                2, stack.nats_url, home, stack.environment, module=kinds.__name__, options=options
            )
            yield stack, store, workers
            for worker in workers:
                worker.stop()


@pytest.mark.timeout(400)
async def test_whatever_is_killed_each_row_is_in_the_view_the_log_and_the_results_once(
    place: tuple[Stack, Store, list[Service]], tmp_path: Path
) -> None:
    print(f"seed {SEED}")  # noqa: T201 - to see the same again
    stack, store, workers = place
    chance = random.Random(SEED)
    async with rota.Client(stack.url, patience_seconds=60) as client:
        await until_known(client, set(kinds.__all__))
        table = numbered(ROWS)
        refused = sorted(chance.sample(range(ROWS), 6))
        request: dict[str, Any] = {
            "spec": "fussy",
            "rows_per_job": ROWS_PER_JOB,
            "max_jobs_in_flight": IN_FLIGHT,
            "params": {
                "refused": refused,
                "mended": str(tmp_path / "mended"),
                "runs": str(tmp_path / "runs"),
                "seconds": JOB_SECONDS,
            },
        }
        clients = Clients(stack.url, chance, tmp_path / "clients.log")
        batches: dict[str, str] = {}
        for name, fields in STREAMS.items():
            file = tmp_path / f"data.{name}"
            file.write_bytes(WRITERS[name](table))
            id_ = await client.batches.open(stream={}, **{**request, **fields})
            clients.add(id_, file)
            batches[id_] = f"{name} streamed"
        files = []
        for number in range(3):
            part = table.slice(number * ROWS // 3, ROWS // 3)
            files.append(await asyncio.to_thread(store.put, f"crashes/{number}.csv", as_csv(part)))
        batches[await client.batches.open(connection="lake", files=files, max_readers=3, **request)] = "files"
        killer = Killer(stack, workers, clients, chance)
        keeping = asyncio.create_task(killer.keep())
        started = time.monotonic()
        try:
            await killer.kill()
            (tmp_path / "mended").touch()
            for id_, name in batches.items():
                await until_ended(client, id_, name)
                view = await client.batches.get(id_)
                if view.status == "completed_with_failures":
                    await client.batches.redrive(id_)
                    await killer.kill_one()
                    await until_completed(client, id_, name)
        finally:
            keeping.cancel()
            await asyncio.wait([keeping])
            killer.keep_now()
        print(f"{time.monotonic() - started:.0f} s: {killer.killed.total()} kills {dict(killer.killed)}")  # noqa: T201
        assert clients.keep()
        async with aiohttp.ClientSession(stack.url) as session:
            for id_, name in batches.items():
                await assert_each_row_once(client, Http(session), id_, name)
    events = await history(stack.nats_url)
    for id_, name in batches.items():
        assert_jobs_follow_each_other(events, id_, name, 3 if name == "files" else 1)
    await assert_log_and_views_agree(stack.nats_url, stack.home / "views.sqlite")


class Killer:
    """Kills what it finds at random moments, while `keep` starts it again."""

    def __init__(self, stack: Stack, workers: list[Service], clients: Clients, chance: random.Random) -> None:
        self._stack, self._workers, self._clients, self._chance = stack, workers, clients, chance
        self.killed: Counter[str] = Counter()

    async def keep(self) -> None:
        while True:
            self.keep_now()
            await asyncio.sleep(LOOK_SECONDS)

    def keep_now(self) -> None:
        self._stack.keep()
        self._clients.keep()
        for worker in self._workers:
            if not worker.alive:
                worker.spawn()

    async def kill(self) -> None:
        for _ in range(CRASHES):
            await asyncio.sleep(self._chance.expovariate(1 / MEAN_SECONDS))
            await self.kill_one()

    async def kill_one(self) -> None:
        found = {role: pids for role in WEIGHTS if (pids := self._pids(role))}
        [role] = self._chance.choices(list(found), [WEIGHTS[role] for role in found])
        with suppress(ProcessLookupError):
            os.kill(self._chance.choice(found[role]), signal.SIGKILL)
            self.killed[role] += 1

    def _pids(self, role: str) -> list[int]:
        match role:
            case "client":
                return self._clients.pids
            case "reader":
                return self._stack.actor_pids("ReaderHost")
            case "shard":
                return self._stack.actor_pids("ShardHost")
            case "worker":
                return [worker.process.pid for worker in self._workers if worker.alive]
            case _:
                service = self._stack.services[role]
                return [service.process.pid] if service.alive else []


def numbered(count: int) -> Any:
    """Return rows that are known by their ids, with all the columns that the writers want."""
    import pyarrow as pa  # noqa: PLC0415

    ids = list(range(count))
    return pa.table({"id": ids, "cents": ids, "note": [f"n{n}" for n in ids]})


async def until_ended(client: rota.Client, id_: str, name: str) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (view := await client.batches.get(id_)).status not in ENDED_BATCH:
            await asyncio.sleep(LOOK_SECONDS)
    assert view.status.startswith("completed"), (name, view)


async def until_completed(client: rota.Client, id_: str, name: str) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (view := await client.batches.get(id_)).status != "completed":
            assert view.status in ("completed_with_failures", "sealed"), (name, view)
            await asyncio.sleep(LOOK_SECONDS)


async def assert_each_row_once(client: rota.Client, http: Http, id_: str, name: str) -> None:
    """Check that view and results have each row once."""
    view = await client.batches.get(id_)
    assert (view.status, view.rows, view.bad_rows) == ("completed", ROWS, 0), name
    counts = {state: count for state, count in view.jobs.items() if count}
    assert counts == {"succeeded": counts["total"], "total": counts["total"]}, name
    found = await client.batches.results(id_)
    assert found.manifest is not None
    body = await http.download(f"/batches/{id_}/results/{found.id}/file")
    ids = [json.loads(line)["value"] for line in body.splitlines()]
    # In order, since the rows come in the order of their files, and each job's in theirs.
    assert ids == list(range(ROWS)), name
    assert (found.manifest.rows, found.manifest.jobs["total"]) == (ROWS, counts["total"]), name


def assert_jobs_follow_each_other(events: list[AnyEvent], id_: str, name: str, files: int) -> None:
    """Check that the log has each job once, each begins where the one before ends, and each succeeded once."""
    found: dict[str, Rows] = {}
    for event in events:
        if isinstance(event, JobQueued) and event.details.rows and event.details.rows.batch == id_:
            assert found.setdefault(event.originator_id, event.details.rows) == event.details.rows
    for number in range(files):
        rows = sorted((one for one in found.values() if one.file_index == number), key=lambda one: one.index)
        assert [one.index for one in rows] == list(range(len(rows))), name
        assert [one.first_row for one in rows] == [sum(one.count for one in rows[:n]) for n in range(len(rows))], (
            name
        )
        assert sum(one.count for one in rows) == ROWS // files, name
    ended = [event.originator_id for event in events if isinstance(event, JobSucceeded) and event.batch == id_]
    assert sorted(ended) == sorted(found), name
