"""Batches over their whole life, by plain HTTP: tried out, cut, steered, failed, redriven, traced and collected."""

import asyncio
import hashlib
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from pyexcel_ods3 import get_data

import rota
from scripts.dataset import as_csv, orders, sums
from scripts.store import Store
from tests.acceptance.system import Http, System, assert_each_row_once, results


def numbered(count: int, first: int = 0) -> str:
    """Return a CSV whose rows are known by their ids."""
    return "id,cents,note\n" + "".join(f"{n},{n},n{n}\n" for n in range(first, first + count))


def fussy(path: Path, refused: list[int]) -> dict[str, Any]:
    return {
        "spec": "fussy",
        "params": {"refused": refused, "mended": str(path / "mended"), "runs": str(path / "runs")},
    }


def runs(path: Path) -> list[str]:
    return (path / "runs").read_text().split()


# Cutting


async def test_a_file_may_be_one_job(system: System, http: Http, client: rota.Client) -> None:
    tables = [orders(1_500), orders(20)]
    files = [system.put(f"whole/{n}.csv", as_csv(table)) for n, table in enumerate(tables)]
    id_ = await http.open_batch(spec="tally", connection="lake", files=files, rows_per_job=None, bytes_per_job=None)
    both = [sums(table) for table in tables]
    await assert_each_row_once(client, id_, [1, 1], {name: both[0][name] + both[1][name] for name in both[0]})


async def test_the_first_limit_that_is_reached_cuts(system: System, http: Http, client: rota.Client) -> None:
    rows = "".join(f"{n},1,{'x' * (10 if n % 10 else 5_000)}\n" for n in range(50))
    path = system.put("limits.csv", f"id,cents,note\n{rows}")
    id_ = await http.open_batch(
        spec="tally_dicts", connection="lake", files=[path], rows_per_job=7, bytes_per_job=5_300
    )
    assert (await http.ended_batch(id_))["status"] == "completed"
    found = sorted((await results(client, id_)).values(), key=lambda one: one["index"])
    # 0-6, 7-9 and what fits beside each long row: no job has more rows than 7, or two of the long ones.
    assert sum(one["rows"] for one in found) == 50
    assert max(one["rows"] for one in found) == 7
    assert [one["first_row"] for one in found][:3] == [0, 7, 14]


async def test_first_and_limit_count_over_all_files(system: System, http: Http, client: rota.Client) -> None:
    files = [system.put(f"window/{n}.csv", numbered(30, 30 * n)) for n in range(4)]
    id_ = await http.open_batch(spec="echo", connection="lake", files=files, rows_per_job=10, first=45, limit=20)
    view = await http.ended_batch(id_)
    assert (view["status"], view["rows"]) == ("completed", 20)
    found = await results(client, id_)
    assert sorted(row["id"] for rows in found.values() for row in rows) == list(range(45, 65))


@pytest.mark.parametrize("spec", ["of_json", "of_messagepack"])
async def test_jobs_get_their_rows_in_the_form_of_their_spec(
    system: System, http: Http, client: rota.Client, spec: str
) -> None:
    path = system.put("forms.csv", "id,day,price,note\n1,2026-01-02,1.5,\n2,2026-01-03,2.5,x\n")
    id_ = await http.open_batch(spec=spec, connection="lake", files=[path])
    assert (await http.ended_batch(id_))["status"] == "completed"
    [[form, count, first]] = (await results(client, id_)).values()
    assert (form, count) == (spec.removeprefix("of_"), 2)
    assert first == {"id": 1, "day": "2026-01-02", "price": 1.5, "note": None}


async def test_a_file_of_any_size_can_be_a_reference(system: System, http: Http, client: rota.Client) -> None:
    path = system.put("large.bin", b"x" * 9_000_000)
    id_ = await http.open_batch(
        spec="of_json", connection="lake", files=[path], format="raw", options={"content": False}
    )
    assert (await http.ended_batch(id_))["status"] == "completed"
    [[_, count, row]] = (await results(client, id_)).values()
    assert (count, row["path"], row["size"], row["bytes"]) == (1, path, 9_000_000, None)
    assert row["version"]


# Dry run


