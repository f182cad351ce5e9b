"""Timers are commands that NATS delivers later, by its own clock."""

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

from events.jetstream.log import Append
from events.jetstream.timers import set_timer
from events.jetstream.topology import COMMANDS, prepare
from events.jetstream.work import make_timers
from events.job import ReleaseJob
from events.subjects import timer_subject
from events.workflow import WorkflowCancelled, WorkflowScheduled
from rota.jetstream import Connection
from tests.integration.workflow_side import job, workflow
from tests.integration.write_side import WriteSide, nats_server, new_id, restart

HOUR = timedelta(hours=1)
SOON = timedelta(seconds=0.3)


async def arrived(write_side: WriteSide, command: ReleaseJob) -> datetime:
    """Wait until a command is there, and return when NATS stored it."""
    group = command.id.partition("-")[0]
    await write_side.until_messages(1, COMMANDS, f"rota.command.*.job.{group}.release")
    assert await write_side.bus.find_waiting("job", command.id) is None  # it makes no job
    message = await write_side.connection.last(COMMANDS, f"rota.command.*.job.{group}.release")
    assert message
    stored = (message.headers or {})["Nats-Time-Stamp"]
    return datetime.fromisoformat(stored)


async def test_a_timer_arrives_at_its_time_as_a_command_in_its_partition(write_side: WriteSide) -> None:
    command = ReleaseJob(id=new_id(), attempt=1)
    due = datetime.now(UTC) + SOON

    await set_timer(write_side.connection, command, due, "j.1")

    assert await arrived(write_side, command) >= due


async def test_a_timer_in_the_past_arrives_at_once(write_side: WriteSide) -> None:
    command = ReleaseJob(id=new_id(), attempt=1)

    await set_timer(write_side.connection, command, datetime.now(UTC) - HOUR, "j.1")

    await arrived(write_side, command)


async def test_a_time_of_another_zone_is_the_same_time(write_side: WriteSide) -> None:
    command = ReleaseJob(id=new_id(), attempt=1)
    due = datetime.now(timezone(5 * HOUR)) + SOON

    await set_timer(write_side.connection, command, due, "j.1")

    assert await arrived(write_side, command) >= due


async def test_setting_a_timer_again_takes_the_place_of_the_first(write_side: WriteSide) -> None:
    command = ReleaseJob(id=new_id(), attempt=1)
    for hours in (1, 2):
        await set_timer(write_side.connection, command, datetime.now(UTC) + hours * HOUR, "j.1")

    assert await write_side.messages(COMMANDS, timer_subject(command)) == 1


async def test_each_attempt_has_a_timer_of_its_own(write_side: WriteSide) -> None:
    id_ = new_id()
    for attempt in (1, 2):
        await set_timer(write_side.connection, ReleaseJob(id=id_, attempt=attempt), datetime.now(UTC) + HOUR, "j.1")

    assert await write_side.messages(COMMANDS, "rota.timer.>") == 2


async def test_a_timer_that_has_fired_is_gone(write_side: WriteSide) -> None:
    command = ReleaseJob(id=new_id(), attempt=1)
    await set_timer(write_side.connection, command, datetime.now(UTC), "j.1")

    await arrived(write_side, command)

    await write_side.until_messages(0, COMMANDS, timer_subject(command))


async def test_a_timer_outlives_a_nats_server_that_is_killed(tmp_path: Path) -> None:
    async with nats_server(tmp_path) as (server, url), await Connection.open(url, name="test") as connection:
        await prepare(connection)
        command = ReleaseJob(id=new_id(), attempt=1)
        await set_timer(connection, command, datetime.now(UTC) + SOON, "j.1")

        await restart(server, url)

        async with await Connection.open(url, name="again") as again:
            await arrived(WriteSide(again), command)


async def test_the_limits_of_a_workflow_are_made_anew_and_it_is_asked_to_go_on(write_side: WriteSide) -> None:
    details = workflow(job("a", "nobody"), timeout_seconds=90.0)
    begun = WorkflowScheduled(originator_id="w1", originator_version=1, at=datetime.now(UTC), details=details)
    ended = WorkflowScheduled(originator_id="w2", originator_version=1, at=datetime.now(UTC), details=details)
    over = WorkflowCancelled(originator_id="w2", originator_version=2, at=datetime.now(UTC))
    await write_side.log.append([Append("workflow", "w1", 0, [begun]), Append("workflow", "w2", 0, [ended, over])])

    assert await make_timers(write_side.connection) == 1

    assert await write_side.messages(COMMANDS, "rota.timer.workflow.*") == 1
    assert await write_side.messages(COMMANDS, "rota.command.*.workflow.w1.advance") == 1
    assert await write_side.messages(COMMANDS) == 2
