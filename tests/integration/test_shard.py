"""Commands become events: a real NATS server, and a shard in this process."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from actors.shard import COMMANDS_AT_ONCE, Shard
from events.batch import AdvanceFile, BatchDetails, OpenBatch, Position
from events.ids import group_of, member
from events.jetstream.log import Append
from events.jetstream.repository import load_state
from events.jetstream.topology import COMMANDS, WORK, prepare
from events.job import CancelJob, JobAttemptFailed, JobQueued, JobScheduled, JobStarted, ReleaseJob, ScheduleJob
from events.subjects import work_of
from rota.jetstream import Connection
from rota.protocol import FailJob, JobFault, Result, RetryPolicy, SucceedJob
from tests.integration.write_side import WriteSide, details, nats_server, new_id, sharding, tags

SOON = 0.3


def report(id_: str, attempt: int = 1) -> dict[str, Any]:
    return {"id": id_, "attempt": attempt, "worker": "w", "started_at": datetime.now(UTC)}


def success(id_: str) -> SucceedJob:
    return SucceedJob(**report(id_), result=Result())


async def later_commands_are_done(write_side: WriteSide, id_: str) -> None:
    """Wait until what was sent for a job is carried out: commands of one partition keep their order."""
    after = member(group_of(id_), 999)
    await write_side.send(ScheduleJob(id=after, details=details()))
    await write_side.until(after, "job.queued")


async def test_a_job_is_queued_and_its_work_offered(write_side: WriteSide, shard: Shard) -> None:
    id_ = await write_side.schedule("add", {"a": 1})

    [queued] = await write_side.until(id_, "job.queued")

    assert isinstance(queued, JobQueued)
    assert queued.details == details("add", {"a": 1})
    await write_side.until_messages(1, WORK, f"rota.work.default.normal.add.{id_}")


async def test_commands_that_come_twice_change_nothing(write_side: WriteSide, shard: Shard) -> None:
    id_ = new_id()
    command = ScheduleJob(id=id_, details=details())
    await write_side.send(command, command)
    await write_side.until(id_, "job.queued")

    await write_side.send(command)
    await write_side.send(success(id_), success(id_))
    await write_side.until(id_, "job.succeeded")
    await write_side.send(success(id_), command)
    await later_commands_are_done(write_side, id_)

    assert await write_side.tags(id_) == ["job.queued", "job.succeeded"]


async def test_a_shard_that_knows_nothing_yet_does_not_schedule_again(write_side: WriteSide) -> None:
    id_ = new_id()
    command = ScheduleJob(id=id_, details=details())
    for _ in range(2):
        async with sharding(write_side.connection):
            await write_side.send(command)
            await later_commands_are_done(write_side, id_)

    assert await write_side.tags(id_) == ["job.queued"]


async def test_a_stale_cache_conflicts_and_is_loaded_again(write_side: WriteSide, shard: Shard) -> None:
    id_ = await write_side.schedule()
    await write_side.until(id_, "job.queued")
    _, sequence = await load_state(write_side.log, "job", id_)
    now = datetime.now(UTC)
    by_another = JobStarted(originator_id=id_, originator_version=2, at=now, attempt=1, worker="w", started_at=now)
    await write_side.log.append([Append("job", id_, sequence, [by_another])])

    await write_side.send(success(id_))

    history = await write_side.until(id_, "job.succeeded")
    assert [event.originator_version for event in history] == [1, 2, 3]
    assert tags(history) == ["job.queued", "job.started", "job.succeeded"]


async def test_two_owners_of_the_partitions_double_nothing(write_side: WriteSide, shard: Shard) -> None:
    async with sharding(write_side.connection):
        ids = [new_id() for _ in range(50)]
        command_sets: list[list[Any]] = [[ScheduleJob(id=id_, details=details()), success(id_)] for id_ in ids]
        for _ in range(2):
            await asyncio.gather(*(write_side.send(command) for some in command_sets for command in some[:1]))
        for id_ in ids:
            await write_side.until(id_, "job.queued")
        for _ in range(2):
            await asyncio.gather(*(write_side.send(some[1]) for some in command_sets))
        for id_ in ids:
            await write_side.until(id_, "job.succeeded")
            await later_commands_are_done(write_side, id_)

    assert [await write_side.tags(id_) for id_ in ids] == [["job.queued", "job.succeeded"]] * 50


async def test_more_commands_than_one_append_has_room_for_are_all_carried_out(
    write_side: WriteSide, shard: Shard
) -> None:
    group = group_of(new_id())
    ids = [member(group, index) for index in range(2 * COMMANDS_AT_ONCE + 1)]

    await write_side.send(*(ScheduleJob(id=id_, details=details()) for id_ in ids))

    await write_side.until_messages(len(ids), WORK)
    assert await write_side.tags(ids[-1]) == ["job.queued"]


async def test_a_refused_command_leaves_no_event(write_side: WriteSide, shard: Shard) -> None:
    id_ = new_id()

    await write_side.send(CancelJob(id=id_))
    await later_commands_are_done(write_side, id_)

    assert await write_side.tags(id_) == []
    await write_side.until_messages(0, COMMANDS)


@pytest.mark.parametrize("body", [b"\xc1 no MessagePack", b"", b'[{"type":"job.forget"}]'])
async def test_a_message_that_is_no_list_of_commands_is_dropped(
    write_side: WriteSide, shard: Shard, body: bytes
) -> None:
    id_ = new_id()
    await write_side.connection.publish(f"rota.command.job.{group_of(id_)}.schedule", body)

    await later_commands_are_done(write_side, id_)

    await write_side.until_messages(0, COMMANDS)


async def test_a_command_that_cannot_be_decided_does_not_hold_up_others(
    write_side: WriteSide, shard: Shard
) -> None:
    batch = group_of(new_id())
    opening = BatchDetails("add", "default", ("a.csv",), 10, 10, details().params)
    await write_side.send(OpenBatch(id=batch, details=opening))
    await write_side.until(batch, "batch.opened", "batch")

    for file_index in (7, 0):
        await write_side.send(AdvanceFile(id=batch, file_index=file_index, position=Position(), rows=10, jobs=1))

    assert tags(await write_side.until(batch, "batch.advanced", "batch")) == ["batch.opened", "batch.advanced"]


async def test_a_failed_attempt_is_queued_again_when_its_delay_is_over(write_side: WriteSide, shard: Shard) -> None:
    id_ = await write_side.schedule(retry=RetryPolicy(max_attempts=2, delay_seconds=SOON))
    await write_side.until(id_, "job.queued")

    await write_side.send(FailJob(**report(id_), fault=JobFault("ValueError", "no")))

    _, failed, again = await write_side.until(id_, "job.queued", times=2)
    assert tags([failed]) == ["job.attempt_failed"]
    assert isinstance(again, JobQueued)
    assert again.attempt == 2
    assert again.at - failed.at >= timedelta(seconds=SOON)


async def test_a_job_waits_for_its_time(write_side: WriteSide, shard: Shard) -> None:
    id_ = new_id()
    run_at = datetime.now(UTC) + timedelta(seconds=SOON)

    await write_side.send(ScheduleJob(id=id_, details=details(), run_at=run_at))

    scheduled, queued = await write_side.until(id_, "job.queued")
    assert isinstance(scheduled, JobScheduled)
    assert scheduled.run_at == run_at
    assert queued.at >= run_at


async def test_a_job_keeps_its_time_though_its_shard_is_replaced(write_side: WriteSide) -> None:
    id_ = new_id()
    async with sharding(write_side.connection):
        run_at = datetime.now(UTC) + timedelta(seconds=SOON)
        await write_side.send(ScheduleJob(id=id_, details=details(), run_at=run_at))
        await write_side.until(id_, "job.scheduled")

    async with sharding(write_side.connection):
        assert tags(await write_side.until(id_, "job.queued")) == ["job.scheduled", "job.queued"]


async def test_a_cancelled_job_is_not_queued_when_its_time_comes(write_side: WriteSide, shard: Shard) -> None:
    id_ = new_id()
    run_at = datetime.now(UTC) + timedelta(hours=1)
    await write_side.send(ScheduleJob(id=id_, details=details(), run_at=run_at))
    await write_side.until(id_, "job.scheduled")

    await write_side.send(CancelJob(id=id_), ReleaseJob(id=id_, attempt=1))
    await later_commands_are_done(write_side, id_)

    assert await write_side.tags(id_) == ["job.scheduled", "job.cancelled"]


async def test_cancelling_a_job_withdraws_its_waiting_work(write_side: WriteSide, shard: Shard) -> None:
    id_ = await write_side.schedule()
    await write_side.until_messages(1, WORK, work_of(id_))

    await write_side.send(CancelJob(id=id_))

    await write_side.until(id_, "job.cancelled")
    await write_side.until_messages(0, WORK, work_of(id_))


async def test_a_job_that_is_cancelled_with_its_scheduling_leaves_no_work(
    write_side: WriteSide, shard: Shard
) -> None:
    id_ = new_id()

    await write_side.send(ScheduleJob(id=id_, details=details()), CancelJob(id=id_))

    history = await write_side.until(id_, "job.cancelled")
    assert tags(history) == ["job.queued", "job.cancelled"]
    # What was queued after it has been offered by then.
    await later_commands_are_done(write_side, id_)
    await write_side.until_messages(1, WORK, work_of(member(group_of(id_), 999)))
    await write_side.until_messages(0, WORK, work_of(id_))


async def test_commands_that_come_while_no_shard_runs_wait_for_one(write_side: WriteSide) -> None:
    id_ = await write_side.schedule()
    assert await write_side.bus.find_waiting("job", id_) == ScheduleJob(id=id_, details=details())

    async with sharding(write_side.connection):
        await write_side.until(id_, "job.queued")

    await write_side.until_messages(0, COMMANDS)
    assert await write_side.bus.find_waiting("job", id_) is None


async def test_a_shard_that_stops_leaves_nothing_to_wait_for_its_lease(write_side: WriteSide) -> None:
    ids = [new_id() for _ in range(3000)]
    async with sharding(write_side.connection):
        await asyncio.gather(
            *(
                write_side.send(*(ScheduleJob(id=id_, details=details()) for id_ in ids[at : at + 500]))
                for at in range(0, 3000, 500)
            )
        )
    assert await write_side.messages(WORK) < len(ids)

    async with asyncio.timeout(10), sharding(write_side.connection):
        await write_side.until_messages(len(ids), WORK)


async def test_a_shard_can_be_stopped_while_nats_is_away(tmp_path: Path) -> None:
    async with nats_server(tmp_path) as (server, url), await Connection.open(url, name="test") as connection:
        await prepare(connection)
        async with asyncio.timeout(10), sharding(connection):
            await asyncio.to_thread(server.kill)
            while connection.client.is_connected:
                await asyncio.sleep(0.01)


async def test_a_stale_cache_that_decides_nothing_is_loaded_again(write_side: WriteSide, shard: Shard) -> None:
    id_ = await write_side.schedule(retry=RetryPolicy(max_attempts=2, delay_seconds=0))
    [queued] = await write_side.until(id_, "job.queued")
    _, sequence = await load_state(write_side.log, "job", id_)
    now = datetime.now(UTC)
    by_another = JobAttemptFailed(
        originator_id=id_,
        originator_version=2,
        at=now,
        attempt=1,
        worker="w",
        started_at=now,
        fault=JobFault("ValueError", "no"),
        timed_out=False,
        retry_at=now,
    )
    assert isinstance(queued, JobQueued)
    again = replace(queued, originator_version=3, attempt=2)
    await write_side.log.append([Append("job", id_, sequence, [by_another, again])])

    await write_side.send(SucceedJob(**report(id_, attempt=2), result=Result()))

    assert tags(await write_side.until(id_, "job.succeeded"))[-2:] == ["job.queued", "job.succeeded"]
