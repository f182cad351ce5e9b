"""Batches by plain HTTP, through the whole of Rota: files of an object store and of a web server."""

import functools
import gzip
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import rota
from scripts.dataset import as_csv, orders, sums
from tests.acceptance.system import Http, System, assert_each_row_once, results


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """A web server over the test's folder; it sends whole files only."""
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=tmp_path)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


async def test_a_csv_of_an_object_store_becomes_jobs(system: System, http: Http, client: rota.Client) -> None:
    table = orders(10_500)
    path = system.put("orders/10500.csv", as_csv(table))
    answer = await http.post(
        "/batches", {"spec": "tally", "connection": "lake", "files": [path], "rows_per_job": 1000}
    )
    assert answer.status == 202
    id_ = answer.body["id"]
    assert answer.headers["Location"] == f"/batches/{id_}"
    assert (await http.get(f"/batches/{id_}")).status == 200
    await assert_each_row_once(client, id_, [11], sums(table))
    view = (await http.get(f"/batches/{id_}")).body
    [file] = view["files"]
    assert (file["path"], file["status"], file["rows"], file["jobs"]) == (path, "finished", 10_500, 11)
    assert file["size"] == len(as_csv(table))
    types = await http.types(f"/batches/{id_}")
    assert types[:2] == ["batch.opened", "batch.file_found"]
    assert types[-1] == "batch.completed"


async def test_a_csv_of_a_web_server_becomes_jobs(
    system: System, http: Http, client: rota.Client, web: str, tmp_path: Path
) -> None:
    table = orders(5_000)
    (tmp_path / "orders.csv").write_bytes(as_csv(table))
    id_ = await http.open_batch(
        spec="tally", connection=system.connect(web), files=["orders.csv"], rows_per_job=700
    )
    await assert_each_row_once(client, id_, [8], sums(table))


async def test_a_directory_of_files_of_several_formats_is_one_batch(
    system: System, http: Http, client: rota.Client
) -> None:
    tables = [orders(2_000), orders(1_500), orders(700)]
    with BytesIO() as body:
        pq.write_table(tables[1], body)
        parquet = body.getvalue()
    system.put("mixed/a.csv.gz", gzip.compress(as_csv(tables[0])))
    system.put("mixed/2026/b.parquet", parquet)
    system.put("mixed/2026/c.csv", as_csv(tables[2]))
    system.put("mixed/2026/c.csv.tmp", "not,read")
    id_ = await http.open_batch(
        spec="tally",
        connection="lake",
        files=["mixed/"],
        rows_per_job=1000,
        selection={"recursive": True, "exclude": ["*.tmp"]},
    )
    each = [sums(tables[1]), sums(tables[2]), sums(tables[0])]
    expected = {name: sum(one[name] for one in each) for name in each[0]}
    view = await assert_each_row_once(client, id_, [2, 1, 2], expected)
    assert [(file.path, file.format) for file in view.files] == [
        ("mixed/2026/b.parquet", "parquet"),
        ("mixed/2026/c.csv", "csv"),
        ("mixed/a.csv.gz", "csv"),
    ]


async def test_several_files_are_one_batch(system: System, http: Http, client: rota.Client) -> None:
    counts = [2_500, 0, 1, 1_000]
    tables = [orders(max(count, 1)).slice(0, count) for count in counts]
    files = [system.put(f"several/{count}.csv", as_csv(table)) for count, table in zip(counts, tables, strict=True)]
    id_ = await http.open_batch(spec="tally", connection="lake", files=files, rows_per_job=1000)
    each = [sums(table) for table, count in zip(tables, counts, strict=True) if count]
    expected = {name: sum(one[name] for one in each) for name in each[0]}
    view = await assert_each_row_once(client, id_, [3, 0, 1, 1], expected)
    assert view.files_total == 4
    assert [(file.path, file.rows) for file in view.files] == list(zip(files, counts, strict=True))


async def test_rows_come_as_dicts_with_where_they_came_from(
    system: System, http: Http, client: rota.Client
) -> None:
    table = orders(2_300)
    path = system.put("dicts.csv", as_csv(table))
    id_ = await http.open_batch(spec="tally_dicts", connection="lake", files=[path], rows_per_job=1000)
    whole = sums(table)
    await assert_each_row_once(client, id_, [3], {"rows": whole["rows"], "ids": whole["ids"]})
    found = sorted((await results(client, id_)).values(), key=lambda result: result["index"])
    assert [(one["file"], one["first_row"], one["rows"]) for one in found] == [
        (path, 0, 1000),
        (path, 1000, 1000),
        (path, 2000, 300),
    ]
    first = found[1]["first"]
    assert (first["id"], first["note"], type(first["paid"])) == (1000, "order 1000", bool)


@pytest.mark.parametrize("rows", [0, 1])
async def test_a_file_of_hardly_any_rows_is_a_batch_that_completes(
    system: System, http: Http, client: rota.Client, rows: int
) -> None:
    path = system.put(f"few-{rows}.csv", "id,cents,note\n" + "7,5,abc\n" * rows)
    id_ = await http.open_batch(spec="tally", connection="lake", files=[path])
    expected = {"rows": rows, "ids": 7 * rows, "cents": 5 * rows, "letters": 3 * rows}
    await assert_each_row_once(client, id_, [rows], expected)


async def test_a_batch_with_the_same_key_is_read_once(system: System, http: Http) -> None:
    path = system.put("key.csv", "id,cents,note\n1,2,x\n")
    request = {"spec": "tally", "connection": "lake", "files": [path], "key": "night-1"}
    assert len({await http.open_batch(**request) for _ in range(3)}) == 1
    headers = [await http.post("/batches", request | {"key": "night-2"}, Idempotency_Key="n") for _ in range(2)]
    assert headers[0].body == headers[1].body
    view = await http.ended_batch(headers[0].body["id"])
    assert (view["status"], view["rows"]) == ("completed", 1)


async def test_params_reach_each_job_of_a_batch(system: System, http: Http, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    path = system.put("params.csv", "id,cents,note\n" + "1,2,x\n" * 5)
    id_ = await http.open_batch(
        spec="slow_tally",
        connection="lake",
        files=[path],
        rows_per_job=2,
        params={"seconds": 0, "runs": str(runs)},
        labels={"team": "shop"},
    )
    view = await http.ended_batch(id_)
    assert (view["status"], view["labels"]) == ("completed", {"team": "shop"})
    jobs = (await http.get("/jobs", batch=id_)).body["jobs"]
    assert sorted(runs.read_text().split()) == sorted(job["id"] for job in jobs)
    assert {job["labels"]["team"] for job in jobs} == {"shop"}
