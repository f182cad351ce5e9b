"""Readers, shards and nats-server are killed (-9) at random while files of each format are read from each source.

No row is lost, none is in two jobs, and the jobs are those of a reading that nobody disturbs. A run reads each
format once, and more often until it has killed enough; from which source depends on the seed. With
`ROTA_READER_PAIRS=all` it reads each format from each source, which takes some minutes.
"""

import asyncio
import os
import random
import secrets
import time
from collections.abc import AsyncIterator, Iterator

import msgspec
import pytest
import pytest_asyncio

import rota
from actors.deaths import MAX_DEATHS
from events.batch import FileFailed, RowsQuarantined
from events.catalog import AnyEvent
from events.formats import FORMATS
from events.job import JobQueued, JobSucceeded
from rota.batch_protocol import BatchView
from rota.options import CsvOptions
from scripts.demo import until_known
from scripts.stack import Stack, free_port
from scripts.workers import start_workers
from tests.acceptance import kinds
from tests.acceptance.audit import assert_log_and_views_agree, history
from tests.acceptance.deadly_site import DEADLY, DeadlySite
from tests.acceptance.reader_killer import ReaderKiller
from tests.acceptance.served import Served
from tests.acceptance.undisturbed import JobRows, Plan, case_of, plan_of
from tests.contract.formats.case import rows_of

ALL_PAIRS = os.environ.get("ROTA_READER_PAIRS") == "all"
CRASHES = int(os.environ.get("ROTA_READER_CRASHES", "12"))
SEED = int(os.environ.get("ROTA_CRASH_SEED") or secrets.randbits(32))
MEAN_SECONDS = 0.4
JOBS = 60
"""About so many in a batch."""
IN_FLIGHT = 8
JOB_SECONDS = 0.3
PATIENCE_SECONDS = 120.0


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("served")) as served:
        yield served


@pytest.fixture(scope="module")
def site() -> Iterator[DeadlySite]:
    with DeadlySite() as site:
        yield site


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, served: Served, site: DeadlySite) -> Iterator[Stack]:
    home = tmp_path_factory.mktemp("rota")
    (home / "connections.toml").write_text(served.connections() + site.connection("deadly"))
    with Stack(home, nats_port=0, port=free_port(), environment={"ROTA_SHARDS": "2"}) as stack:
        site.stack = stack
        options = ("--concurrency", "100", "--lease-seconds", "3")
        [worker] = start_workers(1, stack.nats_url, home, stack.environment, module=kinds.__name__, options=options)
        yield stack
        worker.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def client(stack: Stack) -> AsyncIterator[rota.Client]:
    async with rota.Client(stack.url, patience_seconds=60) as client:
        await until_known(client, set(kinds.__all__))
        yield client


def plans() -> list[Plan]:
    """Return the batches: one of each format, a directory of many files, and a file with bad rows."""
    csv = case_of("csv")
    small = {f"small/{n:02}.csv": csv.write(rows_of(40, first=40 * n)) for n in range(60)}
    bad = b"id,name\n" + b"".join(b"x%d,a\n" % n if n % 50 == 7 else b"%d,a\n" % n for n in range(10_000))
    typed = CsvOptions(column_types={"id": "int64"})
    return [
        *(plan_of(format_, JOBS) for format_ in FORMATS),
        Plan(
            name="a directory",
            format="csv",
            files=small,
            rows_per_job=20,
            options=csv.options,
            request={"files": ["small/"], "max_readers": 4},
        ),
        Plan(
            name="bad rows",
            format="csv",
            files={"bad.csv": bad},
            rows_per_job=100,
            options=typed,
            bad_rows="quarantine",
        ),
    ]


class Lane:
    """One source, from which one batch after another is read."""

    def __init__(self, client: rota.Client, served: Served, source: str) -> None:
        self._client = client
        self._source = source
        self.port = served.servers[source].port
        self.reading = ""
        self.batches: dict[str, Plan] = {}

    async def read(self, plan: Plan) -> None:
        self.reading = f"{plan.name} by {self._source}"
        batch = await self._client.batches.open(
            spec="trace",
            connection=self._source,
            max_jobs_in_flight=IN_FLIGHT,
            params={"seconds": JOB_SECONDS},
            **plan.fields,
        )
        self.batches[batch] = plan
        await self._client.batches.wait(batch, timeout=PATIENCE_SECONDS)
        self.reading = ""


