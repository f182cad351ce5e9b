"""Partitions and their owners: shared out among the shards that live, and had by one at a time."""

import asyncio
import random
import secrets
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any

import pytest

from actors.handler import Handler
from actors.members import Members
from actors.partition import Partition
from actors.role_registry import roles
from actors.shard import Shard
from events.base import Origin
from events.ids import group_of
from events.jetstream.dead_letters import DeadLetters
from events.jetstream.ownership import ownership
from events.jetstream.requests import Asked, read_delivered
from events.jetstream.topology import COMMANDS
from events.job import ReleaseJob, ScheduleJob
from events.subjects import PARTITIONS
from rota.jetstream import ACK, Connection, Msg
from rota.protocol import FailJob, JobFault, Result, RetryPolicy, SucceedJob
from tests.integration.write_side import WAIT_SECONDS, WriteSide, details, new_id, sharding

MOVE_SECONDS = 10
"""A dead shard's partitions are somebody else's after this."""


async def until(holds: Callable[[], Awaitable[bool]] | Callable[[], bool], seconds: float = WAIT_SECONDS) -> None:
    async with asyncio.timeout(seconds):
        while True:
            found = holds()
            if found if isinstance(found, bool) else await found:
                return
            await asyncio.sleep(0.01)


def in_partition(write_side: WriteSide, number: int) -> Callable[[], Awaitable[str]]:
    """Return what stores a command in a partition, and tells its id."""

    async def store() -> str:
        while True:
            id_ = new_id()
            await write_side.send(ScheduleJob(id=id_, details=details()))
            subject = f"rota.command.{number}.job.{group_of(id_)}.schedule"
            if await write_side.messages(COMMANDS, subject):
                return id_

    return store


async def test_shards_share_the_partitions_alike_and_take_those_of_one_that_leaves(write_side: WriteSide) -> None:
    async with AsyncExitStack() as running:
        first = await running.enter_async_context(sharding(write_side.connection))
        await until(lambda: len(first.partitions) == PARTITIONS)
        async with sharding(write_side.connection) as second, sharding(write_side.connection) as third:
            shards = (first, second, third)
            await until(lambda: sorted(len(shard.partitions) for shard in shards) == [5, 5, 6])
            await until(lambda: frozenset().union(*(shard.partitions for shard in shards)) == frozenset(range(16)))
            ids = [await write_side.schedule() for _ in range(100)]
            for id_ in ids:
                await write_side.until(id_, "job.queued")
        await until(lambda: len(first.partitions) == PARTITIONS)
        ids = [await write_side.schedule() for _ in range(100)]
        async with asyncio.timeout(MOVE_SECONDS):
            for id_ in ids:
                await write_side.until(id_, "job.queued")


async def test_shards_that_come_and_go_under_load_lose_and_double_nothing(write_side: WriteSide) -> None:
    seed = secrets.randbits(32)
    print(f"seed {seed}")  # noqa: T201 - to see the same again
    chance = random.Random(seed)
    ids = [new_id() for _ in range(1000)]

    async def load() -> None:
        for id_ in ids:
            await write_side.send(ScheduleJob(id=id_, details=details()))
            success = SucceedJob(
                id=id_,
                attempt=1,
                worker="w",
                started_at=datetime.now(UTC),
                result=Result(),
                causation_id=f"{id_}.1",
            )
            await write_side.send(success)

    async def come_and_go() -> None:
        while True:
            async with sharding(write_side.connection):
                await asyncio.sleep(chance.random() / 2)

    async with sharding(write_side.connection):
        loading = asyncio.create_task(load())
        moving = [asyncio.create_task(come_and_go()) for _ in range(2)]
        await loading
        for task in moving:
            task.cancel()
        await asyncio.wait(moving)
        await write_side.until_messages(0, COMMANDS)

    assert [letter.reason async for _, letter in DeadLetters(write_side.connection).list()] == []
    assert [await write_side.tags(id_) for id_ in ids] == [["job.queued", "job.succeeded"]] * len(ids)


async def test_one_client_at_a_time_has_a_partition(write_side: WriteSide) -> None:
    taken: list[tuple[str, Msg]] = []

    def owner(name: str) -> Partition:
        return Partition(write_side.connection, 3, lambda _, message: taken.append((name, message)))

    store = in_partition(write_side, 3)
    async with owner("first") as first:
        await store()
        await until(lambda: len(taken) == 1)
        async with owner("second"):
            for _ in range(5):
                await store()
            await until(lambda: len(taken) == 6)
            assert {name for name, _ in taken} == {"first"}

            for _, message in taken:
                first.free(message)
                await write_side.connection.send(message.reply, ACK)
            await first.__aexit__(None, None, None)
            await first.give_up()
            await store()
            await until(lambda: len(taken) == 7, seconds=2)
            assert taken[-1][0] == "second"
            await write_side.connection.send(taken[-1][1].reply, ACK)


