"""The bus: commands are durable when it returns, all or none, and senders share a publish."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from events.batch import BatchDetails, OpenBatch
from events.catalog import decode_commands
from events.ids import group_of, member
from events.jetstream.bus import Bus
from events.jetstream.topology import COMMANDS, prepare
from events.job import CancelJob, ScheduleJob
from rota.errors import TooLargeError
from rota.jetstream import MAX_BATCH, Connection, Message
from rota.protocol import RegisterSpec
from tests.integration.write_side import WriteSide, details, nats_server, new_id, restart


def schedule(id_: str, size: int = 0) -> ScheduleJob:
    return ScheduleJob(id=id_, details=details("add", {"text": "x" * size}))


async def last_sequence(write_side: WriteSide) -> int:
    info = await write_side.connection.call(f"STREAM.INFO.{COMMANDS}")
    return int(info["state"]["last_seq"])


async def test_commands_of_one_group_are_one_message(write_side: WriteSide) -> None:
    group = group_of(new_id())
    commands = [schedule(member(group, index)) for index in range(500)]

    await write_side.send(*commands)

    assert await write_side.messages(COMMANDS) == 1
    message = await write_side.connection.last(COMMANDS, f"rota.command.*.job.{group}.schedule")
    assert message
    assert decode_commands(message.data) == commands


async def test_commands_are_sorted_into_partitions_by_their_group(write_side: WriteSide) -> None:
    commands = [schedule(new_id()) for _ in range(100)]

    await write_side.send(*commands)

    info = await write_side.connection.call(f"STREAM.INFO.{COMMANDS}", {"subjects_filter": ">"})
    partitions = {subject.split(".")[2] for subject in info["state"]["subjects"]}
    assert partitions <= {str(number) for number in range(16)}
    assert len(partitions) > 8


async def test_a_sender_whose_header_has_a_line_break_does_not_wait_for_ever(write_side: WriteSide) -> None:
    async with asyncio.timeout(5):
        with pytest.raises(ValueError, match="line break"):
            await write_side.bus.send([schedule(new_id())], caller="a\nb")


class CountingConnection(Connection):
    """A connection that counts its publishes."""

    publishes = 0

    async def publish_each(self, messages: Sequence[Message]) -> list[int]:
        self.publishes += 1
        return await super().publish_each(messages)


async def test_senders_that_come_together_share_a_publish(write_side: WriteSide, nats_url: str) -> None:
    async with await CountingConnection.open(nats_url, name="counting") as connection:
        bus = Bus(connection)
        commands = [schedule(new_id()) for _ in range(21)]

        await asyncio.gather(*(bus.send([command]) for command in commands))

        assert connection.publishes in (1, 2)
    for command in commands:
        assert await write_side.connection.last(COMMANDS, f"rota.command.*.job.{group_of(command.id)}.schedule")


async def test_what_is_too_much_for_one_publish_is_refused_whole(write_side: WriteSide) -> None:
    before = await last_sequence(write_side)

    with pytest.raises(
        TooLargeError, match=f"{MAX_BATCH + 1} groups of commands are over the limit of {MAX_BATCH}"
    ):
        await write_side.send(*(schedule(new_id()) for _ in range(MAX_BATCH + 1)))

    assert await last_sequence(write_side) == before


async def test_a_message_that_is_too_large_is_refused_with_all_of_its_request(write_side: WriteSide) -> None:
    before = await last_sequence(write_side)
    limit = write_side.connection.client.max_payload

    with pytest.raises(TooLargeError, match=f"The commands take {limit}"[:22]):
        await write_side.send(schedule(new_id()), schedule(new_id(), limit))

    assert await last_sequence(write_side) == before


async def test_a_request_that_is_refused_does_not_harm_those_that_come_with_it(write_side: WriteSide) -> None:
    good = schedule(new_id())
    too_large = schedule(new_id(), write_side.connection.client.max_payload)

    answers = await asyncio.gather(
        write_side.bus.send([too_large]), write_side.bus.send([good]), return_exceptions=True
    )

    assert isinstance(answers[0], TooLargeError)
    assert answers[1] is None
    assert await write_side.bus.find_waiting("job", good.id) == good


async def test_as_many_groups_as_a_publish_has_room_for_are_stored(write_side: WriteSide) -> None:
    await write_side.send(*(schedule(new_id()) for _ in range(MAX_BATCH)))

    assert await write_side.messages(COMMANDS) == MAX_BATCH


async def test_more_senders_than_one_publish_has_room_for_are_all_served(write_side: WriteSide) -> None:
    requests = [[schedule(new_id()) for _ in range(400)] for _ in range(6)]

    await asyncio.gather(*(write_side.bus.send(commands) for commands in requests))

    assert await write_side.messages(COMMANDS) == 2400


async def test_a_command_that_waits_for_a_shard_is_found(write_side: WriteSide) -> None:
    group = group_of(new_id())
    job, batch = schedule(member(group, 1)), group_of(new_id())
    opening = OpenBatch(id=batch, details=BatchDetails("add", "default", ("a.csv",), 10, 10, details().params))
    spec = RegisterSpec(id=f"send-mail-{group[:20]}")
    await write_side.send(schedule(member(group, 0)), job, opening, spec)
    await write_side.send(CancelJob(id=job.id))

    assert await write_side.bus.find_waiting("job", job.id) == job
    assert await write_side.bus.find_waiting("job", member(group, 2)) is None
    assert await write_side.bus.find_waiting("batch", batch) == opening
    assert await write_side.bus.find_waiting("spec", spec.id) == spec


async def test_what_is_sent_while_nats_is_killed_is_stored_when_it_is_back(tmp_path: Path) -> None:
    async with nats_server(tmp_path) as (server, url), await Connection.open(url, name="test") as connection:
        await prepare(connection)
        bus = Bus(connection)
        before, during = schedule(new_id()), schedule(new_id())
        await bus.send([before])

        sending = asyncio.create_task(restart(server, url))
        await asyncio.gather(sending, bus.send([during]))

        assert await bus.find_waiting("job", before.id) == before
        assert await bus.find_waiting("job", during.id) == during
