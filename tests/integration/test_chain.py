"""The chain of an aggregate's events leads to all of them, whatever lies between and whatever was removed."""

from datetime import UTC, datetime

from events.base import Event
from events.catalog import decode_event
from events.jetstream.chain import EXPECTED, chain
from events.jetstream.direct import sequence_of
from events.jetstream.log import Append
from events.jetstream.topology import EVENTS
from events.job import JobCancelled, JobQueued, JobStarted
from events.subjects import aggregate_filter
from rota.jetstream import Connection, Message
from tests.integration.write_side import WriteSide, details, new_id

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


async def store(connection: Connection, stream: str, id_: str, version: int, expected: int | None) -> int:
    """Store an event as the log does, with or without what it expects."""
    fence = {} if expected is None else {EXPECTED: str(expected), f"{EXPECTED}-Subject": f"{stream}.{id_}.>"}
    return await connection.publish(f"{stream}.{id_}.happened", b"", {"ce-id": f"{id_}.{version}"} | fence)


async def found(connection: Connection, stream: str, id_: str, after: int = 0) -> list[int]:
    return [sequence_of(message) for message in await chain(connection, stream, f"{stream}.{id_}.>", after)]


async def test_an_aggregate_without_events_has_an_empty_chain(connection: Connection, stream: str) -> None:
    assert await found(connection, stream, "a") == []


async def test_all_events_are_found_among_those_of_others(connection: Connection, stream: str) -> None:
    sequences, last = [], 0
    for version in range(1, 6):
        await store(connection, stream, f"other-{version}", 1, 0)
        last = await store(connection, stream, "a", version, last)
        sequences.append(last)

    assert await found(connection, stream, "a") == sequences == [2, 4, 6, 8, 10]


async def test_only_events_after_a_sequence_are_found(connection: Connection, stream: str) -> None:
    last = 0
    for version in range(1, 5):
        last = await store(connection, stream, "a", version, last)

    assert [await found(connection, stream, "a", after) for after in (0, 1, 3, 4, 9)] == [
        [1, 2, 3, 4],
        [2, 3, 4],
        [4],
        [],
        [],
    ]


async def test_events_that_were_stored_together_are_found(connection: Connection, stream: str) -> None:
    def event(version: int, headers: dict[str, str]) -> Message:
        return Message(f"{stream}.a.happened", b"", {"ce-id": f"a.{version}"} | headers)

    first = await store(connection, stream, "a", 1, 0)
    await store(connection, stream, "b", 1, 0)
    last = await connection.publish_all([event(2, {EXPECTED: str(first)}), event(3, {}), event(4, {})])
    await store(connection, stream, "b", 2, 2)
    await store(connection, stream, "a", 5, last)

    assert await found(connection, stream, "a") == [1, 3, 4, 5, 7]
    assert await found(connection, stream, "a", 3) == [4, 5, 7]


async def test_what_was_removed_is_left_out(connection: Connection, stream: str) -> None:
    last = 0
    for version in range(1, 5):
        last = await store(connection, stream, "a", version, last)
    await connection.call(f"STREAM.PURGE.{stream}", {"seq": 3})

    assert await found(connection, stream, "a") == [3, 4]


async def test_events_that_are_not_where_their_successors_say_are_searched_for(
    connection: Connection, stream: str
) -> None:
    """As in a log that was copied message by message into a stream that had others."""
    await store(connection, stream, "b", 1, None)
    for version in range(1, 4):
        await store(connection, stream, "a", version, None)
        await store(connection, stream, "b", version + 1, None)

    assert await found(connection, stream, "a") == [2, 4, 6]
    assert await found(connection, stream, "a", after=2) == [4, 6]


async def test_the_log_stores_what_the_chain_follows(write_side: WriteSide) -> None:
    id_ = new_id()

    def started(version: int) -> Event:
        return JobStarted(
            originator_id=id_, originator_version=version, at=NOW, attempt=1, worker="w", started_at=NOW
        )

    queued = JobQueued(originator_id=id_, originator_version=1, at=NOW, attempt=1, details=details())
    cancelled = JobCancelled(originator_id=id_, originator_version=4, at=NOW, attempt=1)
    [first] = await write_side.log.append([Append("job", id_, 0, [queued])])
    [third] = await write_side.log.append([Append("job", id_, first, [started(2), started(3)])])
    await write_side.log.append([Append("job", id_, third, [cancelled])])

    messages = await chain(write_side.connection, EVENTS, aggregate_filter("job", id_))

    assert [decode_event(message.data) for message in messages] == [queued, started(2), started(3), cancelled]
