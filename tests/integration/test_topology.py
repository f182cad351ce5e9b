"""The streams are made, or checked; what differs is named and stays as it is."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from events.jetstream.topology import CONSUMERS, STREAMS, WORK, check_server, prepare
from rota.errors import IncompatibleError, UnavailableError
from rota.jetstream import Connection
from scripts.stack import Service, free_port, program
from tests.integration.write_side import WriteSide, nats_server, start


@pytest_asyncio.fixture(loop_scope="session")
async def fresh(tmp_path: Path) -> AsyncIterator[Connection]:
    """Connect to a server that has no streams."""
    async with nats_server(tmp_path) as (_, url), await Connection.open(url, name="test") as connection:
        yield connection


@asynccontextmanager
async def plain_server(folder: Path, *options: str) -> AsyncIterator[Connection]:
    """Run a nats-server without Rota's configuration."""
    port = free_port()
    command = [program("nats-server"), "-a", "127.0.0.1", "-p", str(port), *options]
    server = Service("nats-server", command, {}, folder / "nats.log", says_ready=False)
    try:
        await start(server, port)
        async with await Connection.open(f"nats://127.0.0.1:{port}", name="test") as connection:
            yield connection
    finally:
        await asyncio.to_thread(server.kill)


async def names(connection: Connection) -> set[str]:
    return set((await connection.call("STREAM.NAMES"))["streams"] or [])


async def test_what_is_missing_is_made(fresh: Connection) -> None:
    await prepare(fresh)

    assert await names(fresh) == set(STREAMS)
    for stream, config in CONSUMERS:
        found = await fresh.call(f"CONSUMER.INFO.{stream}.{config['durable_name']}")
        for name in {"filter_subject", "filter_subjects"} & config.keys():
            assert found["config"][name] == config[name]


async def test_what_is_there_is_checked_and_kept(fresh: Connection) -> None:
    await prepare(fresh)
    await fresh.publish("rota.payload.x", b"kept")

    await prepare(fresh)

    message = await fresh.last("ROTA_PAYLOADS", "rota.payload.x")
    assert message
    assert message.data == b"kept"


async def test_two_processes_may_prepare_at_once(fresh: Connection) -> None:
    await asyncio.gather(prepare(fresh), prepare(fresh))

    assert await names(fresh) == set(STREAMS)


@pytest.mark.parametrize(
    ("stream", "change", "difference"),
    [
        ("ROTA_EVENTS", {"allow_atomic": False}, "allow_atomic is None, not True"),
        ("ROTA_EVENTS", {"storage": "memory"}, "storage is 'memory', not 'file'"),
        (
            "ROTA_PAYLOADS",
            {"subjects": ["rota.payload.*"]},
            "subjects[0] is 'rota.payload.*', not 'rota.payload.>'",
        ),
    ],
)
async def test_a_stream_with_another_configuration_is_named_and_stays_as_it_is(
    fresh: Connection, stream: str, change: dict[str, object], difference: str
) -> None:
    config = {"name": stream, **STREAMS[stream], **change}
    await fresh.call(f"STREAM.CREATE.{stream}", config)

    with pytest.raises(IncompatibleError) as caught:
        await prepare(fresh)

    assert f"The stream {stream} exists with another configuration" in str(caught.value)
    assert difference in str(caught.value)
    found = (await fresh.call(f"STREAM.INFO.{stream}"))["config"]
    assert found["subjects"] == config["subjects"]


async def test_what_rota_does_not_ask_for_may_be_as_it_is(fresh: Connection) -> None:
    await prepare(fresh)
    config = (await fresh.call("STREAM.INFO.ROTA_EVENTS"))["config"]
    await fresh.call("STREAM.UPDATE.ROTA_EVENTS", {**config, "max_bytes": 10_000_000, "description": "kept"})

    await prepare(fresh)

    found = (await fresh.call("STREAM.INFO.ROTA_EVENTS"))["config"]
    assert (found["max_bytes"], found["description"]) == (10_000_000, "kept")


async def test_a_server_without_jetstream_is_told_apart(tmp_path: Path) -> None:
    folder = tmp_path / "nats.conf"
    folder.write_text("max_payload: 8MB\n")
    async with plain_server(tmp_path, "-c", str(folder)) as connection:
        with pytest.raises(IncompatibleError, match="JetStream is not enabled"):
            await prepare(connection)


async def test_a_server_that_takes_only_small_messages_is_told_apart(tmp_path: Path) -> None:
    async with plain_server(tmp_path, "-js", "-sd", str(tmp_path / "store")) as connection:
        with pytest.raises(IncompatibleError, match="Set max_payload: 8MB"):
            await check_server(connection)
        assert await names(connection) == set()


@asynccontextmanager
async def server_of_version(version: str) -> AsyncIterator[str]:
    """Say what a nats-server of a version says when a client connects, and yield the address."""

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        info = {"server_id": "old", "version": version, "max_payload": 8_000_000, "headers": True, "proto": 1}
        writer.write(f"INFO {json.dumps(info)}\r\n".encode())
        async for line in reader:
            if line.startswith(b"PING"):
                writer.write(b"PONG\r\n")
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    try:
        yield f"nats://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


@pytest.mark.parametrize("version", ["2.9.25", "2.13.0", "1.4.1"])
async def test_a_server_that_is_too_old_is_told_apart(version: str) -> None:
    async with server_of_version(version) as url, await Connection.open(url, name="test") as connection:
        with pytest.raises(IncompatibleError, match=f"The NATS server is {version}; Rota needs 2.14 or newer"):
            await check_server(connection)


async def test_no_server_at_all_is_said_with_what_to_do() -> None:
    url = f"nats://127.0.0.1:{free_port()}"

    with pytest.raises(UnavailableError, match=f"No NATS server answers at {url}"):
        await Connection.open(url, name="test")


async def test_the_server_fills_the_work_from_queued_jobs_and_nothing_else(fresh: Connection) -> None:
    await prepare(fresh)
    for subject in (
        "rota.event.job.j-0.queued.urgent.normal.add",
        "rota.event.job.j-0.succeeded",
        "rota.event.batch.b.opened",
        "rota.event.job.j-1.queued.urgent.normal.add",
    ):
        await fresh.publish(subject, b"body")

    consumer = {"name": "test", "durable_name": "test", "ack_policy": "explicit"}
    await fresh.call(f"CONSUMER.CREATE.{WORK}.test", {"stream_name": WORK, "config": consumer})
    taken = [await WriteSide(fresh).take(WORK, "test") for _ in range(2)]

    assert [(message.subject, message.data) for message in taken] == [
        ("rota.work.urgent.normal.add.j-0", b"body"),
        ("rota.work.urgent.normal.add.j-1", b"body"),
    ]
