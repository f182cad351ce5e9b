"""Dry runs over HTTP: the gateway asks the actors, and leaves no trace."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import msgspec
import pytest
import pytest_asyncio
from nats.aio.msg import Msg

from actors.dry_run import dry_run
from events.batch import BatchDetails
from events.config import Config
from events.jetstream.topology import STREAMS
from events.sources import Connection as SourceConnection
from events.subjects import DRY_RUN
from gateway import dry_runs
from rota.jetstream import Connection
from rota.protocol import RegisterSpec
from tests.integration.sources.rclone import Rclone
from tests.integration.test_gateway import Rota, serving


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SourceConnection]:
    """Serve a file by S3."""
    with Rclone("s3", tmp_path_factory.mktemp("s3")) as server:
        server.put("people.csv", b"id,name\n1,Ann\n2,Bob\n3,Cid\n")
        yield server.connection()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def rota(
    nats_url: str, store: SourceConnection, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Rota]:
    """Run a gateway that knows the store."""
    home = tmp_path_factory.mktemp("home")
    settings = msgspec.to_builtins(store)
    lines = [f'{name} = "{value}"' for name, value in settings.items() if value]
    (home / "connections.toml").write_text("\n".join(["[store]", 'kind = "s3"', *lines, ""]))
    config = Config(home=home, nats_url=nats_url)
    async with await Connection.open(nats_url, name="test") as connection, serving(config, connection) as found:
        await found.carry_out("spec", RegisterSpec(id="load", rows="dicts"))
        await found.carry_out("spec", RegisterSpec(id="add"))
        yield found
        for stream in STREAMS:
            await connection.call(f"STREAM.PURGE.{stream}")


@asynccontextmanager
async def actors(connection: Connection, store: SourceConnection) -> AsyncIterator[None]:
    """Answer dry runs as the actors do."""

    async def look(message: Msg) -> None:
        details = msgspec.msgpack.decode(message.data, type=BatchDetails)
        view = await asyncio.to_thread(dry_run, {"store": store}, details)
        await message.respond(msgspec.msgpack.encode(view))

    subscription = await connection.client.subscribe(DRY_RUN, queue="supervisors", cb=look)
    await connection.client.flush()
    try:
        yield
    finally:
        await connection.ignore(subscription)


async def sequences(connection: Connection) -> dict[str, int]:
    infos = {stream: await connection.call(f"STREAM.INFO.{stream}") for stream in STREAMS}
    return {stream: info["state"]["last_seq"] for stream, info in infos.items()}


async def test_a_dry_run_over_http_tells_what_a_batch_would_be_and_stores_nothing(
    rota: Rota, store: SourceConnection
) -> None:
    before = await sequences(rota.connection)
    body = {"spec": "load", "connection": "store", "files": ["people.csv"], "rows_per_job": 2, "key": "k"}
    async with actors(rota.connection, store):
        status, view = await rota.post("/batches/dry-run", body)

    assert status == 200
    assert view["files"][0]["columns"] == {"id": "int64", "name": "string"}
    assert view["jobs"] == [
        {
            "file": "people.csv",
            "first_row": 0,
            "count": 2,
            "rows": [{"id": 1, "name": "Ann"}, {"id": 2, "name": "Bob"}],
        },
        {"file": "people.csv", "first_row": 2, "count": 1, "rows": [{"id": 3, "name": "Cid"}]},
    ]
    assert (view["files_total"], view["rows_estimated"], view["jobs_estimated"], view["exact"]) == (1, 3, 2, True)
    assert "error" not in view
    assert await sequences(rota.connection) == before


async def test_a_dry_run_is_checked_as_a_batch_is(rota: Rota) -> None:
    body = {"spec": "add", "files": ["people.csv"], "connection": "stor", "format": "cvs", "bytes_per_job": 1}
    refused = await rota.post("/batches", body)

    assert await rota.post("/batches/dry-run", body) == refused
    assert refused[0] == 400
    assert {error["pointer"] for error in refused[1]["errors"]} == {"#/connection", "#/format", "#/spec"}


async def test_a_stream_cannot_be_looked_at_before_it_is_there(rota: Rota) -> None:
    status, problem = await rota.post("/batches/dry-run", {"spec": "load", "stream": {}, "format": "csv"})

    assert (status, [error["pointer"] for error in problem["errors"]]) == (400, ["#/stream"])
    assert "send some of it to a batch, or put it in a file" in problem["errors"][0]["detail"]


async def test_without_actors_nobody_can_look(rota: Rota) -> None:
    body = json.dumps({"spec": "load", "connection": "store", "files": ["people.csv"]}).encode()
    async with rota.http.post("/batches/dry-run", data=body) as response:
        problem = await response.json(content_type=None)

    assert (response.status, response.headers["Retry-After"]) == (503, "1")
    assert problem["detail"] == "Nobody reads files at the moment: do the actors run?"


async def test_actors_that_do_not_answer_are_not_waited_for_for_ever(
    rota: Rota, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dry_runs, "WAIT_SECONDS", 0.1)
    body = {"spec": "load", "connection": "store", "files": ["people.csv"]}
    subscription = await rota.connection.client.subscribe(DRY_RUN)
    await rota.connection.client.flush()
    status, problem = await rota.post("/batches/dry-run", body)
    await rota.connection.ignore(subscription)

    assert (status, problem["detail"]) == (503, "The actors did not answer within 0.1 s: ask again")


async def test_a_batch_with_that_name_for_an_id_is_not_found_by_others(rota: Rota) -> None:
    assert (await rota.get("/batches/dry-run"))[0] == 404
