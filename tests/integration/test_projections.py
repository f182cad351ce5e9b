"""The projections on a log of their own: each test has a real nats-server with an empty store."""

import asyncio
import os
import shutil
import signal
import sqlite3
import subprocess
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio

from events.catalog import encode
from events.jetstream.log import Append, Log, Recorded
from events.jetstream.topology import prepare
from events.job import JobQueued, JobSucceeded
from projections.rebuild import rebuild
from projections.runner import Runner
from projections.tables import SCHEMA_VERSION, Tables
from projections.views import Views
from rota.errors import IncompatibleError, UnavailableError
from rota.jetstream import Connection
from rota.protocol import JobDetails, Payload, Result, Rows
from scripts.stack import ROOT, free_port, port_in_use, program
from tests.integration.write_side import projections_process

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
ROWS = Rows("b", "a.csv", 0, 0, 0, 1, Payload("rota.payload.x", 1, ""))
DETAILS = JobDetails(spec="add", queue="sums", params=msgspec.Raw(encode({"a": 1})), rows=ROWS)


def queued(id_: str) -> JobQueued:
    return JobQueued(originator_id=id_, originator_version=1, at=NOW, attempt=1, details=DETAILS)


def succeeded(id_: str) -> JobSucceeded:
    return JobSucceeded(
        originator_id=id_,
        originator_version=2,
        at=NOW,
        attempt=1,
        batch="b",
        worker="w",
        started_at=NOW,
        result=Result(),
    )


