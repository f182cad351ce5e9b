"""The news of one aggregate, with a NATS server that is killed."""

import asyncio
import os
import re
import sys
from datetime import UTC, datetime
from pathlib import Path

from events.base import Event
from events.jetstream.log import Append, Log, Recorded
from events.jetstream.status import Watch
from events.jetstream.topology import prepare
from events.spec import SPEC
from rota.jetstream import Connection
from rota.protocol import RegisterSpec

ROOT = Path(__file__).parents[2]


class Server:
    """A nats-server that can be killed and started again."""

    def __init__(self, store: Path) -> None:
        self.port = "-1"
        self._store = store

    async def start(self) -> None:
        self.process = await asyncio.create_subprocess_exec(
            Path(sys.executable).with_name("nats-server"),
            *("-c", ROOT / "nats.conf"),
            env=os.environ | {"ROTA_NATS_PORT": self.port, "ROTA_NATS_STORE": str(self._store)},
            stderr=asyncio.subprocess.PIPE,
        )
        assert self.process.stderr
        while line := (await self.process.stderr.readline()).decode():
            if found := re.search(r"Listening for client connections on .*:(\d+)", line):
                self.port = found[1]
            if "Server is ready" in line:
                return
        raise AssertionError("nats-server did not start")

    async def kill(self) -> None:
        self.process.kill()
        await self.process.communicate()


async def test_an_event_is_seen_though_nats_was_killed_while_it_was_waited_for(tmp_path: Path) -> None:
    server = Server(tmp_path)
    await server.start()
    try:
        recorded, registered = await _wait_through_a_restart(server)
    finally:
        await server.kill()
    assert recorded.event == registered


async def _wait_through_a_restart(server: Server) -> tuple[Recorded, Event]:
    url = f"nats://127.0.0.1:{server.port}"
    spec = RegisterSpec(id="add")
    [registered] = SPEC.decide(None, spec, datetime.now(UTC))
    async with await Connection.open(url, name="waiting") as connection:
        await prepare(connection)
        async with Watch(connection, Log(connection), "spec", "add") as watch:
            asked = asyncio.create_task(watch.wait(0))
            await server.kill()
            await server.start()
            async with await Connection.open(url, name="shard") as other:
                await Log(other).append([Append("spec", "add", 0, [registered])])
            [recorded] = await asyncio.wait_for(asked, 20)
    return recorded, registered
