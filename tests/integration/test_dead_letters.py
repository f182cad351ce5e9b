"""Dead letters over HTTP and on the command line, with a real shard behind them."""

import asyncio
import json
import sys
from base64 import b64decode
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from actors.shard import Shard
from events.batch import AdvanceFile, BatchDetails, OpenBatch, Position
from events.config import Config
from events.ids import group_of
from events.jetstream.topology import DEAD_LETTERS
from events.job import CancelJob, ScheduleJob
from gateway.dead_letters import PAGE_BYTES
from rota.client import Client
from rota.protocol import Result, SucceedJob
from tests.integration.test_gateway import Rota, serving
from tests.integration.write_side import WriteSide, details, new_id

ROTA = Path(sys.executable).with_name("rota")


@pytest.fixture
async def rota(write_side: WriteSide, shard: Shard, nats_url: str, tmp_path: Path) -> AsyncIterator[Rota]:
    async with serving(Config(home=tmp_path, nats_url=nats_url), write_side.connection) as rota:
        yield rota


def address(rota: Rota) -> str:
    host, port = rota.runner.addresses[0][:2]
    return f"http://{host}:{port}"


async def refuse(write_side: WriteSide) -> str:
    id_ = new_id()
    await write_side.bus.ask(CancelJob(id=id_, reason="no need"), timeout=10, caller="test")
    return id_


async def delete(rota: Rota, path: str) -> tuple[int, Any]:
    async with rota.http.delete(path) as response:
        return response.status, await response.json(content_type=None)


async def test_a_refused_command_is_listed_with_all_that_is_known_of_it(rota: Rota, write_side: WriteSide) -> None:
    id_ = await refuse(write_side)

    status, answer = await rota.get("/dead-letters?status=refused")

    assert status == 200
    [letter] = answer["dead_letters"]
    assert letter.pop("at")
    assert letter.pop("command_id")
    assert letter == {
        "sequence": letter["sequence"],
        "status": "refused",
        "reason": f"There is no job {id_}",
        "type": "job.cancel",
        "id": id_,
        "caller": "test",
        "subject": f"rota.command.job.{group_of(id_)}.cancel",
        "command": {"type": "job.cancel", "id": id_, "reason": "no need"},
    }
    assert (await rota.get(f"/dead-letters/{letter['sequence']}"))[1]["id"] == id_
    assert (await rota.get("/dead-letters?status=failed"))[1] == {"dead_letters": [], "next": None}


async def test_letters_come_by_the_page(rota: Rota, write_side: WriteSide) -> None:
    ids = [await refuse(write_side) for _ in range(5)]
    found, after = [], 0
    while after is not None:
        _, page = await rota.get(f"/dead-letters?limit=2&after={after}")
        assert len(page["dead_letters"]) <= 2
        found += [letter["id"] for letter in page["dead_letters"]]
        after = page["next"]

    assert found == ids
    async with Client(address(rota)) as client:
        assert [letter.id async for letter in client.dead_letters.list()] == ids


async def test_a_failed_command_says_where_it_failed(rota: Rota, write_side: WriteSide) -> None:
    batch = group_of(new_id())
    opening = BatchDetails("add", "default", ("a.csv",), 10, 10, details().params)
    await write_side.bus.ask(OpenBatch(id=batch, details=opening), timeout=10)
    crashing = AdvanceFile(id=batch, file_index=1, position=Position(), rows=10, jobs=1)

    outcome = await write_side.bus.ask(crashing, timeout=10)

    assert outcome
    assert outcome.status == "failed"
    [letter] = (await rota.get("/dead-letters?status=failed"))[1]["dead_letters"]
    assert (letter["type"], letter["tries"], letter["reason"]) == (
        "batch.advance",
        3,
        "IndexError: tuple index out of range",
    )
    assert "events/batch_decisions.py" in letter["traceback"]


async def test_a_message_that_cannot_be_read_is_shown_as_it_came(rota: Rota, write_side: WriteSide) -> None:
    await write_side.connection.publish("rota.command.job.x.schedule", b"\xc1\xff")
    await write_side.until_messages(1, DEAD_LETTERS)

    [letter] = (await rota.get("/dead-letters"))[1]["dead_letters"]

    assert letter["command"] == "wf8="
    assert letter["subject"] == "rota.command.job.x.schedule"


