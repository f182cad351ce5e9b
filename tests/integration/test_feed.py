"""The log as a feed for many readers, with a real NATS server that may be killed or lose its store."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from events.jetstream import feed as feeds
from events.jetstream import tail as tails
from events.jetstream.feed import Feed, Gap, Reader
from events.jetstream.log import Append, Log, Recorded
from events.jetstream.topology import prepare
from events.job import JobProgressed, JobQueued
from events.log import LOG_ID, LogTrimmed
from rota.jetstream import Connection
from rota.protocol import JobDetails
from tests.integration.write_side import WriteSide, nats_server, new_id, start

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
WAIT_SECONDS = 30.0

Item = tuple[int, str]


def item(recorded: Recorded) -> Item:
    return recorded.sequence, recorded.event.originator_id


@asynccontextmanager
async def feeding(connection: Connection) -> AsyncIterator[Feed[Item]]:
    feed = Feed(connection, Log(connection), item)
    try:
        yield feed
    finally:
        await feed.close()


async def store(log: Log, id_: str, count: int, *, bytes_: int = 0) -> list[int]:
    """Store so many events of one job; return their sequences."""
    details = JobDetails("add", "default", msgspec.Raw(msgspec.msgpack.encode({})))
    facts: dict[str, Any] = {"originator_id": id_, "at": NOW, "attempt": 1}
    text = "x" * bytes_
    events: list[Any] = [
        JobProgressed(originator_version=version, percent=1, message=text, **facts)
        for version in range(2, count + 1)
    ]
    events.insert(0, JobQueued(originator_version=1, details=details, **facts))
    last = 0
    for begin in range(0, count, 500):
        [last] = await log.append([Append("job", id_, last, events[begin : begin + 500])])
    return list(range(last - count + 1, last + 1))


async def taken(reader: Reader[Item], count: int) -> list[int]:
    """Take so many items, of which none may be a gap; return their sequences."""
    found: list[int] = []
    async with asyncio.timeout(WAIT_SECONDS):
        while len(found) < count:
            for one in await reader.take():
                assert not isinstance(one, Gap), one
                found.append(one[0])
    return found


async def test_readers_share_the_tail_and_get_each_event_once_and_in_order(write_side: WriteSide) -> None:
    before = await consumers(write_side.connection)
    async with feeding(write_side.connection) as feed, feed.read() as one, feed.read() as other:
        expected = await store(write_side.log, new_id(), 3000)
        found = await asyncio.gather(taken(one, 3000), taken(other, 3000))
        assert list(found) == [expected, expected]
        assert len(await consumers(write_side.connection) - before) == 1


async def test_a_reader_that_falls_behind_reads_the_log_until_it_is_back(
    write_side: WriteSide, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tails, "MAX_EVENTS", 100)
    async with feeding(write_side.connection) as feed, feed.read() as quick, feed.read() as slow:
        expected = await store(write_side.log, new_id(), 2000)
        assert await taken(quick, 2000) == expected
        assert len(feed.tail._items) <= 100
        found = await taken(slow, 1500)
        assert slow._follower
        more = await store(write_side.log, new_id(), 10)
        found += await taken(slow, 2010 - len(found))
        assert found == expected + more
        last = await store(write_side.log, new_id(), 1)
        assert await taken(slow, 1) == last
        assert slow._follower is None


async def test_the_tail_is_bounded_by_bytes_and_an_event_that_is_larger_still_arrives(
    write_side: WriteSide, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tails, "MAX_BYTES", 50_000)
    async with feeding(write_side.connection) as feed, feed.read() as reader:
        expected = await store(write_side.log, new_id(), 100, bytes_=2000)
        expected += await store(write_side.log, new_id(), 3, bytes_=60_000)
        assert await taken(reader, 103) == expected
        assert feed.tail._bytes <= 50_000


async def test_who_wants_few_subjects_gets_those_alone(write_side: WriteSide) -> None:
    one, other = new_id(), new_id()
    async with feeding(write_side.connection) as feed:
        begin = await write_side.log.last_sequence()
        expected = await store(write_side.log, one, 300)
        await store(write_side.log, other, 300)
        async with feed.read([f"rota.event.job.{one}.>"], after=begin, apart=True) as reader:
            assert await taken(reader, 300) == expected
            assert feed.tail._task is None


async def test_many_who_come_back_at_once_find_their_place_in_the_tail(write_side: WriteSide) -> None:
    before = await consumers(write_side.connection)
    expected = await store(write_side.log, new_id(), 200)
    async with feeding(write_side.connection) as feed:
        readers = [feed.read(after=sequence - 1) for sequence in expected]
        for reader in readers:
            await reader.__aenter__()
        found = await asyncio.gather(*(taken(reader, 200 - place) for place, reader in enumerate(readers)))
        assert found == [expected[place:] for place in range(200)]
        assert len(await consumers(write_side.connection) - before) == 1
        for reader in readers:
            await reader.__aexit__()
        assert feed.tail._task is None


async def test_what_was_trimmed_is_a_gap_for_who_begins_before(write_side: WriteSide) -> None:
    kept = await store(write_side.log, new_id(), 10)
    facts: dict[str, Any] = {"originator_id": LOG_ID, "at": NOW, "before": NOW, "oldest_job": 0}
    trimmed = LogTrimmed(originator_version=1, until=kept[3], **facts)
    await write_side.log.append([Append("log", LOG_ID, 0, [trimmed])])
    async with feeding(write_side.connection) as feed:
        async with feed.read(after=kept[1]) as reader:
            [gap] = await reader.take()
            assert gap == Gap(kept[1], kept[4], feeds.REMOVED)
            # What had not ended is still there.
            assert (await taken(reader, 8))[:8] == kept[2:]
        async with feed.read(after=kept[3]) as reader:
            assert (await taken(reader, 6))[:6] == kept[4:]


@pytest.mark.parametrize("apart", [False, True], ids=["shared", "apart"])
async def test_what_is_removed_before_a_slow_reader_has_come_to_it_is_a_gap(
    write_side: WriteSide,
    monkeypatch: pytest.MonkeyPatch,
    apart: bool,  # noqa: FBT001 - by pytest
) -> None:
    monkeypatch.setattr(feeds, "LOOK_SECONDS", 0)
    monkeypatch.setattr(tails, "MAX_EVENTS", 100)
    id_ = new_id()
    expected = await store(write_side.log, id_, 2000)
    subjects = [f"rota.event.job.{id_}.>"]
    async with feeding(write_side.connection) as feed, feed.read(subjects, after=0, apart=apart) as reader:
        found = await taken(reader, 100)
        await write_side.connection.call("STREAM.PURGE.ROTA_EVENTS", {"seq": expected[1500]})
        [gap] = await reader.take()
        assert gap == Gap(found[-1], expected[1500], feeds.REMOVED)
        # It is told once.
        while found[-1] != expected[-1]:
            found += await taken(reader, 1)
    assert set(expected[1500:]) <= set(found)
    assert found == sorted(set(found))


@pytest.mark.parametrize("apart", [False, True], ids=["shared", "apart"])
async def test_reading_goes_on_after_nats_was_killed(tmp_path: Path, apart: bool) -> None:  # noqa: FBT001 - by pytest
    id_ = new_id()
    async with nats_server(tmp_path) as (server, url), await Connection.open(url, name="test") as connection:
        await prepare(connection)
        async with (
            feeding(connection) as feed,
            feed.read([f"rota.event.job.{id_}.>"], apart=apart) as reader,
        ):
            expected = await store(feed.log, new_id() if not apart else id_, 5)
            assert await taken(reader, 5) == expected
            waiting = asyncio.create_task(taken(reader, 1))
            await asyncio.to_thread(server.kill)
            await start(server, url.rpartition(":")[2])
            async with await Connection.open(url, name="other") as other:
                event = JobProgressed(originator_id=id_, originator_version=9, at=NOW, attempt=1, percent=1)
                [last] = await Log(other).append([Append("job", id_, expected[-1] if apart else 0, [event])])
            assert await waiting == [last]


@pytest.mark.parametrize("apart", [False, True], ids=["shared", "apart"])
async def test_a_log_that_was_lost_is_a_gap(tmp_path: Path, apart: bool) -> None:  # noqa: FBT001 - by pytest
    id_ = new_id()
    async with nats_server(tmp_path) as (server, url), await Connection.open(url, name="test") as connection:
        await prepare(connection)
        async with (
            feeding(connection) as feed,
            feed.read([f"rota.event.job.{id_}.>"], apart=apart) as reader,
        ):
            expected = await store(feed.log, id_, 5)
            assert await taken(reader, 5) == expected
            await asyncio.to_thread(server.kill)
            shutil.rmtree(tmp_path / "store")
            reconnects = feed.reconnects
            await start(server, url.rpartition(":")[2])
            async with await Connection.open(url, name="other") as other:
                await prepare(other)
            async with asyncio.timeout(WAIT_SECONDS):
                while feed.reconnects == reconnects:
                    await asyncio.sleep(0.01)
                [gap] = await reader.take()
            assert gap == Gap(expected[-1], 1, feeds.LOST)
            assert await store(feed.log, id_, 3) == [1, 2, 3]
            assert await taken(reader, 3) == [1, 2, 3]


async def consumers(connection: Connection) -> set[str]:
    """Return the names of the consumers of the log."""
    return set((await connection.call("CONSUMER.NAMES.ROTA_EVENTS"))["consumers"])
