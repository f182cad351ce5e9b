"""Bad input gets a clear answer, and harms nothing: no actor dies of it, and jobs run on."""

import re
from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio

from rota.jetstream import Connection
from scripts.stack import free_port
from tests.acceptance.system import Http, System, until

MAX_BODY_BYTES = 8 * 1024 * 1024


@pytest_asyncio.fixture(autouse=True)
async def rota_is_as_well_as_before(system: System, http: Http) -> AsyncIterator[None]:
    shards = system.stack.actor_pids("ShardHost")
    assert len(shards) == 1
    yield
    assert system.stack.actor_pids("ShardHost") == shards
    assert (await http.outcome(await http.schedule("add", {"a": 1, "b": 2})))["result"] == 3
    path = system.put("after.csv", "id,cents,note\n1,2,x\n")
    view = await http.ended_batch(await http.open_batch(spec="tally", connection="lake", files=[path]))
    assert (view["status"], view["rows"]) == ("completed", 1)


def places(body: Any) -> dict[str, str]:
    return {error["pointer"]: error["detail"] for error in body["errors"]}


async def test_an_unknown_spec_is_answered_with_the_nearest_names(http: Http) -> None:
    for path, request in (
        ("/schedule", {"spec": "talli"}),
        ("/batches", {"spec": "talli", "files": ["http://a/b"]}),
    ):
        answer = await http.post(path, request)
        assert (answer.status, answer.headers["Content-Type"]) == (400, "application/problem+json")
        assert re.match("There is no spec talli; did you mean .*tally", places(answer.body)["#/spec"])


async def test_params_that_break_the_schema_are_named_each_by_its_pointer(http: Http) -> None:
    jobs = [
        {"spec": "add", "params": {"a": 1, "b": 2}},
        {"spec": "add", "params": {"a": "one", "b": None}},
        {"spec": "add", "params": {"a": 1}},
    ]
    before = (await http.get("/jobs", spec="add", limit=1)).body["jobs"]
    answer = await http.post("/schedule", {"jobs": jobs})
    assert answer.status == 400
    assert set(places(answer.body)) == {"#/jobs/1/params/a", "#/jobs/1/params/b", "#/jobs/2/params"}
    assert (await http.get("/jobs", spec="add", limit=1)).body["jobs"] == before


async def test_a_body_that_is_no_json_is_answered_with_where_it_breaks(http: Http) -> None:
    for path in ("/schedule", "/batches"):
        answer = await http.post(path, b'{"spec": "add",\n  oops}')
        assert answer.status == 400
        assert "The body is no JSON: line 2, column 3" in answer.body["detail"]


async def test_a_body_that_is_too_large_is_answered_with_the_limit(http: Http) -> None:
    for path in ("/schedule", "/batches"):
        answer = await http.post(path, b" " * (MAX_BODY_BYTES + 1))
        assert answer.status == 413
        assert f"larger than {MAX_BODY_BYTES} bytes" in answer.body["detail"]


async def test_params_that_are_too_large_are_answered_with_the_limit(http: Http) -> None:
    answer = await http.post("/schedule", {"spec": "note", "params": {"runs": "x" * 100_000}})
    assert answer.status == 413
    assert "the limit is 65536" in places(answer.body)["#/params"]


async def test_an_unknown_connection_is_answered_with_the_nearest_names(http: Http) -> None:
    answer = await http.post("/batches", {"spec": "tally", "connection": "lakes", "files": ["a.csv"]})
    assert answer.status == 400
    assert places(answer.body) == {"#/connection": "There is no connection lakes; did you mean lake?"}


async def test_a_file_that_a_web_server_does_not_have_fails_its_batch(system: System, http: Http) -> None:
    unreachable = f"http://127.0.0.1:{free_port()}"
    for root, reason in (
        (system.stack.url, "is not there"),
        (unreachable, "cannot be read: connection refused"),
    ):
        id_ = await http.open_batch(spec="tally", connection=system.connect(root), files=["orders.csv"])
        view = await http.ended_batch(id_)
        assert (view["status"], view["rows"], view["jobs"]["total"]) == ("failed", 0, 0)
        assert view["error"] == f"orders.csv {reason}"


async def test_a_plain_url_does_not_lead_into_the_network_of_rota(system: System, http: Http) -> None:
    port = system.stack.url.rpartition(":")[2]
    for host in ("127.0.0.1", "localhost", "[::1]", "169.254.169.254"):
        url = f"http://{host}:{port}/healthz"
        view = await http.ended_batch(await http.open_batch(spec="tally", files=[url], format="json"))
        assert (view["status"], view["rows"]) == ("failed", 0)
        assert view["error"].startswith(f"{url} leads to a private, loopback or link-local address")


