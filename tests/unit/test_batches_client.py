"""The client's batches, against a server that gives the answers which the gateway documents."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.history import MAX_EVENTS
from rota import Client, RotaError
from rota.batch_protocol import BadRowsAgain, BatchRequest, FailedJobs, StreamRules, Tolerance
from rota.errors import ConflictError, InvalidRequestError, UnavailableError
from rota.http import PAGE_EVENTS
from rota.patience import limit
from tests.unit.test_client import DROP, PlayedGateway, batch, event, problem

DONE = {"id": "b1", "status": "done"}


@pytest.fixture
async def gateway() -> AsyncIterator[PlayedGateway]:
    async with PlayedGateway() as gateway:
        yield gateway


@pytest.fixture
async def client(gateway: PlayedGateway) -> AsyncIterator[Client]:
    async with Client(gateway.url) as client:
        yield client


def results(status: str, body: bytes = b"", **more: Any) -> dict[str, Any]:
    manifest = {
        "batch": "b1",
        "spec": "load",
        "format": "ndjson",
        "jobs": {"succeeded": 2, "failed": 1, "total": 3},
        "rows": 20,
        "size": len(body),
        "sha256": hashlib.sha256(body).hexdigest(),
    }
    view = {"id": "c1", "status": status, "format": "ndjson", **more}
    return view | ({"manifest": manifest} if status == "collected" else {})


def limited(rows: int) -> dict[str, Any]:
    """Return the history of a batch that takes so many rows at most."""
    return {"events": [event(1, "batch.opened") | {"details": {"spec": "load", "limit": rows}}]}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


async def test_a_batch_is_opened_with_the_limits_of_its_jobs(client: Client, gateway: PlayedGateway) -> None:
    gateway.play("POST /batches", {"id": "b1"}, status=202)
    await client.batches.open(
        spec="load",
        files=["a.csv"],
        rows_per_job=None,
        bytes_per_job=500_000,
        first=10,
        limit=100,
        tolerance=Tolerance(failed_jobs_share=0.1, bad_rows=5),
    )
    [(_, body)] = gateway.asked
    assert body == {
        "spec": "load",
        "files": ["a.csv"],
        "rows_per_job": None,
        "bytes_per_job": 500_000,
        "first": 10,
        "limit": 100,
        "tolerance": {"failed_jobs_share": 0.1, "bad_rows": 5},
    }


async def test_batches_are_listed_by_the_page(client: Client, gateway: PlayedGateway) -> None:
    pages = [{"batches": [batch("failed") | {"files": []}], "next": "c"}, {"batches": [batch("failed")]}]
    gateway.play("GET /batches", *pages)
    found = [one async for one in client.batches.list(status="failed", spec="load")]
    assert [one.id for one in found] == ["b1", "b1"]
    assert [target for target, _ in gateway.asked] == [
        "GET /batches?status=failed&spec=load&limit=100",
        "GET /batches?status=failed&spec=load&limit=100&after=c",
    ]


async def test_a_dry_run_is_asked_for_with_the_request_of_a_batch(client: Client, gateway: PlayedGateway) -> None:
    job = {"file": "a.csv", "first_row": 0, "count": 10, "rows": [{"n": 1}]}
    answer = {"files": [{"path": "a.csv"}], "files_total": 1, "jobs": [job], "rows_estimated": 10, "exact": True}
    gateway.play("POST /batches/dry-run", answer)
    view = await client.batches.dry_run(BatchRequest(spec="load", files=["a.csv"]))
    assert (view.files[0].path, view.jobs[0].count, view.rows_estimated, view.exact) == ("a.csv", 10, 10, True)
    await client.batches.dry_run(spec="load", files=["a.csv"])
    assert [body for _, body in gateway.asked] == [{"spec": "load", "files": ["a.csv"]}] * 2


async def test_a_batch_is_paused_resumed_changed_and_cancelled(client: Client, gateway: PlayedGateway) -> None:
    for action in ("pause", "resume", "cancel"):
        gateway.play(f"POST /batches/b1/{action}", DONE)
    gateway.play("PATCH /batches/b1", DONE)
    await client.batches.pause("b1", "the table is full")
    await client.batches.resume("b1")
    await client.batches.change("b1", max_jobs_in_flight=5, tolerance=Tolerance(failed_jobs=1))
    await client.batches.cancel("b1")
    assert gateway.asked == [
        ("POST /batches/b1/pause", {"reason": "the table is full"}),
        ("POST /batches/b1/resume", None),
        ("PATCH /batches/b1", {"max_jobs_in_flight": 5, "tolerance": {"failed_jobs": 1}}),
        ("POST /batches/b1/cancel", {"reason": ""}),
    ]
    assert all(gateway.keys)


async def test_a_change_of_a_batch_that_has_ended_is_a_conflict(client: Client, gateway: PlayedGateway) -> None:
    gateway.play("PATCH /batches/b1", problem("conflict", 409))
    with pytest.raises(ConflictError):
        await client.batches.change("b1", max_readers=2)


async def test_a_redrive_says_which_jobs_and_which_bad_rows(client: Client, gateway: PlayedGateway) -> None:
    gateway.play("POST /batches/b1/redrive", DONE)
    await client.batches.redrive(
        "b1",
        jobs=FailedJobs(file="a.csv", first_row=10, error="Timeout"),
        rows=BadRowsAgain(),
        tolerance=Tolerance(bad_rows_share=0.5),
    )
    [(_, body)] = gateway.asked
    assert body == {
        "jobs": {"file": "a.csv", "first_row": 10, "error": "Timeout"},
        "rows": {},
        "tolerance": {"bad_rows_share": 0.5},
    }


async def test_a_row_is_found(client: Client, gateway: PlayedGateway) -> None:
    row = {
        "file": "a b.csv",
        "file_index": 0,
        "row": 7,
        "job": "j",
        "status": "failed",
        "first_row": 0,
        "last_row": 9,
    }
    gateway.play("GET /batches/b1/rows", row)
    assert (await client.batches.row("b1", 7, "a b.csv")).status == "failed"
    assert (await client.batches.row("b1", 7)).file == "a b.csv"
    assert [target for target, _ in gateway.asked] == [
        "GET /batches/b1/rows?file=a+b.csv&row=7",
        "GET /batches/b1/rows?row=7",
    ]


async def test_bad_rows_are_asked_for_by_the_page(client: Client, gateway: PlayedGateway) -> None:
    bad = {"file": "a.csv", "file_index": 0, "number": 0}
    gateway.play(
        "GET /batches/b1/bad-rows",
        {"bad_rows": [bad], "next": "0.0"},
        {"bad_rows": [bad | {"number": 1}], "next": None},
    )
    assert [one.number async for one in client.batches.bad_rows("b1", "a.csv")] == [0, 1]
    assert [target.partition("?")[2] for target, _ in gateway.asked] == [
        "file=a.csv&limit=1000",
        "file=a.csv&limit=1000&after=0.0",
    ]


@pytest.mark.parametrize("end", ["completed", "completed_with_failures", "failed", "cancelled"])
async def test_waiting_ends_however_the_batch_does(client: Client, gateway: PlayedGateway, end: str) -> None:
    gateway.play("GET /batches/b1/events", {"events": [event(1, "batch.paused"), event(2, f"batch.{end}")]})
    gateway.play("GET /batches/b1", batch(end, total=0))
    assert (await client.batches.wait("b1", timeout=10)).status == end


async def test_watching_ends_though_results_were_collected_after_the_end(
    client: Client, gateway: PlayedGateway
) -> None:
    types = ["batch.completed", "batch.results_requested", "batch.results_collected", "batch.results_failed"]
    gateway.play("GET /batches/b1/events", {"events": [event(n, type_) for n, type_ in enumerate(types)]})
    gateway.play("GET /batches/b1", batch("completed", total=0))
    async with asyncio.timeout(10):
        assert [one["type"] async for one in client.batches.watch("b1")] == types
    assert (await client.batches.wait("b1", timeout=10)).status == "completed"


async def test_watching_goes_on_after_a_redrive_and_what_follows_it(client: Client, gateway: PlayedGateway) -> None:
    first = ["batch.failed", "batch.results_requested", "batch.redriven", "batch.results_collected"]
    pages = [
        {"events": [event(n, type_) for n, type_ in enumerate(first)]},
        {"events": []},
        {"events": [event(9, "batch.completed")]},
    ]
    gateway.play("GET /batches/b1/events", *pages)
    assert [one["type"] async for one in client.batches.watch("b1")] == [*first, "batch.completed"]


@pytest.mark.parametrize("more", [[], ["batch.redriven", "batch.completed"], ["batch.results_requested"]])
async def test_an_end_at_the_end_of_a_full_page_is_not_yet_the_last_event(
    client: Client, gateway: PlayedGateway, more: list[str]
) -> None:
    assert PAGE_EVENTS == MAX_EVENTS
    types = ["batch.advanced"] * (PAGE_EVENTS - 1) + ["batch.failed"]
    gateway.play(
        "GET /batches/b1/events",
        {"events": [event(n, type_) for n, type_ in enumerate(types)]},
        {"events": [event(PAGE_EVENTS + n, type_) for n, type_ in enumerate(more)]},
    )
    assert [one["type"] async for one in client.batches.watch("b1")] == types + more
    # The question for what may follow an end is not held open.
    assert [target.partition("?")[2] for target, _ in gateway.asked] == ["after=0&wait=30", "after=1009"]


async def test_waiting_does_not_take_the_end_before_a_redrive_for_that_after_it(
    client: Client, gateway: PlayedGateway
) -> None:
    later = "2025-06-01T12:00:07.123456Z"
    types = ["batch.failed", "batch.redriven", "batch.completed"]
    events = [event(n, type_) for n, type_ in enumerate(types)]
    gateway.play("GET /batches/b1/events", {"events": [*events[:2], events[2] | {"at": later}]})
    ended = batch("completed", total=0) | {"ended_at": later}
    gateway.play("GET /batches/b1", batch("failed", total=0), batch("reading", total=0), ended)
    assert (await client.batches.wait("b1", timeout=10)).status == "completed"


async def test_a_time_that_is_up_within_what_is_waited_for_is_told_as_it_is() -> None:
    for seconds in (None, 60.0):
        with pytest.raises(TimeoutError, match="of a socket"):
            async with limit(seconds, "Batch b1"):
                raise TimeoutError("of a socket")


async def test_results_are_waited_for(client: Client, gateway: PlayedGateway) -> None:
    gateway.play("POST /batches/b1/results", {"id": "c1"}, status=202)
    collected = results("collected", connection="lake", path="r.parquet")
    gateway.play("GET /batches/b1/results/c1", problem("not-found", 404), results("collecting"), collected)
    view = await client.batches.results("b1", format="parquet", connection="lake", path="r.parquet")
    assert view.manifest
    assert view.manifest.rows == 20
    assert [target for target, _ in gateway.asked].count("GET /batches/b1/results/c1") == 3
    assert gateway.asked[0][1] == {"format": "parquet", "connection": "lake", "path": "r.parquet"}


async def test_results_that_cannot_be_collected_say_why(client: Client, gateway: PlayedGateway) -> None:
    gateway.play("POST /batches/b1/results", {"id": "c1"}, status=202)
    gateway.play("GET /batches/b1/results/c1", results("failed", error="lake: no space left"))
    with pytest.raises(RotaError, match="lake: no space left"):
        await client.batches.results("b1")


async def test_waiting_for_results_can_be_limited(client: Client, gateway: PlayedGateway) -> None:
    gateway.play("POST /batches/b1/results", {"id": "c1"}, status=202)
    gateway.play("GET /batches/b1/results/c1", results("collecting"))
    with pytest.raises(TimeoutError, match=r"results of batch b1 has not ended after 0\.2 seconds"):
        await client.batches.results("b1", timeout=0.2)


async def test_results_are_downloaded_whole(client: Client, gateway: PlayedGateway, tmp_path: Path) -> None:
    body = b'{"n": 1}\n' * 100_000
    gateway.play("POST /batches/b1/results", {"id": "c1"}, status=202)
    gateway.play("GET /batches/b1/results/c1", results("collected", body))
    gateway.play("GET /batches/b1/results/c1/file", DROP, problem("unavailable", 503), (200, body))
    view = await client.batches.download_results("b1", tmp_path / "r.ndjson")
    assert view.manifest
    assert contents(tmp_path) == {"r.ndjson": body}


async def test_a_download_that_does_not_come_whole_leaves_what_was_there(
    gateway: PlayedGateway, tmp_path: Path
) -> None:
    path = tmp_path / "r.ndjson"
    path.write_text("before")
    gateway.play("POST /batches/b1/results", {"id": "c1"}, status=202)
    gateway.play("GET /batches/b1/results/c1", results("collected", b"all of it"))
    async with Client(gateway.url, patience_seconds=0.2) as client:
        gateway.play("GET /batches/b1/results/c1/file", b"half of it")
        with pytest.raises(RotaError, match="does not have their digest"):
            await client.batches.download_results("b1", path)
        gateway.play("GET /batches/b1/results/c1/file", problem("unavailable", 503))
        with pytest.raises(UnavailableError):
            await client.batches.download_results("b1", path)
    assert contents(tmp_path) == {"r.ndjson": b"before"}


async def test_a_download_to_where_nothing_can_be_written_is_refused(
    client: Client, gateway: PlayedGateway, tmp_path: Path
) -> None:
    gateway.play("POST /batches/b1/results", {"id": "c1"}, status=202)
    gateway.play("GET /batches/b1/results/c1", results("collected"))
    with pytest.raises(InvalidRequestError, match="cannot be written: No such file"):
        await client.batches.download_results("b1", tmp_path / "nowhere" / "r.ndjson")


async def test_a_stream_is_opened_with_its_rules(client: Client, gateway: PlayedGateway) -> None:
    gateway.play("POST /batches", {"id": "b1"}, status=202)
    gateway.play("GET /batches/b1/data", {"id": "b1", "offset": 0, "complete": False})
    gateway.play("POST /batches/b1/seal", {"id": "b1", "offset": 0, "complete": True})
    async with client.batches.stream(spec="load", format="ndjson", seconds_per_job=5):
        pass
    rules = StreamRules(silent_after_seconds=60, on_silence="seal")
    async with client.batches.stream(spec="load", format="csv", stream=rules, params={"table": "t"}) as stream:
        assert (stream.id, stream.offset, stream.sealed) == ("b1", 0, False)
        with pytest.raises(InvalidRequestError, match="is csv"):
            await stream.write_rows([{"n": 1}])
    bodies = [body for target, body in gateway.asked if target == "POST /batches"]
    assert bodies == [
        {"spec": "load", "format": "ndjson", "seconds_per_job": 5, "stream": {}},
        {
            "spec": "load",
            "format": "csv",
            "stream": {"silent_after_seconds": 60, "on_silence": "seal"},
            "params": {"table": "t"},
        },
    ]
    assert [target for target, _ in gateway.asked].count("POST /batches/b1/seal") == 2


@pytest.mark.parametrize("format_", [None, "parquet", "xlsx"])
def test_a_stream_in_a_format_that_is_not_streamed_is_refused_before_it_is_opened(format_: str | None) -> None:
    with pytest.raises(InvalidRequestError, match="streams are arrow, avro, csv"):
        Client().batches.stream(spec="load", format=format_)


async def test_one_row_is_no_list_of_rows(client: Client, gateway: PlayedGateway) -> None:
    gateway.play("POST /batches", {"id": "b1"}, status=202)
    gateway.play("GET /batches/b1/data", {"id": "b1", "offset": 0, "complete": False})
    gateway.play("POST /batches/b1/seal", {"id": "b1", "offset": 0, "complete": True})
    async with client.batches.stream(spec="load", format="ndjson") as stream:
        for row in ({"cents": 1}, "text", b"bytes"):
            with pytest.raises(TypeError, match="takes a list of rows"):
                await stream.write_rows(row)


async def test_a_stream_that_is_not_open_says_what_to_do(client: Client) -> None:
    with pytest.raises(RuntimeError, match="async with"):
        await client.batches.stream(spec="load", format="ndjson").write(b"")


@pytest.mark.parametrize("status", ["sealed", "completed", "completed_with_failures"])
async def test_a_batch_that_has_its_rows_needs_no_seal(client: Client, gateway: PlayedGateway, status: str) -> None:
    gateway.play("GET /batches/b1/data", {"id": "b1", "offset": 7, "complete": False})
    gateway.play("POST /batches/b1/seal", problem("conflict", 409))
    gateway.play("GET /batches/b1", batch("reading"), batch(status))
    gateway.play("GET /batches/b1/events", limited(20))
    async with client.batches.resume_stream("b1", append=True) as stream:
        pass
    assert (stream.full, stream.sealed) == (True, False)


@pytest.mark.parametrize(
    ("status", "history"), [("completed", limited(21)), ("completed", {"events": []}), ("failed", limited(20))]
)
async def test_a_batch_that_was_to_have_more_rows_is_not_taken_for_one_that_is_full(
    client: Client, gateway: PlayedGateway, status: str, history: dict[str, Any]
) -> None:
    gateway.play("GET /batches/b1/data", {"id": "b1", "offset": 7, "complete": True})
    gateway.play("PATCH /batches/b1/data", problem("conflict", 409))
    gateway.play("GET /batches/b1", batch(status))
    gateway.play("GET /batches/b1/events", history)
    stream = client.batches.resume_stream("b1", append=True)
    with pytest.raises(ConflictError, match="was sealed after 7 bytes"):
        async with stream:
            await stream.write(b"more")
    assert not stream.full


async def test_sealing_waits_until_the_gateway_has_noticed_a_lost_connection(
    client: Client, gateway: PlayedGateway
) -> None:
    gateway.play("GET /batches/b1/data", {"id": "b1", "offset": 7, "complete": False})
    gateway.play("GET /batches/b1", batch("reading"))
    sealed = {"id": "b1", "offset": 7, "complete": True}
    gateway.play("POST /batches/b1/seal", problem("conflict", 409), (200, sealed))
    async with client.batches.resume_stream("b1", append=True) as stream:
        assert stream.offset == 7
    assert stream.sealed


async def test_sealing_a_batch_that_has_failed_is_a_conflict_at_once(
    client: Client, gateway: PlayedGateway
) -> None:
    gateway.play("GET /batches/b1/data", {"id": "b1", "offset": 7, "complete": False})
    gateway.play("GET /batches/b1", batch("failed"))
    gateway.play("POST /batches/b1/seal", problem("conflict", 409))
    stream = client.batches.resume_stream("b1", append=True)
    with pytest.raises(ConflictError, match="is failed: it takes no more than the 7 bytes"):
        async with stream:
            pass
