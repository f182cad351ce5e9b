"""The event log by itself, with one nats-server and no Ray: append, fold, replay.

Append: a shard takes commands that wait (jobs in lists of 100, then as many reports a message), decides, appends
and acknowledges; its events/s against those of nats-py's own publish in atomic batches of 500, with bodies and
headers of the same size. Fold: the events/s of the projections, from the log into a SQLite file. Replay: the
events/s that `rota replay` reads and decodes against those of nats-py's ordered subscription, which only hands
messages over.
"""

import asyncio
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import nats
from nats.js.api import ConsumerConfig, DeliverPolicy

from actors.handler import Handler
from actors.role_registry import roles
from actors.shard import Shard
from bench.report import options, server, show
from events.ids import member, new_group
from events.jetstream.bus import Bus
from events.jetstream.log import Log
from events.jetstream.topology import COMMANDS, EVENTS, prepare
from events.job import ScheduleJob
from projections.runner import Runner
from projections.tables import Tables
from rota.jetstream import Connection
from rota.protocol import JobDetails, Result, SucceedJob
from rota.replay import Replay

LIST = 100
FLOOR_BATCH = 500
PARAMS = msgspec.Raw(msgspec.msgpack.encode({"table": "people", "limit": 3}))
DETAILS = JobDetails(spec="load", queue="default", params=PARAMS)


async def append(connection: Connection, jobs: int) -> float:
    """Return events/s of a shard for so many jobs: first they are scheduled, then reported."""
    ids = [
        [member(group, index) for index in range(LIST)]
        for number in range(0, jobs, LIST)
        for group in [new_group(time.time_ns() // 1_000_000, number.to_bytes(10))]
    ]
    handler = Handler(connection, roles(connection), lambda: datetime.now(UTC))
    seconds = await carry_out(connection, handler, [[schedule(id_) for id_ in some] for some in ids])
    seconds += await carry_out(connection, handler, [[success(id_) for id_ in some] for some in ids])
    return 2 * jobs / seconds


async def carry_out(connection: Connection, handler: Handler, commands: Sequence[Sequence[Any]]) -> float:
    """Return the seconds from the start of a shard until the commands, which wait, are acknowledged."""
    bus = Bus(connection)
    for some in commands:
        await bus.send(some)
    shard = Shard(connection, "shard-bench", handler)
    started = time.perf_counter()
    running = asyncio.create_task(shard.run())
    while (await connection.call(f"STREAM.INFO.{COMMANDS}"))["state"]["messages"]:
        await asyncio.sleep(0.002)
    seconds = time.perf_counter() - started
    shard.stop()
    await running
    return seconds


def schedule(id_: str) -> ScheduleJob:
    return ScheduleJob(id=id_, details=DETAILS)


def success(id_: str) -> SucceedJob:
    facts: dict[str, Any] = {"attempt": 1, "worker": "bench-1", "started_at": datetime.now(UTC)}
    return SucceedJob(id=id_, result=Result(), causation_id=f"{id_}.1", **facts)


async def raw_append(url: str, connection: Connection, events: int) -> float:
    """Return messages/s of nats-py's publish in atomic batches, as the floor."""
    await connection.call("STREAM.CREATE.FLOOR", {"name": "FLOOR", "subjects": ["floor.>"], "allow_atomic": True})
    body = bytes(260)
    headers = {
        "ce-specversion": "1.0",
        "ce-id": "01kge3h900hkcjnfngspgaycsb-17.1",
        "ce-source": "/rota",
        "ce-type": "rota.job.queued.v1",
        "ce-datacontenttype": "application/msgpack",
    }
    client = await nats.connect(url)
    try:
        started = time.perf_counter()
        for first in range(0, events, FLOOR_BATCH):
            for index in range(FLOOR_BATCH):
                batch = {"Nats-Batch-Id": f"b{first}", "Nats-Batch-Sequence": str(index + 1)}
                subject = f"floor.{first + index}.queued"
                if index < FLOOR_BATCH - 1:
                    await client.publish(subject, body, headers=headers | batch)
                else:
                    await client.request(
                        subject, body, timeout=10, headers=headers | batch | {"Nats-Batch-Commit": "1"}
                    )
        return events / (time.perf_counter() - started)
    finally:
        await client.close()
        await connection.call("STREAM.DELETE.FLOOR")


async def fold(connection: Connection, folder: Path) -> float:
    """Return events/s of the projections over the whole log."""
    path = folder / f"views-{time.monotonic_ns()}.sqlite"
    with closing(Tables.open(path)) as tables:
        started = time.perf_counter()
        await Runner(Log(connection), tables).catch_up()
        return tables.position / (time.perf_counter() - started)


async def replay(connection: Connection) -> float:
    """Return events/s that a replay reads and decodes."""
    count = 0
    started = time.perf_counter()
    async with Replay(connection) as reading:
        while messages := await reading.take():
            count += len([msgspec.msgpack.decode(message.data) for _, message in messages])
    return count / (time.perf_counter() - started)


async def raw_replay(url: str, events: int) -> float:
    """Return messages/s of nats-py's ordered subscription."""
    client = await nats.connect(url)
    arrived = asyncio.Event()
    count = 0

    async def receive(_: object) -> None:
        nonlocal count
        count += 1
        if count == events:
            arrived.set()

    try:
        started = time.perf_counter()
        config = ConsumerConfig(deliver_policy=DeliverPolicy.ALL)
        await client.jetstream().subscribe("rota.event.>", cb=receive, ordered_consumer=True, config=config)
        await arrived.wait()
        return events / (time.perf_counter() - started)
    finally:
        await client.close()


async def measure(url: str, folder: Path, *, quick: bool) -> dict[str, tuple[str, list[float]]]:
    jobs, runs = (10_000, 3) if quick else (30_000, 5)
    async with await Connection.open(url, name="bench") as connection:
        await prepare(connection)
        await append(connection, 1000)
        rates, floors, folds, replays, bare = [], [], [], [], []
        for _ in range(runs):
            rates.append(await append(connection, jobs))
            floors.append(await raw_append(url, connection, 2 * jobs))
        events = (await connection.call(f"STREAM.INFO.{EVENTS}"))["state"]["messages"]
        for _ in range(runs):
            folds.append(await fold(connection, folder))
            replays.append(await replay(connection))
            bare.append(await raw_replay(url, events))
    return {
        "append_per_second": ("events that a shard decides, appends and acknowledges", rates),
        "append_floor_per_second": ("floor: nats-py's atomic batches", floors),
        "append_share": ("share of the floor", _shares(rates, floors)),
        "fold_per_second": ("events that the projections fold into SQLite", folds),
        "replay_per_second": ("events that a replay reads and decodes", replays),
        "replay_floor_per_second": ("floor: nats-py's ordered subscription", bare),
        "replay_share": ("share of the floor", _shares(replays, bare)),
    }


def _shares(rates: Sequence[float], floors: Sequence[float]) -> list[float]:
    return [rate / floor for rate, floor in zip(rates, floors, strict=True)]


def main() -> None:
    chosen = options(__doc__)
    with tempfile.TemporaryDirectory(prefix="rota-bench-") as folder, server(Path(folder)) as url:
        figures = asyncio.run(measure(url, Path(folder), quick=chosen.quick))
    show("Log", figures, as_json=chosen.json)


if __name__ == "__main__":
    main()
