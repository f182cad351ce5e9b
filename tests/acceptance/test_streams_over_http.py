"""Data sets that a caller streams in, by plain HTTP and NATS, through the whole of Rota."""

import asyncio
import gzip
import io
import time
import zlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import brotli
import msgspec
import nats
import pyarrow as pa
import pytest
from backports import zstd
from fastavro import writer as write_avro

import rota
from scripts.dataset import as_csv, orders, sums
from tests.acceptance.system import Http, System, assert_each_row_once, results


def as_ndjson(table: pa.Table) -> bytes:
    return msgspec.json.Encoder().encode_lines(table.to_pylist())


def as_arrow(table: pa.Table) -> bytes:
    with io.BytesIO() as sink:
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=500)
        return sink.getvalue()


def as_messagepack(table: pa.Table) -> bytes:
    rows = table.select(["id", "cents", "note"]).to_pylist()
    return b"".join(map(msgspec.msgpack.encode, rows))


def as_avro(table: pa.Table) -> bytes:
    fields = [{"name": "id", "type": "long"}, {"name": "cents", "type": "long"}, {"name": "note", "type": "string"}]
    with io.BytesIO() as sink:
        rows = table.select(["id", "cents", "note"]).to_pylist()
        write_avro(sink, {"type": "record", "name": "order", "fields": fields}, rows)
        return sink.getvalue()


def as_yaml(table: pa.Table) -> bytes:
    rows = table.select(["id", "cents", "note"]).to_pylist()
    return b"".join(b"- " + msgspec.json.encode(row) + b"\n" for row in rows)


def as_xml(table: pa.Table) -> bytes:
    rows = table.select(["id", "cents", "note"]).to_pylist()
    text = "".join(
        f"<o><id>{row['id']}</id><cents>{row['cents']}</cents><note>{row['note']}</note></o>" for row in rows
    )
    return f"<orders>{text}</orders>".encode()


WRITERS = {
    "arrow": as_arrow,
    "avro": as_avro,
    "csv": as_csv,
    "json": lambda table: msgspec.json.encode(table.to_pylist()),
    "messagepack": as_messagepack,
    "ndjson": as_ndjson,
    "xml": as_xml,
    "yaml": as_yaml,
}
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "br": brotli.compress,
    "deflate": zlib.compress,
    "gzip": gzip.compress,
    "zstd": zstd.compress,
}
XML_OPTIONS = {"column_types": {"id": "int64", "cents": "int64"}}


async def pieces(body: bytes, size: int) -> AsyncIterator[bytes]:
    """Yield a body in pieces of a size that cuts rows anywhere."""
    for start in range(0, len(body), size):
        yield body[start : start + size]
        await asyncio.sleep(0)


