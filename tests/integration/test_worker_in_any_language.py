import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest_asyncio
from aiohttp import web

from actors.shard import Shard
from events.config import Config
from events.job import JobSucceeded
from gateway.app import application
from tests.integration.write_side import WriteSide

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "worker-in-any-language.md"


@pytest_asyncio.fixture(loop_scope="session")
async def gateway(nats_url: str, write_side: WriteSide, tmp_path: Path) -> AsyncIterator[None]:
    runner = web.AppRunner(application(Config(home=tmp_path, nats_url=nats_url)))
    await runner.setup()
    yield
    await runner.cleanup()


async def test_the_worker_in_the_docs_works(
    nats_url: str, write_side: WriteSide, gateway: None, shard: Shard
) -> None:
    [code] = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    module: dict[str, Any] = {"__name__": "worker"}
    exec(code, module)
    working = asyncio.create_task(module["main"](nats_url))
    try:
        for text in ("hello", "again"):
            id_ = await write_side.schedule("shout", {"text": text})
            *_, event = await write_side.until(id_, "job.succeeded")
            assert isinstance(event, JobSucceeded)
            assert event.origin
            assert (event.worker, event.origin.causation_id) == ("plain-worker-1", f"{id_}.1")
            assert msgspec.msgpack.decode(event.result.value) == text.upper()
    finally:
        working.cancel()
        await asyncio.wait([working])
