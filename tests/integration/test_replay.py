"""Replays of a log of their own, with a real nats-server that dies on the way."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from pyarrow import parquet

from rota.errors import ConflictError, NotFoundError
from rota.jetstream import Connection
from rota.replay import Replay, last_before
from tests.integration.past import NOON, Past, Terminal, a_batch, failed, past_in, queued, succeeded
from tests.integration.write_side import nats_server, restart, start

MANY = 12_000


@pytest_asyncio.fixture
async def past(tmp_path: Path) -> AsyncIterator[Past]:
    async with past_in(tmp_path) as past:
        yield past


@pytest.fixture
def rota(past: Past, capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(past, capsys)


async def rest(replay: Replay) -> list[int]:
    """Return the sequences of all messages that are still to come."""
    found = []
    while messages := await replay.take():
        found += [sequence for sequence, _ in messages]
    return found


def lines(out: str) -> list[tuple[str, int]]:
    return [(event["id"], event["version"]) for event in map(json.loads, out.splitlines())]


async def test_a_replay_ends_where_the_log_ended_when_it_began(past: Past) -> None:
    await past.store_many(10)
    async with Replay(past.connection) as replay:
        await past.store(queued("late"))
        assert await rest(replay) == list(range(1, 11))
    async with Replay(past.connection, after=3, up_to=7) as replay:
        assert await rest(replay) == [4, 5, 6, 7]
    async with Replay(past.connection, after=11) as replay:
        assert await rest(replay) == []


async def test_each_event_comes_once_though_the_server_is_killed_on_the_way(past: Past) -> None:
    await past.store_many(MANY)
    async with Replay(past.connection) as replay:
        found = [sequence for sequence, _ in await replay.take()]
        await restart(past.server, past.url)
        found += await rest(replay)
    assert found == list(range(1, MANY + 1))


async def test_each_event_comes_once_though_the_connection_and_the_consumer_are_lost(past: Past) -> None:
    await past.store_many(MANY)
    async with await Connection.open(past.url, name="reader") as connection, Replay(connection) as replay:
        found = [sequence for sequence, _ in await replay.take()]
        transport = connection.client._transport
        assert transport
        transport.close()  # type: ignore[no-untyped-call] # nats-py has left out its types
        found += [sequence for sequence, _ in await replay.take()]
        consumers = await past.connection.call("CONSUMER.NAMES.ROTA_EVENTS")
        for name in consumers["consumers"]:
            if name.startswith("replay-"):
                await past.connection.call(f"CONSUMER.DELETE.ROTA_EVENTS.{name}")
        found += await rest(replay)
    assert found == list(range(1, MANY + 1))


async def test_a_replay_ends_though_what_was_to_come_is_removed(past: Past) -> None:
    await past.store_many(MANY)
    async with Replay(past.connection) as replay:
        found = [sequence for sequence, _ in await replay.take()]
        await past.connection.call("STREAM.PURGE.ROTA_EVENTS")
        found += await rest(replay)
    assert found == list(range(1, len(found) + 1))


async def test_a_log_that_was_replaced_is_not_gone_on_with(past: Past) -> None:
    await past.store_many(MANY)
    async with Replay(past.connection) as replay:
        await replay.take()
        await asyncio.to_thread(past.server.kill)
        shutil.rmtree(past.home / "store")
        await start(past.server, past.url.rpartition(":")[2])
        with pytest.raises((ConflictError, NotFoundError)):
            await rest(replay)


async def test_the_last_event_before_a_time_is_found_without_reading(past: Past) -> None:
    moments = [datetime.now(UTC)]
    for number in range(3):
        await past.store(queued(f"j-{number}"))
        moments.append(datetime.now(UTC))
    assert [await last_before(past.connection, moment) for moment in moments] == [0, 1, 2, 3]
    assert await last_before(past.connection, NOON - timedelta(days=9999)) == 0
    assert await last_before(past.connection, datetime.now(UTC) + timedelta(days=1)) == 3


async def test_events_are_selected_by_type_kind_and_sequence(past: Past, rota: Terminal) -> None:
    await past.store(*a_batch("b"), queued("j"), failed("j"))
    _, out, _ = await rota("replay", "--all", "--type", "job.failed", "--type", "batch.*", "--json")
    assert lines(out) == [("b", 1), ("b", 2), ("b", 3), ("j", 2)]
    _, out, _ = await rota("replay", "--all", "--kind", "job", "--after", "3", "--up-to", "8", "--json")
    assert lines(out) == [("b_0-0", 2), ("b_0-1", 2), ("j", 1)]


async def test_events_are_selected_by_the_time_at_which_they_happened(past: Past, rota: Terminal) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    shift = int((now - NOON).total_seconds())
    await past.store(*(queued(f"j-{ago}", second=shift - ago) for ago in (7200, 120, 60, 0)))
    arguments = ("replay", "--all", "--json", "--since", (now - timedelta(seconds=120)).isoformat())
    _, out, _ = await rota(*arguments)
    assert lines(out) == [("j-120", 1), ("j-60", 1), ("j-0", 1)]
    _, out, _ = await rota(*arguments, "--until", now.isoformat())
    assert lines(out) == [("j-120", 1), ("j-60", 1)]
    _, out, _ = await rota("replay", "--all", "--json", "--since", "1h")
    assert lines(out) == [("j-120", 1), ("j-60", 1), ("j-0", 1)]


async def test_all_that_belongs_to_a_batch_is_selected(past: Past, rota: Terminal) -> None:
    await past.store(queued("j"), *a_batch("b"), *a_batch("c"))
    _, out, _ = await rota("replay", "--correlation", "b", "--json")
    assert lines(out) == [(event.originator_id, event.originator_version) for event in a_batch("b")]
    status, _, err = await rota("replay", "--correlation", "nothing")
    assert (status, err) == (1, "rota: The log has no event of nothing\n")


async def test_a_range_without_an_event_of_an_id_says_so(past: Past, rota: Terminal) -> None:
    await past.store(queued("j"))
    status, _, err = await rota("replay", "j", "--after", "1")
    assert (status, err) == (1, "rota: The log has no event of j that fits\n")


async def test_who_asked_is_printed_behind_an_event(past: Past, rota: Terminal) -> None:
    await past.store(succeeded("j", 1))
    _, out, _ = await rota("replay", "j")
    assert out.endswith(' command_id="7" caller="worker:w" causation_id="j.1" correlation_id="j"\n')


async def test_the_chain_of_a_batch_goes_down_to_reports(past: Past, rota: Terminal) -> None:
    await past.store(queued("j"), *a_batch("b"))
    status, out, err = await rota("replay", "--chain", "b")
    assert (status, err) == (0, "")
    tree = [line[36:].split("  asked")[0].rstrip() for line in out.splitlines()]
    assert tree == [
        "batch.opened  b v1",
        "  job.queued  b_0-0 v1",
        "    job.succeeded  b_0-0 v2",
        "  job.queued  b_0-1 v1",
        "    job.succeeded  b_0-1 v2",
        "  batch.sealed  b v2",
        "  batch.completed  b v3",
    ]


async def test_the_chain_of_a_job_goes_up_to_the_first_cause(past: Past, rota: Terminal) -> None:
    await past.store(*a_batch("b"))
    _, out, _ = await rota("replay", "--chain", "b_0-1", "--json")
    links = [(event["depth"], event["type"]) for event in map(json.loads, out.splitlines())]
    assert links == [(0, "batch.opened"), (1, "job.queued"), (2, "job.succeeded")]


async def test_a_chain_of_old_events_says_that_causes_are_missing(past: Past, rota: Terminal) -> None:
    await past.store(queued("j"), failed("j"))
    status, out, err = await rota("replay", "--chain", "j")
    assert (status, out.count("\n")) == (0, 2)
    assert err.startswith("rota: 1 of these events are older than the fields that tell what caused them")
    status, _, err = await rota("replay", "--chain", "nothing")
    assert (status, err) == (1, "rota: The log has nothing of nothing\n")


@pytest.mark.parametrize("ending", ["ndjson", "parquet"])
async def test_events_are_exported(past: Past, rota: Terminal, tmp_path: Path, ending: str) -> None:
    await past.store_many(5000)
    await past.store(*a_batch("b"))
    path = tmp_path / f"events.{ending}"
    status, out, err = await rota("replay", "--all", "--kind", "job", "--output", str(path))
    assert (status, out, err) == (0, f"5,004 events up to sequence 5007 are in {path}\n", "")
    if ending == "ndjson":
        found = [json.loads(line)["sequence"] for line in path.read_text().splitlines()]
    else:
        found = parquet.read_table(path).column("sequence").to_pylist()
    assert found == [*range(1, 5001), 5002, 5003, 5004, 5006]


@pytest.mark.parametrize(
    "arguments",
    [
        ("--all", "--output", "events.csv"),
        ("--all", "--since", "yesterday"),
        ("--all", "--type", "queued"),
        ("--all", "--after", "-1"),
        ("a.b",),
        ("a", "--correlation", "b"),
    ],
)
async def test_what_means_nothing_is_a_usage_error(arguments: tuple[str, ...], rota: Terminal) -> None:
    with pytest.raises(SystemExit) as exit_:
        await rota("replay", *arguments)
    assert exit_.value.code == 2


async def test_what_is_no_event_is_left_out_with_a_word_about_it(
    past: Past, rota: Terminal, caplog: pytest.LogCaptureFixture
) -> None:
    await past.store(queued("j-1"))
    for body in (b"\xc1", b"\x91" * 3000 + b"\xc0", b"\x80", b"\x81\xa2id\x01"):
        await past.connection.publish("rota.event.job.j-2.queued", body)
    _, out, _ = await rota("replay", "--all", "--json", "--since", "1w")
    assert lines(out) == []
    _, out, _ = await rota("replay", "--all", "--json")
    assert lines(out) == [("j-1", 1)]
    for sequence in range(2, 6):
        assert f"message {sequence} on rota.event.job.j-2.queued is no event" in caplog.text


async def test_a_server_without_rota_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with nats_server(tmp_path) as (server, url), await Connection.open(url, name="test") as connection:
        status, _, err = await Terminal(Past(server, url, connection, tmp_path), capsys)("replay", "--all")
    assert status == 1
    assert err == "rota: This NATS server has no events of Rota: is it the one that Rota uses?\n"