async def test_a_dry_run_shows_what_would_be_and_starts_nothing(system: System, http: Http) -> None:
    table = orders(40_000)
    path = system.put("dry.csv", as_csv(table) + b"no,row,at,all\n")
    before = (await http.get("/jobs", limit=1)).body["jobs"]
    answer = await http.post(
        "/batches/dry-run",
        {"spec": "tally", "connection": "lake", "files": [path], "rows_per_job": 1000, "bad_rows": "skip"},
    )
    assert answer.status == 200, answer.body
    view = answer.body
    [file] = view["files"]
    assert (file["path"], file["format"], file["columns"]["id"], file["columns"]["day"]) == (
        path,
        "csv",
        "int64",
        "date32[day]",
    )
    assert view["files_total"] == 1
    assert [(job["first_row"], job["count"]) for job in view["jobs"]] == [(0, 1000), (1000, 1000), (2000, 1000)]
    assert view["jobs"][0]["rows"][0]["note"] == "order 0"
    assert 36_000 <= view["rows_estimated"] <= 44_000
    assert 36 <= view["jobs_estimated"] <= 44
    assert (await http.get("/jobs", limit=1)).body["jobs"] == before


async def test_a_dry_run_names_bad_rows_and_files_that_are_not_there(system: System, http: Http) -> None:
    path = system.put("dry-bad.csv", "id,cents,note\n1,2,x\n3,4\n")
    request = {"spec": "tally", "connection": "lake", "files": [path, "not/there.csv"]}
    view = (await http.post("/batches/dry-run", request)).body
    bad, missing = view["files"]
    assert [(row["line"], row["row"]) for row in bad["bad_rows"]] == [(3, 1)]
    assert "not there" in missing["error"]
    assert view["error"]


# Control


async def test_a_batch_is_paused_changed_and_goes_on(system: System, http: Http, tmp_path: Path) -> None:
    path = system.put("steered.csv", numbered(300))
    id_ = await http.open_batch(
        spec="slow_tally",
        connection="lake",
        files=[path],
        rows_per_job=10,
        max_jobs_in_flight=2,
        params={"seconds": 0.1, "runs": str(tmp_path / "runs")},
    )
    await http.until_batch(id_, lambda view: view["jobs"].get("succeeded", 0) >= 2)
    await http.done(f"/batches/{id_}/pause", {"reason": "the database is slow"})
    view = await http.until_batch(
        id_, lambda view: view["status"] == "paused" and view["jobs"]["succeeded"] == view["jobs"]["total"]
    )
    held = view["jobs"]["total"]
    assert held < 30
    changed = await http.patch(f"/batches/{id_}", {"max_jobs_in_flight": 20, "tolerance": {"failed_jobs": 3}})
    assert changed.status in (200, 202), changed.body
    assert (await http.get(f"/batches/{id_}")).body["jobs"]["total"] == held
    await http.done(f"/batches/{id_}/resume")
    view = await http.ended_batch(id_)
    assert (view["status"], view["jobs"]["succeeded"]) == ("completed", 30)
    found = [event for event in await http.events(f"/batches/{id_}") if event["type"].split(".")[1] in STEERED]
    assert [event["type"] for event in found] == ["batch.paused", "batch.changed", "batch.resumed"]
    assert found[0]["reason"] == "the database is slow"
    assert found[1]["max_jobs_in_flight"] == 20
    assert all(event["origin"]["caller"].startswith("http:") for event in found)


STEERED = {"paused", "resumed", "changed"}


async def test_a_cancelled_batch_withdraws_what_waits_and_tells_what_runs(
    system: System, http: Http, client: rota.Client
) -> None:
    path = system.put("cancelled.csv", numbered(2_000))
    id_ = await http.open_batch(
        spec="trace",
        connection="lake",
        files=[path],
        rows_per_job=10,
        max_jobs_in_flight=60,
        params={"seconds": 600},
    )
    await http.until_batch(id_, lambda view: view["jobs"].get("running", 0) >= 10)
    await http.done(f"/batches/{id_}/cancel", {"reason": "wrong file"})
    view = await http.ended_batch(id_)
    assert (view["status"], view["error"]) == ("cancelled", "wrong file")
    assert view["jobs"].get("cancelled") == view["jobs"]["total"] < 200
    # The workers are free again.
    assert (await http.outcome(await http.schedule("add", {"a": 1, "b": 2})))["result"] == 3
    assert (await http.types(f"/batches/{id_}"))[-1] == "batch.cancelled"
    again = await http.post(f"/batches/{id_}/cancel", b"")
    assert again.status in (200, 202)
    assert (await http.post(f"/batches/{id_}/redrive", b"")).status == 409