async def test_what_an_owner_that_died_has_not_acknowledged_comes_to_the_next(
    write_side: WriteSide, nats_url: str
) -> None:
    held: list[Msg] = []
    again: list[Msg] = []
    store = in_partition(write_side, 5)
    doomed = await Connection.open(nats_url, name="doomed")
    await Partition(doomed, 5, lambda _, message: held.append(message)).__aenter__()
    stored = [await store() for _ in range(3)]
    await until(lambda: len(held) == 3)
    assert (await ownership(write_side.connection, 5)).unacknowledged == 3

    await doomed.client.close()  # no goodbye: to the server it is as if the process had been killed
    async with Partition(write_side.connection, 5, lambda _, message: again.append(message)):
        await until(lambda: len(again) == 3, MOVE_SECONDS)

    assert [command.command.id for message in again for command in read_delivered(message)] == stored


async def test_a_shard_that_falls_silent_is_no_member_any_more(write_side: WriteSide, nats_url: str) -> None:
    changes: list[int] = []
    async with Members(write_side.connection, "shard-a", lambda: changes.append(1)) as members:
        doomed = await Connection.open(nats_url, name="doomed")
        await Members(doomed, "shard-b", lambda: None).__aenter__()
        await until(lambda: len(members.share()) == PARTITIONS // 2)

        await doomed.client.close()

        await until(lambda: len(members.share()) == PARTITIONS, MOVE_SECONDS)
        assert len(changes) == 2


async def test_what_a_shard_decides_that_has_lost_its_partition_takes_no_timer_away(write_side: WriteSide) -> None:
    """Were there one timer a job, that of the second attempt would replace that of the third, which is the last."""
    left_behind, owner = (
        Handler(write_side.connection, roles(write_side.connection), lambda: datetime.now(UTC)) for _ in range(2)
    )
    id_ = new_id()

    def failure(attempt: int) -> Asked:
        started_at, fault = datetime.now(UTC), JobFault("ValueError", "no")
        return Asked(FailJob(id=id_, attempt=attempt, worker="w", started_at=started_at, fault=fault), Origin("c"))

    retry = RetryPolicy(max_attempts=3, delay_seconds=0.3, backoff=1)
    await left_behind.carry_out([Asked(ScheduleJob(id=id_, details=details(retry=retry)), Origin("c"))])
    await owner.carry_out([failure(1)])
    await owner.carry_out([Asked(ReleaseJob(id=id_, attempt=2), Origin("c"))])
    await owner.carry_out([failure(2)])

    await left_behind.carry_out([failure(1)])  # as it still comes when an ack was lost

    async with sharding(write_side.connection):
        await write_side.until(id_, "job.queued", times=3)
    assert await write_side.tags(id_) == ["job.queued", *("job.attempt_failed", "job.queued") * 2]


async def test_two_owners_by_force_double_nothing(write_side: WriteSide) -> None:
    handlers = [
        Handler(write_side.connection, roles(write_side.connection), lambda: datetime.now(UTC)) for _ in range(2)
    ]
    ids = [new_id() for _ in range(50)]
    commands: list[Any] = [ScheduleJob(id=id_, details=details()) for id_ in ids]
    commands += [
        SucceedJob(id=id_, attempt=1, worker="w", started_at=datetime.now(UTC), result=Result()) for id_ in ids
    ]

    async def carry_out(handler: Handler) -> list[Asked]:
        done: list[Asked] = []
        for start in range(0, len(commands), 10):
            some = [Asked(command, Origin("c")) for command in commands[start : start + 10]]
            await handler.carry_out(some)
            done += some
        return done

    asked = await asyncio.gather(*(carry_out(handler) for handler in handlers))

    assert {one.outcome.status for some in asked for one in some if one.outcome} == {"done"}
    assert [await write_side.tags(id_) for id_ in ids] == [["job.queued", "job.succeeded"]] * 50


@pytest.mark.usefixtures("shard")
async def test_a_shard_outlives_a_lost_connection_and_has_what_was_on_its_way(
    write_side: WriteSide, shard: Shard
) -> None:
    ids = [new_id() for _ in range(500)]
    sending = asyncio.gather(*(write_side.send(ScheduleJob(id=id_, details=details())) for id_ in ids))
    await until(lambda: len(shard.partitions) == PARTITIONS)
    for _ in range(3):
        write_side.connection.client._transport.close()  # type: ignore[union-attr] # as when a cable is pulled
        await asyncio.sleep(0.05)
        await until(lambda: write_side.connection.client.is_connected)
    await sending

    for id_ in ids:
        assert len(await write_side.until(id_, "job.queued")) == 1
