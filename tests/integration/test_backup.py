"""A backup made while jobs run is put into an empty server, and all goes on from there."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

import rota
from events.jetstream.backup import _pause, backup, restore
from events.jetstream.topology import COMMANDS, EVENTS, PAYLOADS, WORK, prepare
from events.jetstream.work import mend
from events.job import CancelJob, ScheduleJob
from projections.rebuild import rebuild
from projections.runner import Runner
from projections.tables import Tables
from projections.views import Views
from rota.errors import IncompatibleError, NotFoundError
from rota.jetstream import Connection
from rota.jobs import Job
from rota.protocol import JobView, SucceedJob
from rota.worker import Worker
from scripts.stack import ROOT
from tests.integration.write_side import WAIT_SECONDS, WriteSide, details, nats_server, new_id, sharding


@asynccontextmanager
async def working(url: str, job: Job[Any, Any]) -> AsyncIterator[None]:
    worker = Worker([job], nats_url=url, name="w", concurrency=5)
    running = asyncio.create_task(worker.run(signals=False))
    try:
        yield
    finally:
        worker.stop()
        await asyncio.wait_for(running, WAIT_SECONDS)


def now() -> datetime:
    return datetime.now(UTC)


@pytest_asyncio.fixture(loop_scope="session")
async def servers(tmp_path: Path) -> AsyncIterator[tuple[tuple[str, WriteSide], tuple[str, Connection]]]:
    """Run two servers: one with the streams of Rota, the other empty."""
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    async with (
        nats_server(tmp_path / "old") as (_, old_url),
        nats_server(tmp_path / "new") as (_, new_url),
        await Connection.open(old_url, name="test") as old,
        await Connection.open(new_url, name="test") as new,
    ):
        await prepare(old)
        yield (old_url, WriteSide(old)), (new_url, new)


Servers = tuple[tuple[str, WriteSide], tuple[str, Connection]]


async def views(connection: Connection, path: Path) -> dict[str, JobView]:
    """Return the jobs at the end of the log, the same from views that were kept and from views made anew."""
    write_side = WriteSide(connection)
    with closing(Tables.open(path)) as tables:
        await Runner(write_side.log, tables).catch_up()
        with closing(Views.open(path)) as shown:
            kept = {job.id: job for job in shown.jobs(limit=10_000).jobs}
            await rebuild(write_side.log, path)
            assert {job.id: job for job in shown.jobs(limit=10_000).jobs} == kept
    return kept


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while not condition():
            await asyncio.sleep(0.01)


async def test_jobs_go_on_from_a_backup_that_was_made_while_they_ran(servers: Servers, tmp_path: Path) -> None:
    (old_url, old), (new_url, new) = servers
    runs: list[int] = []

    @rota.job
    async def note(number: int) -> int:
        runs.append(number)
        await asyncio.sleep(0.002)
        return number

    waits = [new_id() for _ in range(5)]
    async with sharding(old.connection), working(old_url, note):
        ids = [new_id() for _ in range(400)]
        commands = [
            ScheduleJob(id=id_, details=details("note", {"number": number})) for number, id_ in enumerate(ids)
        ]
        due = now() + timedelta(seconds=3)
        commands += [ScheduleJob(id=id_, details=details("note", {"number": 1}), run_at=due) for id_ in waits]
        for start in range(0, len(commands), 50):
            await old.bus.send(commands[start : start + 50])
        await until(lambda: len(runs) > 100)
        copied = await backup(old.connection, tmp_path / "backup", now)
    assert [one.stream for one in copied][:2] == [COMMANDS, EVENTS]
    assert not (tmp_path / "backup.part").exists()

    before = len(runs)
    restored, waiting = await restore(new, tmp_path / "backup")
    assert set(restored) == set(copied)
    assert 0 < waiting < 400
    await prepare(new)
    at_the_backup = await views(new, tmp_path / "views.sqlite")
    done = {id_ for id_, job in at_the_backup.items() if job.status == "succeeded"}
    assert len(done) > 50

    async with sharding(new), working(new_url, note):
        for id_ in [*ids, *waits]:
            await WriteSide(new).until(id_, "job.succeeded")

    jobs = await views(new, tmp_path / "views.sqlite")
    assert len(jobs) == 405
    assert {job.status for job in jobs.values()} == {"succeeded"}
    # No job that had ended by then ran again, and each that had not ran once.
    assert len(runs) - before <= 405 - len(done)


async def test_timers_and_rows_and_specs_are_in_it(servers: Servers, tmp_path: Path) -> None:
    (_, old), (_, new) = servers
    id_ = new_id()
    async with sharding(old.connection):
        await old.send(ScheduleJob(id=id_, details=details(), run_at=now() + timedelta(seconds=2)))
        await old.until(id_, "job.scheduled")
        await old.connection.publish("rota.payload.b.0.0.1", b"rows")
        await backup(old.connection, tmp_path / "backup", now)

    await restore(new, tmp_path / "backup")

    await prepare(new)
    message = await new.last(PAYLOADS, "rota.payload.b.0.0.1")
    assert message
    assert message.data == b"rows"
    async with sharding(new):
        assert (await WriteSide(new).until(id_, "job.queued"))[-1].originator_version == 2
        await WriteSide(new).until_messages(1, WORK)


async def test_work_that_was_done_is_not_handed_out_again(servers: Servers, tmp_path: Path) -> None:
    (_, old), (_, new) = servers
    running, ended, cancelled, reported = (new_id() for _ in range(4))
    async with sharding(old.connection):
        for id_ in (running, ended, cancelled, reported):
            await old.send(ScheduleJob(id=id_, details=details()))
        run: dict[str, Any] = {"attempt": 1, "delivery": 1, "worker": "w", "started_at": now()}
        await old.send(SucceedJob(id=ended, result=rota.protocol.Result(), **run), CancelJob(id=cancelled))
        await old.until(ended, "job.succeeded")
        await old.until(cancelled, "job.cancelled")
        await old.until(reported, "job.queued")
    await old.send(SucceedJob(id=reported, result=rota.protocol.Result(), **run))
    await backup(old.connection, tmp_path / "backup", now)

    _, waiting = await restore(new, tmp_path / "backup")

    assert waiting == 1
    await prepare(new)
    info = await new.call(f"STREAM.INFO.{WORK}", {"subjects_filter": ">"})
    assert list(info["state"]["subjects"]) == [f"rota.work.default.normal.add.{running}"]
    async with sharding(new):
        await WriteSide(new).until(reported, "job.succeeded")
        later = await WriteSide(new).schedule()
        await WriteSide(new).until_messages(2, WORK)
        await WriteSide(new).until_messages(1, WORK, f"rota.work.default.normal.add.{later}")


async def test_work_and_timers_that_a_power_cut_has_cost_are_made_anew(servers: Servers) -> None:
    (_, old), _ = servers
    waits, later, ended = (new_id() for _ in range(3))
    async with sharding(old.connection):
        due = now() + timedelta(seconds=2)
        await old.send(ScheduleJob(id=waits, details=details()), ScheduleJob(id=ended, details=details()))
        await old.send(ScheduleJob(id=later, details=details(), run_at=due), CancelJob(id=ended))
        for id_, tag in ((waits, "job.queued"), (later, "job.scheduled"), (ended, "job.cancelled")):
            await old.until(id_, tag)
    await old.connection.call(f"STREAM.DELETE.{WORK}")
    await old.connection.call(f"STREAM.PURGE.{COMMANDS}")
    with pytest.raises(IncompatibleError, match=r"ROTA_WORK is missing, and the log has jobs.*\./scripts/mend"):
        await prepare(old.connection)

    assert await mend(old.connection) == (1, 1)

    await prepare(old.connection)
    await old.until_messages(1, WORK, f"rota.work.default.normal.add.{waits}")
    async with sharding(old.connection):
        await old.until(later, "job.queued")
        await old.until_messages(2, WORK)
        assert await mend(old.connection) == (2, 0)


async def test_commands_go_on_when_a_backup_was_stopped(servers: Servers, tmp_path: Path) -> None:
    (_, old), _ = servers
    async with sharding(old.connection):
        with pytest.raises(FileNotFoundError):
            await backup(old.connection, tmp_path / "no folder" / "backup", now)
        copying = asyncio.create_task(backup(old.connection, tmp_path / "backup", now))
        while not (tmp_path / "backup.part").exists():
            await asyncio.sleep(0)
        copying.cancel()
        await asyncio.wait([copying])

        id_ = await old.schedule()
        await old.until(id_, "job.queued")
    assert not (tmp_path / "backup.part").exists()


async def test_commands_go_on_by_themselves_when_a_backup_was_killed(servers: Servers) -> None:
    (_, old), _ = servers
    async with sharding(old.connection):
        await _pause(old.connection, now() + timedelta(seconds=1))
        paused_at = now()
        id_ = await old.schedule()
        (event,) = await old.until(id_, "job.queued")
    assert event.at - paused_at > timedelta(seconds=0.5)


async def test_a_server_that_has_streams_of_rota_takes_no_backup(servers: Servers, tmp_path: Path) -> None:
    (_, old), _ = servers
    await backup(old.connection, tmp_path / "backup", now)

    with pytest.raises(IncompatibleError, match="has streams of Rota already: ROTA_COMMANDS, ROTA_EVENTS"):
        await restore(old.connection, tmp_path / "backup")


async def test_what_is_no_whole_backup_is_told_apart(servers: Servers, tmp_path: Path) -> None:
    (_, old), (_, new) = servers
    path = tmp_path / "backup"
    await backup(old.connection, path, now)
    path.write_bytes(path.read_bytes()[:-100])

    with pytest.raises(IncompatibleError, match="is no whole backup of Rota"):
        await restore(new, path)
    with pytest.raises(NotFoundError, match="has no streams of Rota"):
        await backup(new, path, now)


async def test_the_scripts_make_a_backup_and_put_it_back(servers: Servers, tmp_path: Path) -> None:
    (old_url, old), _ = servers
    async with sharding(old.connection):
        id_ = await old.schedule()
        await old.until(id_, "job.queued")
    home = tmp_path / "home"
    environment = os.environ | {"ROTA_HOME": str(home), "ROTA_NATS_PORT": "0"}

    async def script(name: str, **more: str) -> str:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            f"scripts.{name}",
            *([] if name == "mend" else [str(tmp_path / "file")]),
            cwd=ROOT,
            env=environment | more,
            stdout=PIPE,
            stderr=PIPE,
        )
        output, errors = await process.communicate()
        assert (process.returncode, errors) == (0, b"")
        return output.decode()

    assert "ROTA_EVENTS" in await script("backup", ROTA_NATS_URL=old_url)
    assert "1 jobs wait for workers" in await script("restore")
    with closing(Tables.open(home / "views.sqlite")) as tables:
        assert tables.advance([], after=0, until=1000) == 1000
    said = await script("mend")
    assert "1 jobs wait for workers, 0 for their time" in said
    assert "The log has lost its end: the views are made anew" in said
