"""What the tests of the write side share: commands in, events out, with real shards and a real NATS server."""

import asyncio
import secrets
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from actors.handler import Handler
from actors.role_registry import roles
from actors.shard import Shard
from events.base import Kind
from events.catalog import TAGS, AnyCommand, AnyEvent, decode_event
from events.ids import member, new_group
from events.jetstream.bus import Bus
from events.jetstream.log import Log
from events.job import ScheduleJob
from events.subjects import aggregate_filter
from rota.jetstream import Connection, Msg
from rota.protocol import JobDetails, RetryPolicy
from scripts.stack import ROOT, Service, free_port, nats_service, port_in_use

WAIT_SECONDS = 20.0
ONCE = RetryPolicy(max_attempts=1)


def new_id() -> str:
    return member(new_group(1_770_000_000_000, secrets.token_bytes(10)), 0)


def details(spec: str = "add", params: Any = None, **others: Any) -> JobDetails:
    raw = msgspec.Raw(msgspec.msgpack.encode(params or {}))
    return JobDetails(**{"spec": spec, "queue": "default", "params": raw, "retry": ONCE, **others})


class WriteSide:
    """Sends commands, and waits for what follows."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.log = Log(connection)
        self.bus = Bus(connection)

    async def send(self, *commands: AnyCommand) -> None:
        await self.bus.send(commands)

    async def schedule(self, spec: str = "add", params: Any = None, **others: Any) -> str:
        id_ = new_id()
        await self.send(ScheduleJob(id=id_, details=details(spec, params, **others)))
        return id_

    async def until(self, id_: str, tag: str, kind: Kind = "job", *, times: int = 1) -> list[AnyEvent]:
        """Return an aggregate's events up to one of this tag, as soon as it has happened so often."""
        found: list[AnyEvent] = []
        async with asyncio.timeout(WAIT_SECONDS), self.log.follow([aggregate_filter(kind, id_)]) as follower:
            while True:
                for message in await follower.take():
                    found.append(decode_event(message.data))
                    if tags(found).count(tag) == times:
                        return found

    async def tags(self, id_: str, kind: Kind = "job") -> list[str]:
        return tags(recorded.event for recorded in await self.log.load(kind, id_))

    async def take(self, stream: str, consumer: str) -> Msg:
        """Take one message of a consumer, without an ack."""
        ask = b'{"batch": 1, "expires": 9000000000}'
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        # The message comes under its own subject, by which nats-py's newer style of requests does not know it.
        return await self.connection.client.request(subject, ask, timeout=10, old_style=True)

    async def messages(self, stream: str, subject: str = ">") -> int:
        """Return how many messages a stream has on a subject."""
        info = await self.connection.call(f"STREAM.INFO.{stream}", {"subjects_filter": subject})
        return sum((info["state"].get("subjects") or {}).values())

    async def until_messages(self, count: int, stream: str, subject: str = ">") -> None:
        """Wait until a stream has so many messages on a subject: what the server does by itself has no event."""
        async with asyncio.timeout(WAIT_SECONDS):
            while await self.messages(stream, subject) != count:
                await asyncio.sleep(0.01)


def tags(events: Iterable[AnyEvent]) -> list[str]:
    return [TAGS[type(event)] for event in events]


@asynccontextmanager
async def sharding(connection: Connection) -> AsyncIterator[Shard]:
    """Run a shard; it is the owner of all partitions unless there are others."""
    name = f"shard-{secrets.token_hex(4)}"
    shard = Shard(connection, name, Handler(connection, roles(connection), lambda: datetime.now(UTC)))
    running = asyncio.create_task(shard.run())
    try:
        yield shard
    finally:
        shard.stop()
        await asyncio.wait_for(running, WAIT_SECONDS)


@asynccontextmanager
async def nats_server(folder: Path) -> AsyncIterator[tuple[Service, str]]:
    """Run a nats-server that can be killed and started again; yield it with its address."""
    port = free_port()
    server = nats_service(port, folder / "store", folder / "nats.log")
    try:
        await start(server, port)
        yield server, f"nats://127.0.0.1:{port}"
    finally:
        await asyncio.to_thread(server.kill)


async def start(server: Service, port: int | str) -> None:
    await asyncio.to_thread(server.start)
    await asyncio.to_thread(server.wait, lambda: port_in_use("127.0.0.1", int(port)))


async def restart(server: Service, url: str) -> None:
    """Kill a nats-server and start it again."""
    await asyncio.to_thread(server.kill)
    await start(server, url.rpartition(":")[2])


@asynccontextmanager
async def projections_process(environment: Mapping[str, str], *arguments: str) -> AsyncIterator[Process]:
    """Run the projections as a process."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "projections", *arguments, env=environment, cwd=ROOT, stdout=PIPE, stderr=PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
