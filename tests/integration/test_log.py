"""The log: append with the expected sequence, load, and follow past a NATS server that is killed."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from events.base import Event
from events.catalog import AnyEvent, decode_event
from events.jetstream.log import Append, Log, SequenceConflictError
from events.jetstream.topology import prepare
from events.job import JobCancelled, JobQueued, JobStarted
from events.subjects import aggregate_filter
from rota.jetstream import MAX_BATCH, Connection, until_available
from rota.pull import delivery
from tests.integration.write_side import WAIT_SECONDS, WriteSide, details, nats_server, new_id, restart

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def queued(id_: str) -> JobQueued:
    return JobQueued(originator_id=id_, originator_version=1, at=NOW, attempt=1, details=details())


def started(id_: str, version: int = 2) -> JobStarted:
    return JobStarted(originator_id=id_, originator_version=version, at=NOW, attempt=1, worker="w", started_at=NOW)


def cancelled(id_: str, version: int = 2) -> JobCancelled:
    return JobCancelled(originator_id=id_, originator_version=version, at=NOW, attempt=1)


def append(id_: str, expected: int, *events: Event) -> Append:
    return Append("job", id_, expected, list(events))


async def test_events_are_loaded_in_the_order_in_which_they_were_appended(write_side: WriteSide) -> None:
    id_ = new_id()
    [second] = await write_side.log.append([append(id_, 0, queued(id_), started(id_))])
    [third] = await write_side.log.append([append(id_, second, cancelled(id_, 3))])

    loaded = await write_side.log.load("job", id_)

    assert [recorded.event for recorded in loaded] == [queued(id_), started(id_), cancelled(id_, 3)]
    assert [recorded.sequence for recorded in loaded] == [second - 1, second, third]
    assert await write_side.log.load("job", id_, after=second) == loaded[2:]
    assert await write_side.log.last_sequence() == third


async def test_an_aggregate_that_was_never_made_has_no_events(write_side: WriteSide) -> None:
    assert await write_side.log.load("job", new_id()) == []


async def test_several_aggregates_are_appended_to_at_once(write_side: WriteSide) -> None:
    one, other = new_id(), new_id()

    lasts = await write_side.log.append(
        [append(one, 0, queued(one), started(one)), append(other, 0, queued(other))]
    )

    assert [recorded.sequence for recorded in await write_side.log.load("job", one)] == [lasts[0] - 1, lasts[0]]
    assert [recorded.sequence for recorded in await write_side.log.load("job", other)] == [lasts[1]]


@pytest.mark.parametrize("expected", [0, 1_000_000_000], ids=["new", "another sequence"])
async def test_an_append_that_expects_something_else_is_a_conflict(write_side: WriteSide, expected: int) -> None:
    id_ = new_id()
    await write_side.log.append([append(id_, 0, queued(id_))])

    with pytest.raises(SequenceConflictError):
        await write_side.log.append([append(id_, expected, cancelled(id_))])

    assert await write_side.tags(id_) == ["job.queued"]


@pytest.mark.parametrize("place", [0, 1, 2])
async def test_a_conflict_of_one_aggregate_leaves_none_of_the_others_in_halves(
    write_side: WriteSide, place: int
) -> None:
    taken, single, double = new_id(), new_id(), new_id()
    await write_side.log.append([append(taken, 0, queued(taken))])
    appends = [append(single, 0, queued(single)), append(double, 0, queued(double), started(double))]
    appends.insert(place, append(taken, 0, queued(taken)))

    with pytest.raises(SequenceConflictError):
        await write_side.log.append(appends)

    assert await write_side.tags(taken) == ["job.queued"]
    assert await write_side.tags(single) in ([], ["job.queued"])
    assert await write_side.tags(double) in ([], ["job.queued", "job.started"])


async def test_a_conflict_inside_the_events_of_one_aggregate_stores_none_of_them(write_side: WriteSide) -> None:
    id_ = new_id()
    [last] = await write_side.log.append([append(id_, 0, queued(id_))])

    with pytest.raises(SequenceConflictError):
        await write_side.log.append([append(id_, last + 1, started(id_), cancelled(id_))])

    assert await write_side.tags(id_) == ["job.queued"]


async def test_of_two_that_decide_at_once_one_has_a_conflict(write_side: WriteSide) -> None:
    id_ = new_id()
    [last] = await write_side.log.append([append(id_, 0, queued(id_))])

    answers = await asyncio.gather(
        write_side.log.append([append(id_, last, started(id_))]),
        write_side.log.append([append(id_, last, cancelled(id_))]),
        return_exceptions=True,
    )

    assert sorted(type(answer).__name__ for answer in answers) == ["SequenceConflictError", "list"]
    assert len(await write_side.log.load("job", id_)) == 2


async def test_as_many_events_as_a_batch_has_room_for_are_stored_at_once(write_side: WriteSide) -> None:
    ids = [new_id() for _ in range(MAX_BATCH)]

    lasts = await write_side.log.append([append(id_, 0, queued(id_)) for id_ in ids])

    assert lasts == list(range(lasts[0], lasts[0] + MAX_BATCH))


async def test_a_history_of_many_pages_is_loaded_whole(write_side: WriteSide) -> None:
    id_ = new_id()
    await write_side.log.append(
        [append(id_, 0, queued(id_), *(started(id_, version) for version in range(2, MAX_BATCH + 1)))]
    )

    loaded = await write_side.log.load("job", id_)

    assert [recorded.event.originator_version for recorded in loaded] == list(range(1, MAX_BATCH + 1))


async def test_an_event_is_stored_as_a_cloud_event(write_side: WriteSide) -> None:
    id_ = new_id()
    await write_side.log.append([append(id_, 0, queued(id_))])

    message = await write_side.connection.last("ROTA_EVENTS", aggregate_filter("job", id_).replace(">", "*.*.*.*"))

    assert message
    headers = dict(message.headers or {})
    assert headers["ce-specversion"] == "1.0"
    assert headers["ce-id"] == f"{id_}.1"
    assert headers["ce-type"] == "rota.job.queued.v1"
    assert headers["ce-datacontenttype"] == "application/msgpack"


async def test_a_follower_begins_where_it_is_told_to(write_side: WriteSide) -> None:
    id_ = new_id()
    [last] = await write_side.log.append([append(id_, 0, queued(id_), started(id_), cancelled(id_, 3))])

    async with write_side.log.follow([aggregate_filter("job", id_)], after=last - 2) as follower:
        taken = await follower.take(timeout=WAIT_SECONDS)

        assert [decode_event(message.data) for message in taken] == [started(id_), cancelled(id_, 3)]
        assert follower.position == last
        assert await follower.take(timeout=0.01) == []


async def test_a_follower_sees_only_the_subjects_that_it_asked_for(write_side: WriteSide) -> None:
    one, other = new_id(), new_id()
    async with write_side.log.follow([aggregate_filter("job", one)]) as follower:
        await write_side.log.append([append(other, 0, queued(other)), append(one, 0, queued(one))])

        [message] = await follower.take(timeout=WAIT_SECONDS)

    assert decode_event(message.data) == queued(one)


async def test_a_follower_hands_out_no_more_than_it_is_asked_for(write_side: WriteSide) -> None:
    id_ = new_id()
    await write_side.log.append([append(id_, 0, queued(id_), started(id_), cancelled(id_, 3))])
    async with write_side.log.follow([aggregate_filter("job", id_)]) as follower:
        found: list[AnyEvent] = []
        while len(found) < 3:
            taken = await follower.take(2, timeout=WAIT_SECONDS)
            assert 1 <= len(taken) <= 2
            found += [decode_event(message.data) for message in taken]

    assert found == [queued(id_), started(id_), cancelled(id_, 3)]


async def test_a_follower_loses_and_doubles_nothing_though_nats_is_killed(tmp_path: Path) -> None:
    total, at_a_time = 2000, 50
    async with (
        nats_server(tmp_path) as (server, url),
        await Connection.open(url, name="writer") as writer,
        await Connection.open(url, name="reader") as reader,
    ):
        await prepare(writer)
        log = Log(writer)
        written: list[str] = []

        async def write() -> None:
            while len(written) < total:
                ids = [new_id() for _ in range(at_a_time)]

                async def store(ids: list[str] = ids) -> None:
                    try:
                        await log.append([append(id_, 0, queued(id_)) for id_ in ids])
                    except SequenceConflictError:
                        # It was stored by the attempt whose answer was lost.
                        assert await log.load("job", ids[0])

                await until_available(store)
                written.extend(ids)

        sequences: list[int] = []
        seen: list[str] = []
        async with asyncio.timeout(40), Log(reader).follow() as follower:
            writing = asyncio.create_task(write())
            killed = False
            while len(seen) < total:
                taken = await until_available(follower.take)
                sequences += [delivery(message).sequence for message in taken]
                seen += [decode_event(message.data).originator_id for message in taken]
                if not killed and len(seen) > total // 3:
                    killed = True
                    await restart(server, url)
            await writing

    assert seen == written
    assert sequences == list(range(1, total + 1))


async def test_a_follower_gets_what_was_lost_with_the_connection_though_nothing_comes_after_it(
    write_side: WriteSide,
) -> None:
    one, other = new_id(), new_id()
    subjects = [aggregate_filter("job", one), aggregate_filter("job", other)]
    url = write_side.connection.client.connected_url
    assert url
    async with (
        asyncio.timeout(WAIT_SECONDS),
        await Connection.open(url.geturl(), name="reader") as reader,
        Log(reader).follow(subjects) as follower,
    ):
        await write_side.log.append([append(one, 0, queued(one))])
        [first] = await follower.take()
        transport: Any = reader.client._transport
        transport._io_writer.transport.pause_reading()
        await write_side.log.append([append(other, 0, queued(other))])
        consumer = f"CONSUMER.INFO.ROTA_EVENTS.{delivery(first).consumer}"
        while (await write_side.connection.call(consumer))["delivered"]["consumer_seq"] < 2:
            await asyncio.sleep(0.01)
        transport.close()
        [second] = await until_available(follower.take)

    assert [decode_event(message.data) for message in (first, second)] == [queued(one), queued(other)]


async def test_a_follower_is_made_again_once_however_often_it_is_told_that_its_consumer_is_gone(
    write_side: WriteSide,
) -> None:
    async with write_side.log.follow(after=await write_side.log.last_sequence()) as follower:
        first = follower._name
        for _ in range(3):  # as many requests as were waiting while NATS was away
            gone = "$JS.API.CONSUMER.MSG.NEXT.ROTA_EVENTS.gone"
            await write_side.connection.send(gone, b"1", reply=follower._pull._reply)
        async with asyncio.timeout(WAIT_SECONDS):
            while follower._name == first:
                await asyncio.sleep(0.01)
        second = follower._name
        assert await follower.take(timeout=2) == []

        assert follower._name == second