@pytest.mark.parametrize("format_", sorted(WRITERS))
async def test_data_of_each_format_comes_in_chunks_that_end_anywhere(
    http: Http, client: rota.Client, format_: str
) -> None:
    table = orders(2_500)
    body = WRITERS[format_](table)
    options = XML_OPTIONS if format_ == "xml" else {}
    id_ = await http.open_batch(spec="tally", stream={}, format=format_, options=options, rows_per_job=1000)
    offset = await http.send(id_, pieces(body[: len(body) // 3], 997))
    offset = await http.send(id_, body[offset : offset + 1], offset)
    assert await http.send(id_, pieces(body[offset:], 70_001), offset, Upload_Complete="?1") == len(body)
    await assert_each_row_once(client, id_, [3], sums(table))
    [file] = (await http.get(f"/batches/{id_}")).body["files"]
    assert (file["path"], file["format"], file["rows"]) == ("stream", format_, 2_500)


async def test_jobs_run_while_the_data_still_comes(http: Http) -> None:
    id_ = await http.open_batch(spec="tally", stream={}, format="ndjson", rows_per_job=10)
    offset = await http.send(id_, as_ndjson(orders(25)))
    view = await http.until_batch(id_, lambda view: view["jobs"].get("succeeded") == 2 and view["rows"] == 20)
    assert view["status"] == "reading"
    await http.send(id_, as_ndjson(orders(15)), offset, Upload_Complete="?1")
    view = await http.ended_batch(id_)
    assert (view["status"], view["rows"], view["jobs"]["succeeded"]) == ("completed", 40, 4)


async def test_a_row_waits_no_longer_than_its_batch_says(http: Http) -> None:
    id_ = await http.open_batch(spec="tally", stream={}, format="csv", rows_per_job=1000, seconds_per_job=0.5)
    started = time.monotonic()
    offset = await http.send(id_, b"id,cents,note\n1,2,a\n3,4,b\n5,")
    await http.until_batch(id_, lambda view: view["jobs"].get("succeeded") == 1 and view["rows"] == 2)
    assert time.monotonic() - started < 5
    await http.send(id_, b"6,c\n", offset)
    await http.until_batch(id_, lambda view: view["jobs"].get("succeeded") == 2)
    await http.done(f"/batches/{id_}/seal")
    view = await http.ended_batch(id_)
    assert (view["status"], view["rows"], view["jobs"]["total"]) == ("completed", 3, 2)
    assert [
        event["count"] for event in await http.events(f"/batches/{id_}") if event["type"] == "batch.job_cut"
    ] == [
        2,
        1,
    ]


async def test_bytes_are_a_limit_of_a_job_too(http: Http, client: rota.Client) -> None:
    table = orders(1_000)
    id_ = await http.open_batch(spec="tally", stream={}, format="ndjson", rows_per_job=None, bytes_per_job=20_000)
    await http.send(id_, as_ndjson(table), Upload_Complete="?1")
    view = await http.ended_batch(id_)
    found = list((await results(client, id_)).values())
    assert view["status"] == "completed"
    assert len(found) > 3
    assert sum(one["rows"] for one in found) == 1_000


async def test_a_chunk_that_is_sent_twice_counts_once(http: Http, client: rota.Client) -> None:
    table = orders(300)
    body = as_ndjson(table)
    id_ = await http.open_batch(spec="tally", stream={}, format="ndjson", rows_per_job=100)
    assert await http.send(id_, body[:5_000]) == 5_000
    assert await http.send(id_, body[:5_000]) == 5_000
    # A client that did not hear of all that was stored goes on from what it knows.
    assert await http.send(id_, body[2_000:9_000], 2_000) == 9_000
    answer = await http.head(f"/batches/{id_}/data")
    assert (answer.headers["Upload-Offset"], answer.headers["Upload-Complete"]) == ("9000", "?0")
    for _ in range(2):
        assert await http.send(id_, body[9_000:], 9_000, Upload_Complete="?1") == len(body)
    assert (await http.head(f"/batches/{id_}/data")).headers["Upload-Complete"] == "?1"
    await assert_each_row_once(client, id_, [3], sums(table))


async def test_what_does_not_fit_is_refused_and_says_where_to_go_on(http: Http) -> None:
    id_ = await http.open_batch(spec="tally", stream={}, format="csv")
    await http.send(id_, b"id,cents,note\n")
    beyond = await http.patch(f"/batches/{id_}/data", b"1,2,x\n", Upload_Offset="99")
    assert (beyond.status, beyond.headers["Upload-Offset"]) == (409, "14")
    other = await http.patch(f"/batches/{id_}/data", b"ID,cents,note\n1,2,x\n", Upload_Offset="0")
    assert (other.status, other.headers["Upload-Offset"]) == (409, "14")
    without = await http.patch(f"/batches/{id_}/data", b"1,2,x\n")
    assert without.status == 400
    await http.done(f"/batches/{id_}/seal")
    late = await http.patch(f"/batches/{id_}/data", b"1,2,x\n", Upload_Offset="14")
    assert late.status == 409
    assert (await http.patch("/batches/nobody/data", b"x", Upload_Offset="0")).status == 404
    view = await http.ended_batch(id_)
    assert (view["status"], view["rows"]) == ("completed", 0)


async def test_one_writer_at_a_time(http: Http) -> None:
    id_ = await http.open_batch(spec="tally", stream={}, format="csv")
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield b"id,cents,note\n"
        begun.set()
        await go_on.wait()
        yield b"1,2,x\n"

    first = asyncio.create_task(http.send(id_, slowly()))
    await begun.wait()
    await http.until_batch(id_, lambda view: view["status"] == "reading")
    second = await http.patch(f"/batches/{id_}/data", b"3,4,y\n", Upload_Offset="14")
    assert second.status == 409
    go_on.set()
    assert await first == 20


@pytest.mark.parametrize("coding", ["br", "deflate", "gzip", "zstd"])
async def test_each_request_may_be_compressed(http: Http, client: rota.Client, coding: str) -> None:
    table = orders(400)
    body = as_csv(table)
    pack = PACKERS[coding]
    id_ = await http.open_batch(spec="tally", stream={}, format="csv", rows_per_job=100)
    offset = await http.send(id_, pack(body[:7_000]), Content_Encoding=coding)
    assert offset == 7_000
    rest = pack(body[7_000:])
    blind = await http.patch(
        f"/batches/{id_}/data", rest, Upload_Offset="7000", Content_Encoding=coding, Upload_Complete="?1"
    )
    assert (blind.status, "Upload-Length" in blind.body["detail"]) == (400, True)
    last = {"Content_Encoding": coding, "Upload_Complete": "?1", "Upload_Length": str(len(body))}
    await http.send(id_, rest, offset, **last)
    await assert_each_row_once(client, id_, [4], sums(table))


async def test_the_stream_as_a_whole_may_be_compressed(http: Http, client: rota.Client) -> None:
    table = orders(400)
    body = gzip.compress(as_csv(table))
    id_ = await http.open_batch(spec="tally", stream={}, format="csv", compression="gzip", rows_per_job=100)
    offset = await http.send(id_, body[:3_000])
    await http.send(id_, body[offset:], offset, Upload_Complete="?1")
    await assert_each_row_once(client, id_, [4], sums(table))


async def test_chunks_come_as_nats_messages_too(system: System, client: rota.Client, http: Http) -> None:
    table = orders(500)
    body = as_ndjson(table)
    connection = await nats.connect(system.stack.nats_url)

    async def ask(endpoint: str, **request: Any) -> Any:
        headers = {"Content-Type": "application/msgpack"}
        answer = await connection.request(
            f"rota.api.batch.{endpoint}", msgspec.msgpack.encode(request), timeout=10, headers=headers
        )
        return msgspec.msgpack.decode(answer.data)

    id_ = await http.open_batch(spec="tally", stream={}, format="ndjson", rows_per_job=250)
    offset = 0
    while offset < len(body):
        for _ in range(2):  # each twice: it counts once
            told = await ask("append", id=id_, offset=offset, data=body[offset : offset + 10_007])
        offset = told["offset"]
    assert (await ask("seal", id=id_))["complete"] is True
    await connection.close()
    await assert_each_row_once(client, id_, [2], sums(table))


async def test_a_silent_stream_ends_by_its_own_rule(http: Http) -> None:
    rules = {"silent_after_seconds": 1.5}
    sealed = await http.open_batch(spec="tally", stream=rules | {"on_silence": "seal"}, format="csv")
    failed = await http.open_batch(spec="tally", stream=rules | {"on_silence": "fail"}, format="csv")
    never = await http.open_batch(spec="tally", stream=rules, format="csv")
    for id_ in (sealed, failed):
        await http.send(id_, b"id,cents,note\n1,2,x\n3,4,y\n")
    view = await http.ended_batch(sealed)
    assert (view["status"], view["rows"]) == ("completed", 2)
    view = await http.ended_batch(failed)
    assert view["status"] == "failed"
    assert "silent" in view["error"]
    assert (await http.ended_batch(never))["status"] == "failed"
    late = await http.patch(f"/batches/{failed}/data", b"5,6,z\n", Upload_Offset="26")
    assert late.status == 409


async def test_a_bad_row_of_a_stream_is_named_by_its_line(http: Http) -> None:
    options = {"column_types": {"id": "int64"}}
    id_ = await http.open_batch(spec="tally", stream={}, format="csv", options=options)
    await http.send(id_, b"id,cents,note\n1,2,x\nno,4,y\n", Upload_Complete="?1")
    view = await http.ended_batch(id_)
    assert view["status"] == "failed"
    assert "stream, line 3" in view["error"]


async def test_a_stream_that_makes_no_sense_is_refused_with_all_that_is_wrong(http: Http) -> None:
    answer = await http.post(
        "/batches",
        {
            "spec": "tally",
            "stream": {},
            "files": ["x"],
            "format": "parquet",
            "rows_per_job": None,
            "bytes_per_job": None,
        },
    )
    assert answer.status == 400
    assert {error["pointer"] for error in answer.body["errors"]} == {"#/files", "#/format", "#/bytes_per_job"}


async def test_quarantined_rows_of_a_stream_are_read_again_in_another_way(http: Http, client: rota.Client) -> None:
    body = b"id,cents,note\n" + b"".join(b"%d,%s,x\n" % (n, b"?" if n % 10 == 3 else b"1") for n in range(50))
    id_ = await http.open_batch(
        spec="echo",
        stream={},
        format="csv",
        rows_per_job=10,
        bad_rows="quarantine",
        options={"column_types": {"cents": "int64"}},
    )
    await http.send(id_, body, Upload_Complete="?1")
    view = await http.ended_batch(id_)
    assert (view["status"], view["rows"], view["bad_rows"]) == ("completed_with_failures", 45, 5)
    await http.done(f"/batches/{id_}/redrive", {"rows": {}, "options": {"column_types": {"cents": "string"}}})
    view = await http.until_batch(id_, lambda view: view["status"] == "completed")
    assert view["rows"] == 50
    found = [row["id"] for rows in (await results(client, id_)).values() for row in rows]
    assert sorted(found) == list(range(50))
