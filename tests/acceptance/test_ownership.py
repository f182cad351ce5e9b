"""Shards on another machine come and go while jobs go on: another process `actors`, with a Ray of its own."""

import asyncio
import os
import random
import secrets
import shutil
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest_asyncio

import rota
from events.catalog import encode
from events.ids import member, new_group
from events.jetstream.bus import Bus
from events.jetstream.ownership import ownership
from events.job import ScheduleJob
from events.subjects import PARTITIONS
from rota.jetstream import Connection
from rota.protocol import JobDetails, RetryPolicy
from scripts.stack import Service, Stack
from tests.acceptance.audit import assert_carried_out_once, assert_log_and_views_agree
from tests.acceptance.load import Load
from tests.acceptance.system import System, until

SHARDS = 2
SHARE = PARTITIONS * SHARDS // (SHARDS + 1)
"""So many partitions at least are those of the new shards, beside the one that is there."""
MOVE_SECONDS = 10.0
"""The partitions of a dead shard are somebody else's by then."""
PAUSE_SECONDS = 0.5

Pins = dict[int, str]


class Partitions:
    """The partitions as the server and their callers see them."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._bus = Bus(connection)

    async def pins(self) -> Pins:
        """Return what the server calls the owner of each partition."""
        return {number: (await ownership(self._connection, number)).pin for number in range(PARTITIONS)}

    async def moved(self, before: Pins) -> set[int]:
        """Return which partitions have another owner than before."""
        now = await self.pins()
        return {number for number in now if now[number] and now[number] != before[number]}

    async def until_shared(self, before: Pins) -> Pins:
        """Wait until the new shards have their share of the partitions, and return who has which."""
        await until(lambda: self.moved(before), lambda moved: len(moved) >= SHARE)

        async def settled() -> Pins | None:
            # Who has a partition is known once it has answered something.
            await self.answers()
            first = await self.pins()
            await self.answers()
            return first if await self.pins() == first else None

        return await until(settled, bool) or {}

    async def answers(self) -> dict[int, float]:
        """Have a job scheduled in each partition; return after how many seconds its owner has answered."""
        started = time.monotonic()

        async def ask(number: int) -> float:
            details = JobDetails(
                spec="add",
                queue="default",
                params=msgspec.Raw(encode({"a": number, "b": 0})),
                retry=RetryPolicy(max_attempts=1),
            )
            outcome = await self._bus.ask(ScheduleJob(id=_id_in(number), details=details), timeout=60)
            assert outcome, f"no answer of partition {number}"
            assert outcome.status == "done"
            return time.monotonic() - started

        seconds = await asyncio.gather(*(ask(number) for number in range(PARTITIONS)))
        return dict(enumerate(seconds))


@pytest_asyncio.fixture
async def partitions(system: System) -> AsyncIterator[Partitions]:
    async with await Connection.open(system.stack.nats_url, name="test of ownership") as connection:
        yield Partitions(connection)


@pytest_asyncio.fixture
async def load(system: System, client: rota.Client) -> AsyncIterator[Load]:
    """Have work asked for all the time; check in the end that all of it was done once."""
    stack = system.stack
    chance = random.Random(0)
    async with Load(stack.url, stack.nats_url, system.store, chance, pause_seconds=PAUSE_SECONDS) as load:
        yield load
    for id_ in load.accepted.batches:
        assert (await client.batches.wait(id_, timeout=60)).status == "completed"
    for id_ in load.accepted.workflows:
        await client.workflows.wait(id_, timeout=60)
    for id_ in load.accepted.jobs:
        await until(lambda id_=id_: client.get(id_), lambda view: view.ended_at is not None)  # type: ignore[misc] # mypy cannot infer a lambda with a default
    assert load.accepted.unanswered == []
    await assert_carried_out_once(stack.nats_url, load.accepted)
    await assert_log_and_views_agree(stack.nats_url, stack.home / "views.sqlite")


@asynccontextmanager
async def another_machine(system: System, home: Path) -> AsyncIterator[Stack]:
    """Run more shards for the same NATS server. The load goes on while they start."""
    shutil.copy(system.stack.home / "connections.toml", home)
    stack = Stack(home, nats_url=system.stack.nats_url, environment={"ROTA_SHARDS": str(SHARDS)})
    actors = Service("actors", [sys.executable, "-m", "actors"], stack.environment, home / "actors.log")
    stack.services["actors"] = actors

    async def ready() -> bool:
        return actors.ready

    actors.spawn()
    try:
        await until(ready, bool)
        yield stack
    finally:
        await asyncio.to_thread(stack.stop)


async def test_shards_join_and_leave_and_jobs_go_on(
    system: System, partitions: Partitions, load: Load, tmp_path: Path
) -> None:
    alone = await partitions.pins()
    async with another_machine(system, tmp_path) as other:
        shared = await partitions.until_shared(alone)
        accepted = len(load.accepted.jobs)
        assert await asyncio.to_thread(other.stop)
        seconds = await partitions.answers()
    moved = await partitions.moved(shared)
    print(f"{len(moved)} partitions moved; after a farewell they answered within {max(seconds.values()):.2f} s")  # noqa: T201
    assert len(moved) >= SHARE
    assert max(seconds.values()) < MOVE_SECONDS
    await until(lambda: _count(load), lambda count: count > accepted + 20)


async def test_partitions_of_killed_shards_are_soon_somebody_elses(
    system: System, partitions: Partitions, load: Load, tmp_path: Path
) -> None:
    alone = await partitions.pins()
    async with another_machine(system, tmp_path) as other:
        shared = await partitions.until_shared(alone)
        accepted = len(load.accepted.jobs)
        for pid in other.pids():
            os.kill(pid, signal.SIGKILL)
        seconds = await partitions.answers()
    moved = await partitions.moved(shared)
    print("seconds from the kill to the first answer of each partition:")  # noqa: T201
    for number, taken in seconds.items():
        print(f"  {number:2}  {taken:5.2f}  {'of a killed shard' if number in moved else ''}")  # noqa: T201
    assert len(moved) >= SHARE
    assert max(seconds.values()) < MOVE_SECONDS
    await until(lambda: _count(load), lambda count: count > accepted + 20)


async def _count(load: Load) -> int:
    return len(load.accepted.jobs)


def _id_in(partition: int) -> str:
    """Return a new id that falls into a partition."""
    while True:
        group = new_group(time.time_ns() // 1_000_000, secrets.token_bytes(10))
        if _fnv_1a(group.encode()) % PARTITIONS == partition:
            return member(group, 0)


def _fnv_1a(text: bytes) -> int:
    """Return the hash by which nats-server chooses partitions."""
    found = 0x811C9DC5
    for byte in text:
        found = (found ^ byte) * 0x01000193 & 0xFFFFFFFF
    return found
