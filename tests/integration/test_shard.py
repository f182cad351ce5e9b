"""Commands become events: a real NATS server, and a shard in this process."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from actors.handler import TRIES
from actors.shard import COMMANDS_AT_ONCE, Shard
from events.batch import AdvanceFile, BatchDetails, CountJobs, OpenBatch, Position
from events.batch_decisions import BATCH
from events.catalog import AnyCommand, encode
from events.ids import group_of, member
from events.jetstream.dead_letters import DeadLetters
from events.jetstream.log import Append
from events.jetstream.repository import load_state
from events.jetstream.snapshots import Snapshot, Snapshots
from events.jetstream.topology import COMMANDS, DEAD_LETTERS, EVENTS, SNAPSHOTS, WORK, prepare
from events.job import (
    JOB,
    CancelJob,
    JobAttemptFailed,
    JobQueued,
    JobScheduled,
    JobStarted,
    JobSucceeded,
    ReleaseJob,
    ScheduleJob,
)
from events.subjects import snapshot_subject, work_of
from rota.errors import NotFoundError
from rota.jetstream import Connection
from rota.protocol import (
    CALLER,
    CAUSATION_ID,
    CONTENT_TYPE,
    REPLY_TO,
    FailJob,
    JobFault,
    ProgressJob,
    Result,
    RetryPolicy,
    SucceedJob,
)
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
    _, sequence = await load_state(write_side.log, Snapshots(write_side.connection), "job", id_)
    now = datetime.now(UTC)
    by_another = JobStarted(originator_id=id_, originator_version=2, at=now, attempt=1, worker="w", started_at=now)
    await write_side.log.append([Append("job", id_, sequence, [by_another])])

    await write_side.send(success(id_))

    history = await write_side.until(id_, "job.succeeded")
    assert [event.originator_version for event in history] == [1, 2, 3]
    assert tags(history) == ["job.queued", "job.started", "job.succeeded"]


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
    [(_, letter)] = [found async for found in DeadLetters(write_side.connection).list("refused")]
    assert (letter.type, letter.id, letter.reason) == ("job.cancel", id_, f"There is no job {id_}")


@pytest.mark.parametrize("body", [b"\xc1 no MessagePack", b"", b'[{"type":"job.forget"}]'])
async def test_a_message_that_is_no_list_of_commands_becomes_a_dead_letter(
    write_side: WriteSide, shard: Shard, body: bytes
) -> None:
    id_ = new_id()
    subject = f"rota.command.job.{group_of(id_)}.schedule"
    await write_side.connection.publish(subject, body)

    await later_commands_are_done(write_side, id_)

    await write_side.until_messages(0, COMMANDS)
    [(_, letter)] = [found async for found in DeadLetters(write_side.connection).list()]
    assert (letter.status, letter.subject, letter.body) == ("failed", subject, body)
    assert letter.reason.startswith("This is no list of commands: ")


def advance(batch: str, file_index: int) -> AdvanceFile:
    return AdvanceFile(id=batch, file_index=file_index, position=Position(), rows=10, jobs=1)


async def opened(write_side: WriteSide) -> str:
    """Open a batch of one file: what comes for its second one crashes the decider."""
    batch = group_of(new_id())
    opening = BatchDetails("add", "default", ("a.csv",), 10, 10, details().params)
    await write_side.send(OpenBatch(id=batch, details=opening))
    await write_side.until(batch, "batch.opened", "batch")
    return batch


async def test_a_command_that_crashes_the_decider_does_not_hold_up_others(
    write_side: WriteSide, shard: Shard
) -> None:
    batch = await opened(write_side)

    await write_side.send(advance(batch, 1), advance(batch, 0))

    assert tags(await write_side.until(batch, "batch.advanced", "batch")) == ["batch.opened", "batch.advanced"]


async def test_a_command_that_crashes_the_decider_three_times_is_a_dead_letter_and_can_be_sent_again(
    write_side: WriteSide, shard: Shard
) -> None:
    batch = await opened(write_side)
    letters = DeadLetters(write_side.connection)

    outcome = await write_side.bus.ask(advance(batch, 1), timeout=10, caller="test", causation_id="x.1")

    assert outcome
    assert (outcome.id, outcome.type, outcome.status) == (batch, "batch.advance", "failed")
    [(sequence, letter)] = [found async for found in letters.list("failed")]
    assert (letter.type, letter.id, letter.tries) == ("batch.advance", batch, TRIES)
    assert letter.reason == "IndexError: tuple index out of range"
    assert "_told_of_file" in letter.traceback
    assert (letter.headers[CALLER], letter.headers[CAUSATION_ID]) == ("test", "x.1")

    await letters.send_again(sequence)

    await write_side.until_messages(0, COMMANDS)
    await write_side.until_messages(1, DEAD_LETTERS)
    [(again, _)] = [found async for found in letters.list()]
    await letters.remove(again)
    assert [found async for found in letters.list()] == []
    for gone in (letters.get(again), letters.remove(again), letters.send_again(again)):
        with pytest.raises(NotFoundError):
            await gone


async def test_an_event_that_cannot_be_read_costs_only_its_own_aggregate(
    write_side: WriteSide, shard: Shard
) -> None:
    broken, whole = new_id(), await write_side.schedule()
    await write_side.connection.publish(f"rota.event.job.{broken}.queued.default.normal.add", b"\xc1")

    outcomes = await asyncio.gather(*(write_side.bus.ask(CancelJob(id=id_), timeout=10) for id_ in (broken, whole)))

    assert [outcome.status for outcome in outcomes if outcome] == ["failed", "done"]


async def test_who_asks_is_told_what_became_of_it(write_side: WriteSide, shard: Shard) -> None:
    id_ = new_id()
    schedule: AnyCommand = ScheduleJob(id=id_, details=details())

    refused = await write_side.bus.ask(CancelJob(id=id_), timeout=10)
    outcomes = [await write_side.bus.ask(command, timeout=10) for command in (schedule, schedule, success(id_))]
    ended = await write_side.bus.ask(CancelJob(id=id_), timeout=10)

    assert refused
    assert (refused.status, refused.detail, refused.slug) == ("refused", f"There is no job {id_}", "not-found")
    assert [outcome.status for outcome in outcomes if outcome] == ["done"] * 3
    assert ended
    assert (ended.status, ended.slug) == ("refused", "conflict")


async def test_without_an_owner_nobody_answers_but_the_command_is_kept(write_side: WriteSide) -> None:
    id_ = new_id()

    assert await write_side.bus.ask(ScheduleJob(id=id_, details=details()), timeout=0.1) is None

    async with sharding(write_side.connection):
        await write_side.until(id_, "job.queued")


@pytest.mark.parametrize(
    "subject", ["$JS.API.STREAM.PURGE.ROTA_EVENTS", "rota.event.job.x.queued", "a b", "a..b", ">"]
)
async def test_no_answer_goes_to_a_subject_that_is_not_the_senders(
    write_side: WriteSide, shard: Shard, subject: str
) -> None:
    id_ = await write_side.schedule()
    await write_side.until(id_, "job.queued")

    body = encode([CancelJob(id=id_)])
    await write_side.connection.publish(f"rota.command.job.{group_of(id_)}.cancel", body, {REPLY_TO: subject})
    await later_commands_are_done(write_side, id_)

    assert await write_side.tags(id_) == ["job.queued", "job.cancelled"]


async def test_commands_may_come_as_json(write_side: WriteSide, shard: Shard) -> None:
    id_ = await write_side.schedule()
    await write_side.until(id_, "job.queued")
    report = {
        "type": "job.succeed",
        "id": id_,
        "attempt": 1,
        "worker": "node",
        "started_at": "2026-01-01T00:00:00Z",
        "result": {"value": {"sum": 3, "big": 2**63}},
    }

    body = msgspec.json.encode([report])
    subject = f"rota.command.job.{group_of(id_)}.report"
    await write_side.connection.publish(subject, body, {CONTENT_TYPE: "application/json; charset=utf-8"})

    _, succeeded = await write_side.until(id_, "job.succeeded")
    assert isinstance(succeeded, JobSucceeded)
    assert msgspec.msgpack.decode(succeeded.result.value) == {"sum": 3, "big": 2**63}


async def test_each_event_says_who_asked_and_why(write_side: WriteSide, shard: Shard) -> None:
    id_ = new_id()
    retry = RetryPolicy(max_attempts=2, delay_seconds=SOON)
    command = ScheduleJob(id=id_, details=details(retry=retry))
    await write_side.bus.send([command], caller="http:127.0.0.1", causation_id="w.3")
    await write_side.until(id_, "job.queued")
    fault = JobFault("ValueError", "no")
    await write_side.send(FailJob(**report(id_), fault=fault, causation_id=f"{id_}.1"))
    await write_side.until(id_, "job.queued", times=2)
    await write_side.send(SucceedJob(**report(id_, attempt=2), result=Result(), causation_id=f"{id_}.3"))

    history = await write_side.until(id_, "job.succeeded")

    origins = [event.origin for event in history if event.origin]
    assert [(origin.caller, origin.causation_id) for origin in origins] == [
        ("http:127.0.0.1", "w.3"),
        ("worker:w", f"{id_}.1"),
        ("timer", f"{id_}.2"),
        ("worker:w", f"{id_}.3"),
    ]
    assert {origin.correlation_id for origin in origins} == {group_of(id_)}
    assert len({origin.command_id for origin in origins}) == 4


async def test_a_batch_is_loaded_from_its_snapshot_and_what_came_later(write_side: WriteSide, shard: Shard) -> None:
    batch = await opened(write_side)
    for last in (99, 120):  # version 100 is the 99th count
        for count in range(1, last + 1):
            await write_side.send(CountJobs(id=batch, until=count, succeeded=count, failed=0))
        await write_side.until(batch, "batch.jobs_counted", "batch", times=last)
    await write_side.until_messages(1, SNAPSHOTS, snapshot_subject("batch", batch))
    snapshots = Snapshots(write_side.connection)

    state, sequence = await snapshots.load(BATCH, batch)

    assert (state.version, state.details.files) == (100, ("a.csv",))
    loaded, last = await load_state(write_side.log, snapshots, "batch", batch)
    assert (loaded.version, loaded.succeeded) == (121, 120)
    # What a power cut would leave: a log that has not got as far as the snapshot, and goes on from there.
    ahead = replace(state, version=state.version + 5)
    for at in (sequence + 2, sequence + 1000):
        await snapshots.save(BATCH, batch, ahead, at)
        assert await load_state(write_side.log, snapshots, "batch", batch) == (loaded, last)
    await snapshots.save(BATCH, batch, state, sequence)
    async with asyncio.timeout(20):
        while await snapshots.load(BATCH, batch) != (state, sequence):
            await asyncio.sleep(0.01)  # it is sent without waiting for it
    await write_side.connection.call(f"STREAM.PURGE.{EVENTS}", {"seq": sequence})  # only what came later is read
    assert await load_state(write_side.log, snapshots, "batch", batch) == (loaded, last)
    newer = replace(BATCH, state_version=BATCH.state_version + 1)
    assert await snapshots.load(newer, batch) == (None, 0)


async def test_a_job_that_tells_much_is_not_loaded_event_by_event(write_side: WriteSide, shard: Shard) -> None:
    id_ = await write_side.schedule()
    progress = ProgressJob(id=id_, attempt=1, worker="w", percent=50)
    for _ in range(2):  # version 100 is the last of its append
        await write_side.until(id_, "job.queued")
        await write_side.bus.ask(progress, timeout=10)
        await write_side.send(*[progress] * 98)
    history = await write_side.until(id_, "job.progressed", times=198)
    await write_side.until_messages(1, SNAPSHOTS, snapshot_subject("job", id_))
    snapshots = Snapshots(write_side.connection)

    state, sequence = await snapshots.load(JOB, id_)

    assert 100 <= state.version <= len(history)
    await write_side.connection.call(f"STREAM.PURGE.{EVENTS}", {"seq": sequence})
    loaded, _ = await load_state(write_side.log, snapshots, "job", id_)
    assert (loaded.version, loaded.status, loaded.details) == (199, "queued", details())


@pytest.mark.parametrize("body", [b"\xc1", encode(Snapshot(1, 1, msgspec.Raw(b"\x80")))])
async def test_a_snapshot_that_cannot_be_read_costs_only_time(
    write_side: WriteSide, shard: Shard, body: bytes
) -> None:
    batch = await opened(write_side)
    await write_side.connection.publish(snapshot_subject("batch", batch), body)

    loaded, _ = await load_state(write_side.log, Snapshots(write_side.connection), "batch", batch)

    assert (loaded.version, loaded.status) == (1, "reading")


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


async def test_a_job_that_retention_has_removed_can_be_scheduled_again(write_side: WriteSide, shard: Shard) -> None:
    command = ScheduleJob(id=new_id(), details=details())
    await write_side.send(command, success(command.id))
    await write_side.until(command.id, "job.succeeded")
    await write_side.connection.call(f"STREAM.PURGE.{EVENTS}")

    await write_side.bus.ask(command, timeout=10)

    assert await write_side.tags(command.id) == ["job.queued"]


async def test_a_stale_cache_that_decides_nothing_is_loaded_again(write_side: WriteSide, shard: Shard) -> None:
    id_ = await write_side.schedule(retry=RetryPolicy(max_attempts=2, delay_seconds=0))
    [queued] = await write_side.until(id_, "job.queued")
    _, sequence = await load_state(write_side.log, Snapshots(write_side.connection), "job", id_)
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
