import asyncio
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import nats
import pytest
import pytest_asyncio
from aiohttp import web

from actors.shard import Shard
from events.config import Config
from events.jetstream.payloads import Payloads
from events.job import JobSucceeded
from events.subjects import rows_subject
from gateway.app import application
from rota.protocol import Payload, PayloadForm, Rows
from tests.integration.write_side import WriteSide, new_id

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "worker-in-any-language.md"


def example(number: int) -> dict[str, Any]:
    """Return the names in an example of the page."""
    codes = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    module: dict[str, Any] = {"__name__": "worker"}
    exec(codes[number], module)
    return module


@pytest_asyncio.fixture(loop_scope="session")
async def gateway(nats_url: str, write_side: WriteSide, tmp_path: Path) -> AsyncIterator[None]:
    runner = web.AppRunner(application(Config(home=tmp_path, nats_url=nats_url)))
    await runner.setup()
    yield
    await runner.cleanup()


async def test_the_worker_in_the_docs_works(
    nats_url: str, write_side: WriteSide, gateway: None, shard: Shard
) -> None:
    module = example(0)
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


@pytest.mark.parametrize(
    ("form", "encode"), [("json", msgspec.json.encode), ("messagepack", msgspec.msgpack.encode)]
)
async def test_the_docs_get_the_rows_of_a_batch(
    nats_url: str, write_side: WriteSide, form: PayloadForm, encode: Callable[[Any], bytes]
) -> None:
    rows = [{"id": 1, "name": "é"}, {"id": 2, "name": None}]
    body, batch = encode(rows), new_id()
    payload = Payload.of(rows_subject(batch, 0, 0, "ab" * 32), body)
    await Payloads(write_side.connection).put([(payload.subject, body)])
    of_batch = Rows(batch, "orders.csv", 0, 0, 0, 2, payload, form)
    work = {"details": {"rows": msgspec.to_builtins(of_batch)}}

    async with await nats.connect(nats_url) as client:
        assert await example(1)["rows_of"](client, work) == rows
        for wrong, error in (
            (msgspec.structs.replace(payload, sha256="cd" * 32), ValueError),
            (msgspec.structs.replace(payload, subject=rows_subject(batch, 0, 1, "ab" * 32)), LookupError),
        ):
            work["details"]["rows"]["payload"] = msgspec.to_builtins(wrong)
            with pytest.raises(error, match=wrong.subject):
                await example(1)["rows_of"](client, work)