async def test_bytes_in_flight_hold_the_reader_back(system: System, http: Http) -> None:
    rows = "".join(f"{n},1,{'x' * 1000}\n" for n in range(400))
    path = system.put("heavy.csv", f"id,cents,note\n{rows}")
    id_ = await http.open_batch(
        spec="trace",
        connection="lake",
        files=[path],
        rows_per_job=10,
        max_bytes_in_flight=50_000,
        params={"seconds": 0.3},
    )
    view = await http.until_batch(id_, lambda view: view["jobs"].get("total", 0) >= 5)
    assert view["jobs"]["total"] - view["jobs"].get("succeeded", 0) <= 8
    assert (await http.ended_batch(id_))["jobs"]["succeeded"] == 40


# Failure and redrive


async def test_failed_jobs_are_redriven_by_file_row_and_error_and_nothing_else_runs_again(
    system: System, http: Http, client: rota.Client, tmp_path: Path
) -> None:
    files = [system.put(f"fussy/{n}.csv", numbered(100, 100 * n)) for n in range(2)]
    refused = [5, 17, 52, 131, 162]
    id_ = await http.open_batch(connection="lake", files=files, rows_per_job=10, **fussy(tmp_path, refused))
    view = await http.ended_batch(id_)
    assert view["status"] == "completed_with_failures"
    assert view["error"] == "5 of 20 jobs ended without success"
    assert len(runs(tmp_path)) == 20
    (tmp_path / "mended").touch()
    for selection, again in (
        ({"file": files[1], "first_row": 60}, {"1-6"}),
        ({"last_row": 19, "file": files[0]}, {"0-0", "0-1"}),
        ({"error": "KeyError"}, {"0-5"}),
        ({}, {"1-3"}),
    ):
        before = len(runs(tmp_path))
        await http.done(f"/batches/{id_}/redrive", {"jobs": selection})
        await http.until_batch(id_, _ended_after(tmp_path, before + len(again)))
        assert {run.removeprefix(f"{id_}_") for run in runs(tmp_path)[before:]} == again
    view = await http.until_batch(id_, lambda view: view["status"] == "completed")
    assert view["jobs"] == {"succeeded": 20, "total": 20}
    assert len(runs(tmp_path)) == 25
    found = await results(client, id_)
    assert sorted(n for ids in found.values() for n in ids) == list(range(200))
    assert (await http.types(f"/jobs/{id_}_0-5"))[-3:] == ["job.redriven", "job.queued", "job.succeeded"]


def _ended_after(path: Path, count: int) -> Callable[[Any], bool]:
    return lambda view: view["status"].startswith("completed") and len(runs(path)) >= count


@pytest.mark.parametrize(
    ("tolerance", "said"),
    [
        ({"failed_jobs": 1}, "2 jobs ended without success, and failed_jobs tolerates 1"),
        ({"failed_jobs_share": 0.1}, "2 of 10 jobs ended without success, and failed_jobs_share tolerates 0.1"),
    ],
)
async def test_a_batch_fails_when_more_jobs_fail_than_it_tolerates(
    system: System, http: Http, tmp_path: Path, tolerance: dict[str, Any], said: str
) -> None:
    path = system.put("tolerance.csv", numbered(100))
    id_ = await http.open_batch(
        connection="lake", files=[path], rows_per_job=10, tolerance=tolerance, **fussy(tmp_path, [5, 52])
    )
    view = await http.ended_batch(id_)
    assert (view["status"], view["error"]) == ("failed", said)
    (tmp_path / "mended").touch()
    await http.done(f"/batches/{id_}/redrive")
    view = await http.until_batch(id_, lambda view: view["status"] == "completed")
    assert view["jobs"] == {"succeeded": 10, "total": 10}


async def test_a_batch_fails_when_more_rows_are_bad_than_it_tolerates(system: System, http: Http) -> None:
    rows = "".join(f"{n},1\n" if n % 10 == 3 else f"{n},1,x\n" for n in range(200))
    path = system.put("bad-share.csv", f"id,cents,note\n{rows}")
    request = {"spec": "tally", "connection": "lake", "files": [path], "bad_rows": "skip"}
    failed = await http.open_batch(**request, tolerance={"bad_rows_share": 0.05})
    tolerated = await http.open_batch(**request, tolerance={"bad_rows_share": 0.1, "bad_rows": 20})
    view = await http.ended_batch(failed)
    assert view["status"] == "failed"
    assert "20 of 200 rows cannot be read" in view["error"]
    assert (await http.ended_batch(tolerated))["status"] == "completed"


