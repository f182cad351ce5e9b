"""Messages that are made to do harm: each costs its sender at most, and the shard goes on."""

from datetime import UTC, datetime

import msgspec
import pytest
from msgspec.structs import replace

from actors.handler import Handler
from actors.shard import Shard
from events.base import Origin
from events.catalog import encode
from events.ids import group_of
from events.jetstream.dead_letters import DeadLetter, DeadLetters
from events.jetstream.requests import HEADER_CHARACTERS, MAX_COMMANDS, Asked, answer
from events.jetstream.topology import COMMANDS
from events.job import CancelJob, ScheduleJob
from rota.errors import ConflictError, TooLargeError
from rota.jetstream import Message, Msg
from rota.protocol import CALLER, CONTENT_TYPE, MSGPACK, REPLY_TO
from tests.integration.write_side import WriteSide, details, new_id


async def publish(write_side: WriteSide, subject: str, body: bytes, headers: dict[str, str] | None = None) -> None:
    """Publish a message, and wait until the shard is through with it and with what comes after it."""
    await write_side.connection.publish(subject, body, headers)
    after = new_id()
    await write_side.send(ScheduleJob(id=after, details=details()))
    await write_side.until(after, "job.queued")
    await write_side.until_messages(0, COMMANDS)


async def letters(write_side: WriteSide) -> list[DeadLetter]:
    return [letter async for _, letter in DeadLetters(write_side.connection).list()]


@pytest.mark.parametrize("id_", ["x\n", "-5"])
async def test_an_id_that_makes_no_subject_cannot_be_read(write_side: WriteSide, shard: Shard, id_: str) -> None:
    body = msgspec.msgpack.encode([{"type": "job.cancel", "id": id_}])

    await publish(write_side, "rota.command.job.x.cancel", body)

    [letter] = await letters(write_side)
    assert (letter.status, letter.body) == ("failed", body)


async def test_a_command_on_the_subject_of_another_is_refused_once(write_side: WriteSide, shard: Shard) -> None:
    await publish(write_side, "rota.command.job.x.schedule", encode([CancelJob(id="x")]))

    [letter] = await letters(write_side)
    assert (letter.status, letter.reason) == ("refused", "There is no job x")


async def test_a_message_that_leaves_no_room_for_a_letter_is_told_without_its_body(
    write_side: WriteSide, shard: Shard
) -> None:
    body = b"\xc1" * (write_side.connection.client.max_payload - 100)

    await publish(write_side, "rota.command.job.x.schedule", body)

    [letter] = await letters(write_side)
    assert (letter.status, letter.subject) == ("failed", "rota.command.job.x.schedule")


async def test_a_command_that_leaves_no_room_for_its_event_is_told_without_its_body(
    write_side: WriteSide, shard: Shard
) -> None:
    id_ = new_id()
    room = write_side.connection.client.max_payload - 350
    large = details(params={"a": "x" * room})

    await publish(
        write_side, f"rota.command.job.{group_of(id_)}.schedule", encode([ScheduleJob(id=id_, details=large)])
    )

    [letter] = await letters(write_side)
    assert (letter.status, letter.id) == ("failed", id_)


async def test_no_answer_goes_to_a_subject_that_the_server_would_not_take(
    write_side: WriteSide, shard: Shard
) -> None:
    id_ = await write_side.schedule()
    await write_side.until(id_, "job.queued")
    lost: list[int] = []
    write_side.connection.on_reconnect.add(lambda: lost.append(1))

    subject = f"rota.command.job.{group_of(id_)}.cancel"
    await publish(write_side, subject, encode([CancelJob(id=id_)]), {REPLY_TO: "a" * 10_000})

    assert await write_side.tags(id_) == ["job.queued", "job.cancelled"]
    assert lost == []


async def test_outcomes_that_are_too_large_for_a_message_are_not_sent(write_side: WriteSide) -> None:
    connection = write_side.connection
    asked = Asked(CancelJob(id="x"), Origin("c"))
    asked.end("refused", "x" * connection.client.max_payload)

    await answer(connection, Msg(connection.client, headers={REPLY_TO: "answers"}), [asked])


async def test_a_list_that_would_hold_up_all_others_is_not_read(write_side: WriteSide, shard: Shard) -> None:
    body = encode([CancelJob(id="x")] * (MAX_COMMANDS + 1))

    await publish(write_side, "rota.command.job.x.cancel", body, {CALLER: "a\t" * 1000, CONTENT_TYPE: MSGPACK})

    [letter] = await letters(write_side)
    assert letter.reason.endswith("It has 10001 commands; the limit is 10000")
    assert letter.headers == {CALLER: ("a " * 1000)[:HEADER_CHARACTERS], CONTENT_TYPE: MSGPACK}


@pytest.mark.parametrize("number", [-1, 2**53])
async def test_a_number_that_counts_nothing_cannot_be_read(
    write_side: WriteSide, shard: Shard, number: int
) -> None:
    fields = {"type": "batch.advance", "id": "b", "file_index": number, "position": {}, "rows": 1, "jobs": 1}

    await publish(write_side, "rota.command.batch.b.advance", msgspec.msgpack.encode([fields]))

    assert [letter.status for letter in await letters(write_side)] == ["failed"]


async def test_headers_count_where_a_message_is_measured(write_side: WriteSide) -> None:
    """The server closes the connection of who sends more, and then it is not known what was stored."""
    body = bytes(write_side.connection.client.max_payload - 100)

    with pytest.raises(TooLargeError):
        await write_side.connection.publish("rota.command.job.x.cancel", body, {CALLER: "x" * 100})
    with pytest.raises(TooLargeError):
        await write_side.connection.publish_all(
            [Message("rota.command.job.x.cancel", body, {CALLER: "x" * 20})] * 2
        )

    assert write_side.connection.client.is_connected


async def test_a_letter_without_its_message_is_not_sent_again(write_side: WriteSide) -> None:
    put = DeadLetters(write_side.connection)
    letter = DeadLetter(
        status="failed", reason="no", at=datetime.now(UTC), subject="rota.command.job.x.y", body=b""
    )
    forged = replace(letter, subject="$JS.API.STREAM.PURGE.ROTA_EVENTS", body=b"{}")
    for one in (letter, forged):
        await put.put(one, None)

    for sequence in [sequence async for sequence, _ in put.list()]:
        with pytest.raises(ConflictError):
            await put.send_again(sequence)


async def test_a_command_that_comes_again_before_its_ack_leaves_one_letter(write_side: WriteSide) -> None:
    handler = Handler(write_side.connection, [], lambda: datetime.now(UTC))
    name = new_id()
    for _ in range(2):
        await handler.carry_out([Asked(CancelJob(id="x"), Origin("c"), name=name)])

    assert len(await letters(write_side)) == 1
