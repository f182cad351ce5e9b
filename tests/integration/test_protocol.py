"""Commands published by hand, as docs/reference/protocol.md says: plain nats-py, with a shard and no gateway."""

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgpack
import nats
import pytest
import pytest_asyncio
from nats.aio.client import Client

from actors.shard import Shard
from events.job import JobQueued
from tests.integration.write_side import WriteSide

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "protocol.md"
JSON = "application/json"


def example(text: str) -> str:
    """Return the JSON example of the page that has a text in it."""
    [found] = [
        code
        for code in re.findall(r"^```json\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
        if text in code
    ]
    return str(found)


class Sender:
    """Publishes commands, and hears their outcomes."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def send(self, subject: str, body: bytes, content_type: str | None = JSON, **headers: str) -> Any:
        """Publish; return the outcomes."""
        inbox = self.client.new_inbox()
        answers = await self.client.subscribe(inbox)
        named = {name.replace("_", "-"): value for name, value in headers.items()} | {"Rota-Reply-To": inbox}
        if content_type:
            named["Content-Type"] = content_type
        ack = await self.client.request(subject, body, headers=named)
        assert json.loads(ack.data)["stream"] == "ROTA_COMMANDS"
        outcomes = json.loads((await answers.next_msg(timeout=15)).data)
        await answers.unsubscribe()
        return outcomes


@pytest_asyncio.fixture(loop_scope="session")
async def sender(nats_url: str, shard: Shard) -> AsyncIterator[Sender]:
    client = await nats.connect(nats_url)
    yield Sender(client)
    await client.close()


async def test_the_commands_in_the_page_schedule_jobs(sender: Sender, write_side: WriteSide) -> None:
    body = example("job.schedule").encode()
    outcomes = await sender.send(
        "rota.command.job.order5.schedule", body, Rota_Caller="shop", Rota_Command_Id="c-7", Rota_Causation_Id="x.1"
    )
    assert outcomes == [{"id": f"order5-{n}", "type": "job.schedule", "status": "done"} for n in (1, 2)]
    for n, params in ((1, {"a": 1, "b": 2}), (2, {"a": 3, "b": 4})):
        [event] = await write_side.until(f"order5-{n}", "job.queued")
        assert isinstance(event, JobQueued)
        assert msgpack.unpackb(event.details.params) == params
        assert event.origin
        assert (event.origin.caller, event.origin.command_id, event.origin.causation_id) == ("shop", "c-7", "x.1")
    report = example("job.succeed").encode()
    assert (await sender.send("rota.command.job.order5.report", report))[0]["status"] == "done"
    await write_side.until("order5-1", "job.succeeded")


@pytest.mark.parametrize("form", ["list", "one"])
async def test_messagepack_needs_no_header(sender: Sender, write_side: WriteSide, form: str) -> None:
    id_ = f"packed-{form}"
    details = {"spec": "add", "queue": "default", "params": {"a": b"bytes"}}
    command = {"type": "job.schedule", "id": id_, "details": details, "field-of-the-future": 1}
    body = msgpack.packb([command] if form == "list" else command)
    outcomes = await sender.send("rota.command.job.packed.schedule", body, None)
    assert [outcome["status"] for outcome in outcomes] == ["done"]
    assert await write_side.until(id_, "job.queued")


async def test_a_refusal_is_answered(sender: Sender) -> None:
    [outcome] = await sender.send("rota.command.job.nobody.cancel", b'{"type": "job.cancel", "id": "nobody"}')
    assert (outcome["status"], outcome["slug"]) == ("refused", "not-found")
    assert "nobody" in outcome["detail"]
    assert await sender.client.request(
        "$JS.API.DIRECT.GET.ROTA_DEAD_LETTERS.rota.dead_letter.refused.job.nobody", b"", timeout=5
    )


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"", None),
        (b"", JSON),
        (b"{", JSON),
        (b"null", JSON),
        (b'{"type": "job.cancel", "id": "\xff"}', JSON),
        (b'{"type": "job.cancel", "id": "a b"}', JSON),
        (b'{"type": "job.nonsense", "id": "a"}', JSON),
        (b'{"type": "job.progress", "id": "a", "attempt": 1e99, "worker": "w", "percent": 1}', JSON),
        (b'[{"type": "job.cancel", "id": 99999999999999999999999999}]', JSON),
        (b'{"type": "job.cancel", "id": "a", "reason": ' + b"[" * 5000, JSON),
        (b"\x82\xa4type\xaajob.cancel\xa2id\xa2\xff\xff", None),
        (b"\x91" * 5000, None),
        (b"\xc1", "application/msgpack"),
        (b'{"type": "job.cancel", "id": "a"}', "text/plain"),
    ],
    ids=lambda value: repr(value)[:50],
)
async def test_what_cannot_be_read_is_answered_and_holds_up_nothing(
    sender: Sender, body: bytes, content_type: str | None
) -> None:
    assert await sender.send("rota.command.job.bad.cancel", body, content_type) == []
    [outcome] = await sender.send("rota.command.job.bad.cancel", b'{"type": "job.cancel", "id": "bad"}')
    assert outcome["status"] == "refused"


@pytest.mark.parametrize(
    "details",
    [
        {"spec": "add", "queue": "a b", "params": {}},
        {"spec": "add", "queue": "q", "params": {}, "rows": {"batch": "a b"}},
        {"spec": "add", "queue": "q", "params": {}, "rows": {"batch": "b.>"}},
    ],
)
async def test_names_that_are_no_token_of_a_subject_are_not_taken(sender: Sender, details: dict[str, Any]) -> None:
    if "rows" in details:
        payload = {"subject": "rota.payload.b.0.0.0", "size": 1, "sha256": "00"}
        rows = {"file": "f", "file_index": 0, "index": 0, "first_row": 0, "count": 1, "payload": payload}
        details["rows"] |= rows
    command = {"type": "job.schedule", "id": "token", "details": details}
    assert await sender.send("rota.command.job.token.schedule", json.dumps(command).encode()) == []
    cancel = json.dumps({"type": "job.cancel", "id": "token"}).encode()
    [outcome] = await sender.send("rota.command.job.token.cancel", cancel)
    assert outcome["status"] == "refused"


async def test_a_batch_that_could_not_be_cut_is_not_taken(sender: Sender) -> None:
    details = {"spec": "a", "queue": "q", "files": ["f"], "rows_per_job": 0, "max_jobs_in_flight": 1, "params": {}}
    command = {"type": "batch.open", "id": "cut", "details": details}
    assert await sender.send("rota.command.batch.cut.open", json.dumps(command).encode()) == []


async def test_a_claim_check_of_what_is_no_subject_is_not_taken(sender: Sender) -> None:
    result = {"payload": {"subject": "rota.result.x y", "size": 1, "sha256": "00"}}
    facts = {"attempt": 1, "worker": "w", "started_at": "2026-01-01T00:00:00Z"}
    report = {"type": "job.succeed", "id": "claim", "result": result, **facts}
    assert await sender.send("rota.command.job.claim.report", json.dumps(report).encode()) == []