async def test_quarantined_rows_are_listed_downloaded_and_redriven_after_a_fix(
    system: System, http: Http, client: rota.Client
) -> None:
    lines = [f"{n},{'?' if n % 25 == 7 else n},n{n}" for n in range(100)]
    path = system.put("mend.csv", "id,cents,note\n" + "\n".join(lines) + "\n")
    id_ = await http.open_batch(
        spec="echo",
        connection="lake",
        files=[path],
        rows_per_job=10,
        bad_rows="quarantine",
        format="csv",
        options={"column_types": {"cents": "int64"}},
    )
    view = await http.ended_batch(id_)
    assert (view["status"], view["rows"], view["bad_rows"]) == ("completed_with_failures", 96, 4)
    page = (await http.get(f"/batches/{id_}/bad-rows", limit=3)).body
    assert [(row["file"], row["line"], row["column"], row["text"]) for row in page["bad_rows"]] == [
        (path, 9, "cents", "?"),
        (path, 34, "cents", "?"),
        (path, 59, "cents", "?"),
    ]
    rest = (await http.get(f"/batches/{id_}/bad-rows", limit=3, after=page["next"])).body
    assert [row["line"] for row in rest["bad_rows"]] == [84]
    assert rest.get("next") is None
    lines_of = (await http.download(f"/batches/{id_}/bad-rows", format="ndjson")).splitlines()
    assert [json.loads(line)["line"] for line in lines_of] == [9, 34, 59, 84]

    system.put("mend.csv", "id,cents,note\n" + "\n".join(lines).replace("?", "0") + "\n")
    await http.done(f"/batches/{id_}/redrive", {"rows": {}})
    view = await http.until_batch(id_, lambda view: view["status"] == "completed")
    assert (view["rows"], view["files_total"], view["files"][1]["mends"]) == (100, 2, 0)
    found = [row["id"] for rows in (await results(client, id_)).values() for row in rows]
    assert sorted(found) == list(range(100))


# Provenance


async def test_each_row_can_be_traced_to_its_job_and_each_job_to_its_rows(
    system: System, http: Http, tmp_path: Path
) -> None:
    path = system.put("traced.csv", numbered(95))
    id_ = await http.open_batch(connection="lake", files=[path], rows_per_job=10, **fussy(tmp_path, [42]))
    await http.ended_batch(id_)
    good = (await http.get(f"/batches/{id_}/rows", file=path, row=94)).body
    assert (good["job"], good["status"], good["first_row"], good["last_row"]) == (f"{id_}_0-9", "succeeded", 90, 94)
    bad = (await http.get(f"/batches/{id_}/rows", file=path, row=44)).body
    assert (bad["job"], bad["status"]) == (f"{id_}_0-4", "failed")
    assert "42" in json.dumps(bad["error"])
    assert (await http.get(f"/batches/{id_}/rows", file=path, row=95)).status == 404
    assert (await http.get(f"/batches/{id_}/rows", file="other.csv", row=1)).status == 404
    rows = (await http.get(f"/jobs/{id_}_0-4")).body["rows"]
    [file] = (await http.get(f"/batches/{id_}")).body["files"]
    assert (rows["batch"], rows["file"], rows["first_row"], rows["count"]) == (id_, path, 40, 10)
    assert rows["version"] == file["version"]
    assert rows["size"] == file["size"] == len(numbered(95))
    assert rows["columns"] == file["columns"] == {"id": "int64", "cents": "int64", "note": "string"}
    assert len(rows["payload"]["sha256"]) == 64


# Results


async def collect(http: Http, batch: str, **request: Any) -> Any:
    answer = await http.post(f"/batches/{batch}/results", request)
    assert answer.status == 202, answer.body
    path = f"/batches/{batch}/results/{answer.body['id']}"
    for _ in range(600):
        view = (await http.get(path)).body
        if view["status"] != "collecting":
            return view
        await asyncio.sleep(0.1)
    raise AssertionError(view)