@pytest.mark.parametrize(
    "value", [b"\x91" * 5000 + b"\x90", b"\xa2\xff\xff", b"\xc7\x01\x05a", b"\x81\x91\x01\x01"]
)
async def test_what_json_cannot_show_does_not_hide_the_other_letters(
    rota: Rota, write_side: WriteSide, value: bytes
) -> None:
    command = SucceedJob(
        id="x", attempt=1, worker="w", started_at=datetime.now(UTC), result=Result(msgspec.Raw(value))
    )
    await write_side.send(command)
    id_ = await refuse(write_side)
    await write_side.until_messages(2, DEAD_LETTERS)

    status, answer = await rota.get("/dead-letters")

    assert status == 200
    hidden, shown = sorted(answer["dead_letters"], key=lambda letter: isinstance(letter["command"], dict))
    assert value in b64decode(hidden["command"])
    assert shown["id"] == id_


async def test_a_page_of_large_letters_is_shorter(rota: Rota, write_side: WriteSide) -> None:
    for _ in range(4):
        await write_side.connection.publish("rota.command.job.x.schedule", b"\xc1" * (PAGE_BYTES // 2))
    await write_side.until_messages(4, DEAD_LETTERS)

    _, page = await rota.get("/dead-letters")
    _, rest = await rota.get(f"/dead-letters?after={page['next']}")

    assert (len(page["dead_letters"]), len(rest["dead_letters"])) == (3, 1)
    assert rest["next"] is None


async def test_a_letter_is_sent_again_when_its_cause_is_mended(rota: Rota, write_side: WriteSide) -> None:
    id_ = await refuse(write_side)
    [letter] = (await rota.get("/dead-letters"))[1]["dead_letters"]
    await write_side.send(ScheduleJob(id=id_, details=details()))
    await write_side.until(id_, "job.queued")

    status, _ = await rota.post(f"/dead-letters/{letter['sequence']}/send-again", {})

    assert status == 202
    cancelled = (await write_side.until(id_, "job.cancelled"))[-1]
    assert cancelled.origin
    assert cancelled.origin.caller == "test"
    assert (await rota.get("/dead-letters"))[1]["dead_letters"] == []
    status, problem = await rota.post(f"/dead-letters/{letter['sequence']}/send-again", {})
    assert (status, problem["detail"]) == (404, f"There is no dead letter {letter['sequence']}")


async def test_a_letter_can_be_removed_once(rota: Rota, write_side: WriteSide) -> None:
    await refuse(write_side)
    [letter] = (await rota.get("/dead-letters"))[1]["dead_letters"]
    path = f"/dead-letters/{letter['sequence']}"

    assert (await delete(rota, path))[0] == 200
    assert (await delete(rota, path))[0] == 404
    assert (await rota.get(path))[0] == 404


@pytest.mark.parametrize("query", ["status=lost", "limit=0", "after=-1", "color=red"])
async def test_a_query_that_is_wrong_is_named(rota: Rota, query: str) -> None:
    status, problem = await rota.get(f"/dead-letters?{query}")

    assert status == 400
    assert query.partition("=")[0] in problem["errors"][0]["detail"]


async def test_the_command_line_lists_shows_sends_again_and_removes(rota: Rota, write_side: WriteSide) -> None:
    async def run(*arguments: str) -> tuple[int, str]:
        command = [str(ROTA), "dead-letters", "--url", address(rota), *arguments]
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        output, _ = await process.communicate()
        assert process.returncode is not None
        return process.returncode, output.decode()

    id_ = await refuse(write_side)
    _, listed = await run("--json")
    sequence = str(json.loads(listed)["sequence"])

    table, shown = (await run())[1], (await run("--show", sequence))[1]
    assert all(f"There is no job {id_}" in text for text in (table, shown))
    assert (await run("--send-again", sequence))[0] == 0  # refused once more, for the same reason
    async with asyncio.timeout(10):
        while sequence == (again := str(json.loads((await run("--json"))[1] or '{"sequence": 0}')["sequence"])):
            pass
    assert (await run("--remove", again))[0] == 0
    assert (await run("--remove", again))[0] == 1
