"""A NATS server without room: nothing that passes by itself costs a command."""

import asyncio

import pytest

from actors.handler import TRIES
from events.jetstream.dead_letters import DeadLetters
from events.jetstream.topology import COMMANDS, EVENTS
from tests.integration.write_side import WAIT_SECONDS, WriteSide, sharding


async def test_commands_wait_while_the_log_has_no_room(
    write_side: WriteSide, caplog: pytest.LogCaptureFixture
) -> None:
    call = write_side.connection.call
    config = (await call(f"STREAM.INFO.{EVENTS}"))["config"]
    full = {**config, "discard": "new", "max_bytes": 100}
    await call(f"STREAM.UPDATE.{EVENTS}", full)
    try:
        async with sharding(write_side.connection):
            id_ = await write_side.schedule()
            async with asyncio.timeout(WAIT_SECONDS):
                while caplog.text.count("trying again") <= TRIES:
                    await asyncio.sleep(0.01)
            assert await write_side.messages(COMMANDS, "rota.command.>") == 1

            await call(f"STREAM.UPDATE.{EVENTS}", config)
            await write_side.until(id_, "job.queued")
    finally:
        await call(f"STREAM.UPDATE.{EVENTS}", config)
    assert [letter async for letter in DeadLetters(write_side.connection).list()] == []