@pytest.mark.timeout(1200 if ALL_PAIRS else 300)
async def test_whatever_is_killed_while_files_are_read_their_jobs_are_the_same(
    stack: Stack, client: rota.Client, served: Served
) -> None:
    print(f"seed {SEED}")  # noqa: T201 - to see the same again
    chance = random.Random(SEED)
    turns, more = plans(), plans()
    for plan in turns:
        for name, body in plan.files.items():
            served.put(name, body)
    chance.shuffle(turns)
    chance.shuffle(more)
    lanes = [Lane(client, served, source) for source in served.servers]
    killer = ReaderKiller(
        stack, chance, CRASHES, lambda: {lane.port: lane.reading for lane in lanes if lane.reading}
    )
    started = time.monotonic()

    async def read(lane: Lane) -> None:
        if ALL_PAIRS:
            for plan in chance.sample(turns, len(turns)):
                await lane.read(plan)
            return
        while turns or (more and killer.killed.total() < CRASHES):
            await lane.read((turns or more).pop())

    disturbing = [asyncio.create_task(killer.keep()), asyncio.create_task(killer.kill(MEAN_SECONDS))]
    try:
        await asyncio.gather(*map(read, lanes))
    finally:
        for task in reversed(disturbing):
            task.cancel()
        await asyncio.wait(disturbing)
        stack.keep()
    batches = {batch: plan for lane in lanes for batch, plan in lane.batches.items()}
    print(  # noqa: T201 - what a failure is looked at with
        f"{time.monotonic() - started:.0f} s: {killer.killed.total()} kills {dict(killer.killed)}; "
        f"{len(batches)} batches, each killed so often: {dict(killer.hits)}"
    )
    await assert_undisturbed(stack, client, batches)


async def assert_undisturbed(stack: Stack, client: rota.Client, batches: dict[str, Plan]) -> None:
    """Check that log and views have of each batch what its files give when nobody is killed."""
    events = await history(stack.nats_url)
    found = jobs_in(events)
    total = 0
    for batch, plan in batches.items():
        expected = plan.jobs(batch)
        mine = {id_: rows for id_, rows in found.items() if id_.startswith(f"{batch}_")}
        if plan.format == "raw":
            mine = {id_: msgspec.structs.replace(rows, sha256="") for id_, rows in mine.items()}
        assert mine == expected, plan.name
        rows = sum(job.count for job in expected.values())
        view = await client.batches.get(batch)
        counts = {state: count for state, count in view.jobs.items() if count}
        kept = sum(map(len, plan.faults().values())) if plan.bad_rows == "quarantine" else 0
        end = ("completed_with_failures", f"{kept} rows are in quarantine") if kept else ("completed", None)
        assert (view.status, view.error, view.rows) == (*end, rows), plan.name
        assert counts == {"succeeded": len(expected), "total": len(expected)}, plan.name
        assert_bad_rows_once(events, batch, plan, view)
        total += rows
    await assert_log_and_views_agree(stack.nats_url, stack.home / "views.sqlite")
    print(f"{total:,} rows in {len(found):,} jobs")  # noqa: T201


def jobs_in(events: list[AnyEvent]) -> dict[str, JobRows]:
    """Return the jobs of all batches as their workers saw them; each has ended once, and none is missing."""
    ended = [event for event in events if isinstance(event, JobSucceeded)]
    found = {event.originator_id: msgspec.msgpack.decode(event.result.value, type=JobRows) for event in ended}
    assert len(found) == len(ended)
    assert set(found) == {event.originator_id for event in events if isinstance(event, JobQueued)}
    return found


def assert_bad_rows_once(events: list[AnyEvent], batch: str, plan: Plan, view: BatchView) -> None:
    """Check that each bad row is kept once, with what is wrong with it."""
    if plan.bad_rows != "quarantine":
        return
    kept: dict[int, list[str]] = {}
    for event in events:
        if isinstance(event, RowsQuarantined) and event.originator_id == batch:
            messages = kept.setdefault(event.file_index, [])
            assert event.bad_before == len(messages)
            messages += [fault.message for fault in event.faults]
    assert kept == plan.faults()
    assert [file.bad_rows for file in view.files] == [len(kept[number]) for number in range(len(plan.files))]


async def test_a_file_that_ends_each_of_its_readers_is_given_up_by_its_name_and_harms_no_other(
    stack: Stack, client: rota.Client, served: Served, site: DeadlySite
) -> None:
    """It is so wherever the file is among others, and however many readers there are."""
    other = Lane(client, served, "s3")
    undisturbed = asyncio.create_task(other.read(plan_of("ndjson", JOBS)))
    await asyncio.gather(*(assert_given_up(stack, client, site, *where) for where in ((0, 1), (2, 1), (2, 4))))
    await undisturbed
    await assert_undisturbed(stack, client, other.batches)


async def assert_given_up(stack: Stack, client: rota.Client, site: DeadlySite, place: int, readers: int) -> None:
    """Check what becomes of a batch of four files of which one is deadly."""
    names = [f"{place}-{readers}-{number}.csv" for number in range(4)]
    names[place] = deadly = f"{place}-{readers}-{DEADLY}.csv"
    site.files |= {name: case_of("csv").write(rows_of(2_000)) for name in names}
    batch = await client.batches.open(
        spec="trace",
        connection="deadly",
        files=names,
        rows_per_job=100,
        max_readers=readers,
        max_jobs_in_flight=IN_FLIGHT,
        params={"seconds": 0.05},
    )
    view = await client.batches.wait(batch, timeout=PATIENCE_SECONDS)
    reason = f"{deadly}: reading it has ended the process of its reader {MAX_DEATHS} times"
    assert (view.status, view.error) == ("failed", reason)
    events = [event for event in await history(stack.nats_url) if event.originator_id == batch]
    assert [event.file_index for event in events if isinstance(event, FileFailed)] == [place]
    # The batch's own reader may have been the first.
    assert MAX_DEATHS <= site.kills[deadly] <= MAX_DEATHS + 1