async def test_results_are_collected_in_order_in_each_format_for_download(system: System, http: Http) -> None:
    files = [system.put(f"collected/{n}.csv", numbered(60, 60 * n)) for n in range(3)]
    id_ = await http.open_batch(spec="echo", connection="lake", files=files, rows_per_job=7)
    await http.ended_batch(id_)
    expected = [{"id": n, "double": 2 * n, "note": f"n{n}"} for n in range(180)]
    for format_ in ("ndjson", "parquet", "ods"):
        view = await collect(http, id_, format=format_)
        assert view["status"] == "collected", view
        manifest = view["manifest"]
        assert (manifest["jobs"], manifest["rows"]) == (
            {"succeeded": 27, "failed": 0, "pending": 0, "total": 27},
            180,
        )
        body = await http.download(f"/batches/{id_}/results/{view['id']}/file")
        assert (len(body), hashlib.sha256(body).hexdigest()) == (manifest["size"], manifest["sha256"])
        assert rows_in(format_, body) == expected


def rows_in(format_: str, body: bytes) -> list[Any]:
    match format_:
        case "ndjson":
            return [json.loads(line) for line in body.splitlines()]
        case "parquet":
            return list(pq.read_table(io.BytesIO(body)).to_pylist())
        case _:
            [[header, *rows]] = get_data(io.BytesIO(body)).values()
            return [dict(zip(header, row, strict=True)) for row in rows]


async def test_results_go_into_a_store_once_with_a_manifest_of_what_is_missing(
    system: System, http: Http, tmp_path: Path
) -> None:
    path = system.put("stored.csv", numbered(40))
    id_ = await http.open_batch(connection="lake", files=[path], rows_per_job=10, **fussy(tmp_path, [12]))
    await http.ended_batch(id_)
    target = f"out/{id_}.ndjson"
    view = await collect(http, id_, connection="lake", path=target, origin_columns=True)
    assert view["status"] == "collected", view
    lines = [json.loads(line) for line in system.store.get(target).splitlines()]
    assert [line["value"] for line in lines] == [*range(10), *range(20, 40)]
    assert (lines[0]["rota_job"], lines[0]["rota_file"], lines[0]["rota_first_row"]) == (f"{id_}_0-0", path, 0)
    manifest = json.loads(system.store.get(f"{target}.manifest.json"))
    assert manifest["jobs"] == {"succeeded": 3, "failed": 1, "pending": 0, "total": 4}
    [failed] = manifest["failed"]
    assert (failed["job"], failed["first_row"], failed["last_row"]) == (f"{id_}_0-1", 10, 19)
    again = await collect(http, id_, connection="lake", path=target)
    assert again["status"] == "failed"
    assert "there already" in again["error"]


# Views and streams


async def test_the_view_tells_how_fast_a_batch_is_and_how_long_it_will_take(system: System, http: Http) -> None:
    path = system.put("rates.csv", numbered(700_000))
    id_ = await http.open_batch(
        spec="trace",
        connection="lake",
        files=[path],
        rows_per_job=10_000,
        max_jobs_in_flight=8,
        params={"seconds": 0.2},
    )
    view = await http.until_batch(id_, lambda view: view["status"] == "reading" and "seconds_left" in view)
    assert view["rows_per_second"] > 0
    assert view["jobs_per_second"] > 0
    assert 0 < view["seconds_left"] < 60
    view = await http.ended_batch(id_)
    assert "seconds_left" not in view
    assert [batch["id"] for batch in (await http.get("/batches", limit=1)).body["batches"]] == [id_]


@pytest.fixture
def many(system: System, tmp_path: Path) -> Iterator[str]:
    """A store with 10,000 files, which are there before it starts: it would not look for them later."""
    store = Store(tmp_path)
    (store.files / "many").mkdir(parents=True)
    for number in range(10_000):
        (store.files / "many" / f"{number:05}.csv").write_text(f"id,cents,note\n{number},1,x\n")
    with store:
        yield system.know("many", store.connection)


async def test_ten_thousand_small_files_are_one_batch(http: Http, many: str) -> None:
    id_ = await http.open_batch(spec="tally", connection=many, files=["many/"], max_readers=2)
    async with asyncio.timeout(150):
        while (view := (await http.get(f"/batches/{id_}")).body)["status"] != "completed":
            assert view["status"] in ("reading", "sealed"), view["error"]
            await asyncio.sleep(1)
    assert (view["files_total"], view["rows"], view["jobs"]["succeeded"]) == (10_000, 10_000, 10_000)
