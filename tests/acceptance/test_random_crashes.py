"""40 times a process is killed (-9) at a random moment, under load: nothing accepted is lost or doubled."""

import asyncio
import os
import random
import secrets
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest

import rota
from events.jetstream.dead_letters import DeadLetters
from events.jetstream.topology import COMMANDS
from rota.jetstream import Connection
from scripts.demo import until_known
from scripts.stack import Stack, free_port
from scripts.store import Store
from scripts.workers import start_workers
from tests.acceptance import kinds
from tests.acceptance.audit import assert_carried_out_once, assert_log_and_views_agree
from tests.acceptance.intruder import Intruder
from tests.acceptance.killer import Killer
from tests.acceptance.load import CONNECTION, Accepted, Load
from tests.acceptance.system import until

CRASHES = int(os.environ.get("ROTA_CRASHES", "40"))
SEED = int(os.environ.get("ROTA_CRASH_SEED") or secrets.randbits(32))
WHOLE = 2
MEAN_SECONDS = 0.6
PAUSE_SECONDS = 0.12
"""Between two requests of one client."""


@pytest.mark.timeout(300)
async def test_whatever_is_killed_and_when_each_accepted_command_is_carried_out_once(tmp_path: Path) -> None:
    print(f"seed {SEED}")  # noqa: T201 - to see the same again
    chance = random.Random(SEED)
    with ExitStack() as resources:
        folder = tmp_path / "s3"
        folder.mkdir()
        store = resources.enter_context(Store(folder))
        (tmp_path / "connections.toml").write_text(store.connection(CONNECTION))
        stack = Stack(tmp_path, nats_port=0, port=free_port(), environment={"ROTA_SHARDS": "2"})
        resources.enter_context(stack)
        workers = start_workers(
            2,
            stack.nats_url,
            tmp_path,
            stack.environment,
            module=kinds.__name__,
            options=("--concurrency", "10", "--lease-seconds", "3"),
        )
        for worker in workers:
            resources.callback(worker.stop)
        accepted = await _crash(stack, Killer(stack, workers, chance), store, chance)
        await _until_all_is_decided(stack.nats_url)
        await _until_all_has_ended(stack, accepted)
        assert await _dead_letters(stack.nats_url) == []
        await assert_carried_out_once(stack.nats_url, accepted)
        await assert_log_and_views_agree(stack.nats_url, stack.home / "views.sqlite")


async def _crash(stack: Stack, killer: Killer, store: Store, chance: random.Random) -> Accepted:
    """Do the worst under load; return what was accepted when all is up again."""
    async with rota.Client(stack.url) as client:
        await until_known(client, set(kinds.__all__))
    keeping = asyncio.create_task(killer.keep())
    started = time.monotonic()
    try:
        async with Load(stack.url, stack.nats_url, store, chance, pause_seconds=PAUSE_SECONDS) as load:
            async with Intruder(stack.nats_url, chance) as intruder:
                await killer.kill(CRASHES, WHOLE, MEAN_SECONDS)
            print(  # noqa: T201 - what a failure is looked at with
                f"{time.monotonic() - started:.0f} s: {killer.killed.total()} kills {dict(killer.killed)}; "
                f"{intruder.forced} partitions taken by force, {intruder.decided} commands decided by two"
            )
        unanswered = len(load.accepted.unanswered)
        print(  # noqa: T201
            f"{time.monotonic() - started:.0f} s: {len(load.accepted.jobs)} jobs, "
            f"{len(load.accepted.batches)} batches and {len(load.accepted.workflows)} workflows accepted, "
            f"{unanswered} requests without an answer"
        )
        async with rota.Client(stack.url, patience_seconds=60) as client:
            await client.queues()
    finally:
        keeping.cancel()
        await asyncio.wait([keeping])
    return load.accepted


async def _until_all_is_decided(nats_url: str) -> None:
    """Wait for the commands whose partition's owner was killed just now: of their jobs no view knows yet."""
    async with await Connection.open(nats_url, name="audit") as connection:

        async def waiting() -> list[str]:
            commands = {"subjects_filter": "rota.command.>"}
            info = await connection.call(f"STREAM.INFO.{COMMANDS}", commands)
            return list(info["state"].get("subjects", {}))

        await until(waiting, lambda subjects: not subjects)


async def _until_all_has_ended(stack: Stack, accepted: Accepted) -> None:
    started = time.monotonic()
    async with rota.Client(stack.url, patience_seconds=60) as client:

        async def waiting() -> dict[str, int]:
            counts: Counter[str] = Counter()
            for queue in await client.queues():
                counts.update({state: queue.jobs.get(state, 0) for state in ("scheduled", "queued", "running")})
            return {state: count for state, count in counts.items() if count}

        for id_ in accepted.batches:
            assert (await client.batches.wait(id_, timeout=60)).status == "completed"
        for id_, expected in accepted.workflows.items():
            assert (await client.workflows.wait(id_, timeout=60)).status == expected.status
        await until(waiting, lambda counts: not counts)
    print(f"all had ended {time.monotonic() - started:.1f} s later")  # noqa: T201


async def _dead_letters(nats_url: str) -> list[str]:
    """Return the commands that were not carried out, but for cancellations that came too late."""
    async with await Connection.open(nats_url, name="audit") as connection:
        letters = [letter async for _, letter in DeadLetters(connection).list(limit=100_000)]
    return [
        f"{letter.type} {letter.id} {letter.status}: {letter.reason}"
        for letter in letters
        if not (letter.status == "refused" and letter.type == "job.cancel")
    ]