async def test_a_secret_in_a_url_is_refused(http: Http) -> None:
    url = "https://data.example.com/a.csv?X-Amz-Signature=5f2c"
    answer = await http.post("/batches", {"spec": "tally", "files": [url]})
    assert answer.status == 400
    assert "Secrets belong into a connection" in places(answer.body)["#/files/0"]
    assert "5f2c" not in str(answer.body)


async def test_options_that_are_wrong_are_named_each_by_its_pointer(http: Http) -> None:
    answer = await http.post(
        "/batches",
        {
            "spec": "tally",
            "connection": "lake",
            "files": ["a.csv", "../b.csv"],
            "format": "csv",
            "options": {"column_types": {"id": "int", "cents": "money"}},
        },
    )
    assert answer.status == 400
    assert set(places(answer.body)) == {"#/files/1", "#/options/column_types/id", "#/options/column_types/cents"}


async def test_a_file_that_is_not_there_fails_its_batch(system: System, http: Http) -> None:
    path = system.put("there.csv", "id,cents,note\n1,2,x\n")
    files = [path, "not-there.csv"]
    id_ = await http.open_batch(spec="tally", connection="lake", files=files, max_readers=1)
    view = await http.ended_batch(id_)
    assert (view["status"], view["error"]) == ("failed", "not-there.csv is not there")
    assert [file["status"] for file in view["files"]] == ["finished", "failed"]


async def test_a_broken_row_fails_its_batch_and_is_shown(system: System, http: Http) -> None:
    good = [f"{number},{number},note" for number in range(2000)]
    path = system.put("broken.csv", "\n".join(["id,cents,note", *good[:1500], "15oo,1,note", *good[1500:]]))
    id_ = await http.open_batch(
        spec="tally",
        connection="lake",
        files=[path],
        rows_per_job=100,
        format="csv",
        options={"column_types": {"id": "int64"}},
    )
    view = await http.ended_batch(id_)
    assert view["status"] == "failed"
    assert "broken.csv, line 1502, column id: '15oo' is no int64" in view["error"]
    events = await http.events(f"/batches/{id_}")
    fault = next(event["fault"] for event in events if event["type"] == "batch.file_failed")
    assert (fault["line"], fault["column"], fault["text"]) == (1502, "id", "15oo")
    assert events[-1]["type"] == "batch.failed"


async def test_a_row_of_other_columns_fails_its_batch_and_is_shown(system: System, http: Http) -> None:
    path = system.put("columns.csv", "id,cents,note\n1,2,x\n1,2,x,y\n1,2,x\n")
    view = await http.ended_batch(await http.open_batch(spec="tally", connection="lake", files=[path]))
    assert view["status"] == "failed"
    assert "columns.csv, line 3: 4 columns, not 3: '1,2,x,y'" in view["error"]


async def test_a_batch_that_failed_goes_on_after_its_options_were_mended(system: System, http: Http) -> None:
    good = [f"{number},1,x" for number in range(1000)]
    path = system.put("mended.csv", "\n".join(["id,cents,note", *good, "-,1,x", *good]))
    id_ = await http.open_batch(
        spec="tally",
        connection="lake",
        files=[path],
        rows_per_job=100,
        options={"csv": {"column_types": {"id": "int64"}}},
    )
    view = await http.ended_batch(id_)
    assert (view["status"], view["rows"]) == ("failed", 1000)
    wrong = await http.post(f"/batches/{id_}/redrive", {"options": {"csv": {"null": ["-"]}}})
    assert (wrong.status, list(places(wrong.body))) == (400, ["#/options/csv"])
    answer = await http.post(f"/batches/{id_}/redrive", {"bad_rows": "quarantine"})
    assert answer.status in (200, 202)

    async def look() -> Any:
        return (await http.get(f"/batches/{id_}")).body

    view = await until(look, lambda view: view["status"] == "completed_with_failures")
    [file] = view["files"]
    assert (file["rows"], file["jobs"], file["bad_rows"], view["jobs"]["succeeded"]) == (2000, 20, 1, 20)
    [kept] = [event for event in await http.events(f"/batches/{id_}") if event["type"] == "batch.rows_quarantined"]
    assert kept["faults"][0]["line"] == 1002
    again = await http.post(f"/batches/{id_}/redrive", b"")
    assert (again.status, "quarantined rows are read again if `rows`" in again.body["detail"]) == (409, True)


async def test_what_is_no_command_is_dropped(system: System, http: Http) -> None:
    """Any NATS client may publish anything."""
    async with await Connection.open(system.stack.nats_url, name="test") as connection:
        for body in (b"", b"\xc1 no MessagePack", b"\x91\x81\xa4type\xa8job.what"):
            await connection.publish("rota.command.job.nobody.schedule", body)