class Place:
    """A folder with a nats-server, a connection to it, and room for the views."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.path = home / "views.sqlite"
        self.port = free_port()
        self.environment = os.environ | {
            "ROTA_HOME": str(home),
            "ROTA_NATS_URL": f"nats://127.0.0.1:{self.port}",
            "ROTA_NATS_PORT": str(self.port),
            "ROTA_NATS_STORE": str(home / "nats"),
        }
        self.nats: subprocess.Popen[bytes]
        self.connection: Connection
        self.log: Log

    async def start_nats(self) -> None:
        with (self.home / "nats.log").open("ab") as log:
            command = [program("nats-server"), "-c", str(ROOT / "nats.conf")]
            self.nats = subprocess.Popen(command, env=self.environment, stderr=log)  # noqa: ASYNC220 - returns at once
        await until(lambda: port_in_use("127.0.0.1", self.port))

    async def restart_nats(self, *, lose_store: bool) -> None:
        self.kill_nats()
        if lose_store:
            shutil.rmtree(self.home / "nats")
        await self.start_nats()
        await until(lambda: self.connection.client.is_connected)

    def kill_nats(self) -> None:
        self.nats.kill()
        self.nats.wait()

    async def connect(self) -> None:
        self.connection = await Connection.open(self.environment["ROTA_NATS_URL"], name="test")
        await prepare(self.connection)
        self.log = Log(self.connection)

    async def queue(self, *ids: str) -> int:
        """Append jobs; return the sequence of the last."""
        return (await self.log.append([Append("job", id_, 0, [queued(id_)]) for id_ in ids]))[-1]

    async def catch_up(self) -> None:
        with closing(Tables.open(self.path)) as tables:
            await Runner(self.log, tables).catch_up()

    def projections(self, *arguments: str) -> AbstractAsyncContextManager[Process]:
        return projections_process(self.environment, *arguments)


@pytest_asyncio.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    place = Place(tmp_path)
    await place.start_nats()
    try:
        await place.connect()
        yield place
        await place.connection.close()
    finally:
        place.kill_nats()


@asynccontextmanager
async def running(place: Place) -> AsyncIterator[Views]:
    """Run a runner over the views, and show them."""
    with closing(Tables.open(place.path)) as tables, closing(Views.open(place.path)) as views:
        task = asyncio.create_task(Runner(place.log, tables).run())
        try:
            yield views
        finally:
            task.cancel()
            await asyncio.wait([task])


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what a file shows, which tells nobody when it changes."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


def ids(views: Views) -> list[str]:
    return [view.id for view in views.jobs(limit=100_000).jobs]


async def test_the_views_follow_the_log(place: Place) -> None:
    async with running(place) as views:
        sequence = await place.queue("j-1", "j-2")
        await until(lambda: views.position() == sequence)
        assert ids(views) == ["j-2", "j-1"]

        sequence = await place.queue("j-3")
        await until(lambda: views.position() == sequence)
        assert ids(views) == ["j-3", "j-2", "j-1"]


async def test_catching_up_with_an_empty_log_is_over_at_once(place: Place) -> None:
    await place.catch_up()

    with closing(Views.open(place.path)) as views:
        assert (views.position(), ids(views)) == (0, [])


async def test_a_body_that_is_no_event_is_logged_with_its_place_and_left_out(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    await place.queue("j-1")
    await place.connection.publish("rota.event.job.j-1.succeeded", b"\x81\xa4type\xadjob.forgotten")
    await place.queue("j-2")
    await place.connection.publish("rota.event.job.j-2.succeeded", b"no MessagePack")

    await place.catch_up()

    with closing(Views.open(place.path)) as views:
        assert (views.position(), ids(views)) == (4, ["j-2", "j-1"])
    assert [record.getMessage().partition(" is no event")[0] for record in caplog.records] == [
        "message 2 on rota.event.job.j-1.succeeded",
        "message 4 on rota.event.job.j-2.succeeded",
    ]


async def test_the_runner_goes_on_when_nats_is_back(place: Place) -> None:
    async with running(place) as views:
        sequence = await place.queue("j-1")
        await until(lambda: views.position() == sequence)

        await place.restart_nats(lose_store=False)
        sequence = await place.queue("j-2")

        await until(lambda: views.position() == sequence)
        assert ids(views) == ["j-2", "j-1"]


async def test_views_of_a_log_that_is_gone_are_made_anew_at_the_start(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    await place.queue("j-1", "j-2")
    await place.catch_up()
    await place.restart_nats(lose_store=True)
    await prepare(place.connection)
    await place.queue("j-3")

    await place.catch_up()

    with closing(Views.open(place.path)) as views:
        assert (views.position(), ids(views)) == (1, ["j-3"])
    assert "the views stand at 2 of a log" in caplog.text


async def test_views_of_a_log_that_is_gone_are_made_anew_while_the_runner_runs(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(place) as views:
        await place.queue("j-1", "j-2")
        await until(lambda: views.position() == 2)

        await place.restart_nats(lose_store=True)
        await prepare(place.connection)
        await place.queue("j-3", "j-4", "j-5")

        await until(lambda: ids(views) == ["j-5", "j-4", "j-3"])
    assert "the views stand at 2 of a log" in caplog.text


async def test_runners_that_share_the_views_do_not_take_what_others_folded_for_a_log_that_is_gone(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    await place.catch_up()
    url = place.environment["ROTA_NATS_URL"]
    async with running(place), await Connection.open(url, name="another") as connection:
        appending = asyncio.create_task(_append_many(place))
        with closing(Tables.open(place.path)) as tables:
            while not appending.done():
                await Runner(Log(connection), tables).catch_up()
        await appending
    assert "made anew" not in caplog.text


async def _append_many(place: Place) -> None:
    for number in range(1000):
        await place.queue(f"job-{number}")


async def test_a_rebuild_puts_new_views_in_place_of_damaged_ones_while_others_read_and_write(place: Place) -> None:
    async with running(place) as views:
        await place.queue("j-1", "j-2")
        await until(lambda: views.position() == 2)
        with closing(sqlite3.connect(place.path)) as damage, damage:
            damage.execute("DELETE FROM jobs WHERE id = 'j-1'")
        assert ids(views) == ["j-2"]

        assert await rebuild(place.log, place.path) == 2
        assert ids(views) == ["j-2", "j-1"]

        sequence = await place.queue("j-3")
        await until(lambda: views.position() == sequence)
        assert ids(views) == ["j-3", "j-2", "j-1"]
    assert sorted(path.name for path in place.home.glob("*rebuild*")) == []


async def test_the_runner_goes_back_when_older_views_are_put_in_place(place: Place) -> None:
    old = place.home / "old.sqlite"
    await place.queue("j-1")
    with closing(Tables.open(old)) as tables:
        await Runner(place.log, tables).catch_up()
    await place.queue("j-2")
    async with running(place) as views:
        await until(lambda: views.position() == 2)
        with closing(Tables.open(old)) as older, closing(Tables.open(place.path)) as tables:
            tables.replace(older)
        assert ids(views) == ["j-1"]

        await place.queue("j-3")

        await until(lambda: ids(views) == ["j-3", "j-2", "j-1"])


async def test_the_process_is_ready_at_the_end_of_the_log_and_stops_by_a_signal(place: Place) -> None:
    await place.queue("j-1", "j-2")

    async with place.projections() as process:
        assert process.stdout
        assert await process.stdout.readline() == b"ready\n"
        with closing(Views.open(place.path)) as views:
            assert views.position() == 2
        process.send_signal(signal.SIGTERM)
        output, errors = await process.communicate()

    assert (process.returncode, output, errors) == (0, b"", b"")


async def test_the_process_rebuilds(place: Place) -> None:
    await place.queue("j-1", "j-2")

    async with place.projections("rebuild") as process:
        output, errors = await process.communicate()

    assert (process.returncode, output, errors) == (0, b"rebuilt to 2\n", b"")
    with closing(Views.open(place.path)) as views:
        assert ids(views) == ["j-2", "j-1"]


async def test_without_nats_the_process_says_what_to_do(place: Place) -> None:
    await place.connection.close()
    place.kill_nats()

    async with place.projections() as process:
        output, errors = await process.communicate()

    assert (process.returncode, output) == (1, b"")
    assert errors.startswith(b"projections: No NATS server answers at")
    assert errors.count(b"\n") == 1


async def test_a_process_killed_while_it_folds_loses_and_doubles_nothing(place: Place) -> None:
    jobs = [f"j-{number}" for number in range(10_000)]
    for start in range(0, len(jobs), 500):
        some = jobs[start : start + 500]
        last = await place.log.append([Append("job", id_, 0, [queued(id_)]) for id_ in some])
        ends = zip(some, last, strict=True)
        await place.log.append([Append("job", id_, expected, [succeeded(id_)]) for id_, expected in ends])

    with closing(Tables.open(place.path)), closing(Views.open(place.path)) as views:
        async with place.projections() as process:
            await until(lambda: views.position() > 0)
            process.kill()
            await process.wait()
        assert 0 < views.position() < 2 * len(jobs)

        await place.catch_up()

        assert views.position() == 2 * len(jobs)
        assert {view.id: view.status for view in views.jobs(limit=len(jobs)).jobs} == dict.fromkeys(
            jobs, "succeeded"
        )
    with closing(sqlite3.connect(place.path)) as tables:
        assert tables.execute("SELECT status, count FROM batch_jobs WHERE count > 0").fetchall() == [
            ("succeeded", len(jobs))
        ]


EVENTS = [Recorded(1, queued("j-1")), Recorded(2, succeeded("j-1")), Recorded(3, queued("j-2"))]


@pytest.fixture
def tables(tmp_path: Path) -> Iterator[Tables]:
    with closing(Tables.open(tmp_path / "views.sqlite")) as tables:
        yield tables


def jobs_in_states(path: Path) -> dict[str, str]:
    with closing(Views.open(path / "views.sqlite")) as views:
        return {view.id: view.status for view in views.jobs().jobs}


def test_an_event_that_comes_again_changes_nothing(tables: Tables, tmp_path: Path) -> None:
    tables.advance(EVENTS[:2], after=0, until=2)

    assert tables.advance(EVENTS[:1], after=0, until=1) == 2
    assert jobs_in_states(tmp_path) == {"j-1": "succeeded"}
    assert tables.advance(EVENTS, after=0, until=3) == 3
    assert jobs_in_states(tmp_path) == {"j-1": "succeeded", "j-2": "queued"}


def test_events_after_a_gap_are_not_folded(tables: Tables, tmp_path: Path) -> None:
    assert tables.advance(EVENTS[2:], after=2, until=3) == 0
    assert jobs_in_states(tmp_path) == {}


def test_rows_and_position_are_stored_together_or_not_at_all(tables: Tables, tmp_path: Path) -> None:
    def interrupted() -> Iterator[Recorded]:
        yield EVENTS[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tables.advance(interrupted(), after=0, until=3)
    assert (tables.position, jobs_in_states(tmp_path)) == (0, {})

    with closing(sqlite3.connect(tmp_path / "views.sqlite", isolation_level=None)) as other:
        other.execute("CREATE TRIGGER full BEFORE UPDATE ON log BEGIN SELECT raise(ABORT, 'disk'); END")
        with pytest.raises(sqlite3.IntegrityError):
            tables.advance(EVENTS, after=0, until=3)
        assert (tables.position, jobs_in_states(tmp_path)) == (0, {})


def test_tables_of_another_version_are_emptied_and_not_shown_before(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "views.sqlite"
    with closing(sqlite3.connect(path)) as old:
        old.execute("CREATE TABLE jobs (id)")
        old.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    with pytest.raises(UnavailableError, match="another version"):
        Views.open(path)

    Tables.open(path).close()

    assert jobs_in_states(tmp_path) == {}
    assert "they are made anew" in caplog.text


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "views.sqlite"
    path.write_bytes(b"x" * 5000)

    with pytest.raises(IncompatibleError, match=r"views\.sqlite cannot be opened .* remove it"):
        Tables.open(path)


def test_views_that_nobody_has_made_yet_are_unavailable_and_not_made_by_the_reader(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="do the projections run"):
        Views.open(tmp_path / "views.sqlite")
    assert list(tmp_path.iterdir()) == []


def test_views_can_be_read_when_no_projections_run(tmp_path: Path) -> None:
    with closing(Tables.open(tmp_path / "views.sqlite")) as tables:
        tables.advance(EVENTS, after=0, until=3)

    assert jobs_in_states(tmp_path) == {"j-1": "succeeded", "j-2": "queued"}
