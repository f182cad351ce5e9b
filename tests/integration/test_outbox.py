"""What several files tell the log at the same time shares messages, and is durable when the call returns."""

import asyncio

from actors.batch_log import BatchLog
from actors.outbox import Outbox
from events.batch import FinishFile
from events.ids import group_of
from events.jetstream.topology import COMMANDS
from tests.integration.write_side import WriteSide, new_id


def finish(batch: str, index: int) -> FinishFile:
    return FinishFile(id=batch, file_index=index, rows=1, jobs=1, bad=0)


async def stored(write_side: WriteSide) -> int:
    """Return how many messages with commands there are; no shard takes them."""
    count: int = (await write_side.connection.call(f"STREAM.INFO.{COMMANDS}"))["state"]["messages"]
    return count


async def test_what_is_sent_at_the_same_time_is_one_message(write_side: WriteSide) -> None:
    batch = group_of(new_id())
    outbox = Outbox(BatchLog(write_side.connection, batch, caller="reader"))

    await asyncio.gather(*(outbox.send([finish(batch, index)], 0.01, gather=True) for index in range(20)))

    assert await stored(write_side) == 1


async def test_no_message_takes_more_than_it_holds(write_side: WriteSide) -> None:
    batch = group_of(new_id())
    outbox = Outbox(BatchLog(write_side.connection, batch, caller="reader"))

    await asyncio.gather(*(outbox.send([finish(batch, index)], 0.4, gather=True) for index in range(6)))

    assert await stored(write_side) == 3


async def test_one_that_is_cancelled_leaves_its_commands_to_the_others(write_side: WriteSide) -> None:
    batch = group_of(new_id())
    outbox = Outbox(BatchLog(write_side.connection, batch, caller="reader"))
    first, second = [
        asyncio.create_task(outbox.send([finish(batch, index)], 0.01, gather=True)) for index in range(2)
    ]
    await asyncio.sleep(0)

    first.cancel()
    await second

    assert first.cancelled()
    assert await stored(write_side) == 1
