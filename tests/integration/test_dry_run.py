"""Dry runs of batches on a real S3 server: what they tell of files, rows and jobs, and of what would go wrong."""

import asyncio
import gzip
import io
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer

from actors import cutter, file_head, file_search
from actors.dry_run import dry_run
from actors.file_head import HEAD_ROWS
from events.batch import BatchDetails
from events.sources import Connection as SourceConnection
from events.sources import HttpConnection
from rota.batch_protocol import DryRunView, Tolerance
from rota.options import Selection
from tests.integration.sources.rclone import Rclone

MANY = 600_000
"""Rows of the files whose head is far from all of them."""


def parquet(rows: int) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table({"id": range(rows)}), sink, row_group_size=5000)
    return sink.getvalue()


def arrow(rows: int, rows_per_batch: int) -> bytes:
    table, sink = pa.table({"id": range(rows)}), io.BytesIO()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=rows_per_batch)
    return sink.getvalue()


def csv(rows: int) -> bytes:
    return b"id,name\n" + b"".join(b"%d,name of %d\n" % (row, row) for row in range(rows))


def ndjson(rows: int) -> bytes:
    return b"".join(b'{"id": %d, "name": "name of %d"}\n' % (row, row) for row in range(rows))


def xml(rows: int) -> bytes:
    return b"<rows>" + b"".join(b"<row><id>%d</id></row>" % row for row in range(rows)) + b"</rows>"


FILES = {
    "bad.csv": b"id,name\n1,Ann\n2,Bob,extra\n3,Cid\n4\n5,Eve\n",
    "broken.json": b'[{"a": 1}, {"a": ',
    "empty.csv": b"",
    "large.arrow": arrow(MANY, 10_000),
    "large.csv": csv(MANY),
    "large.csv.gz": gzip.compress(csv(MANY), 1),
    "large.ndjson": ndjson(MANY),
    "large.parquet": parquet(MANY),
    "large.xml": xml(MANY),
    "lump.arrow": arrow(MANY, MANY),
    "noise.parquet": b"no Parquet at all",
    "people.csv": b"id,name\n1,Ann\n2,Bob\n3,Cid\n",
    "people.ndjson": b'{"id": 1, "born": {"year": 1990}}\n{"id": 2, "born": null}\n',
    "some.parquet": parquet(25),
    "unknown": b"\x00\x01\x02",
    "days/1.csv": csv(100),
    "days/2.csv": csv(100),
    "days/3.csv": csv(100),
    "days/4.csv": csv(100),
    "days/5.csv": csv(400),
    "raw/a.bin": b"abc",
    "raw/b.bin": b"d" * 1000,
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SourceConnection]:
    """Serve the files by S3."""
    with Rclone("s3", tmp_path_factory.mktemp("s3")) as server:
        for name, body in FILES.items():
            server.put(name, body)
        yield server.connection()


def run(store: SourceConnection, *files: str, **changes: Any) -> DryRunView:
    facts: dict[str, Any] = {"rows_per_job": 10, "max_jobs_in_flight": 1, "format": None, "connection": "store"}
    params = msgspec.Raw(msgspec.msgpack.encode({}))
    details = BatchDetails(spec="load", queue="default", files=files, params=params, **facts | changes)
    view = dry_run({"store": store}, details)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(view), type=DryRunView) == view
    return view


def spans(view: DryRunView) -> list[tuple[str, int, int]]:
    return [(job.file, job.first_row, job.count) for job in view.jobs]


# Formats


def test_a_small_file_is_told_whole(store: SourceConnection) -> None:
    view = run(store, "people.csv", rows_per_job=2)

    [file] = view.files
    assert (file.path, file.size, file.format, file.compression) == ("people.csv", 26, "csv", "none")
    assert file.version
    assert file.columns == {"id": "int64", "name": "string"}
    assert (file.rows_read, file.bad_rows, file.error) == (3, [], None)
    assert spans(view) == [("people.csv", 0, 2), ("people.csv", 2, 1)]
    assert view.jobs[0].rows == [{"id": 1, "name": "Ann"}, {"id": 2, "name": "Bob"}]
    assert (view.files_total, view.rows_estimated, view.jobs_estimated) == (1, 3, 2)
    assert (view.exact, view.error) == (True, None)


@pytest.mark.parametrize("name", ["large.arrow", "large.csv", "large.csv.gz", "large.ndjson", "large.xml"])
def test_the_rows_of_a_large_file_are_estimated_by_its_head(store: SourceConnection, name: str) -> None:
    view = run(store, name, rows_per_job=1000)

    assert HEAD_ROWS <= view.files[0].rows_read < MANY
    assert view.files[0].compression == ("gzip" if name.endswith(".gz") else "none")
    assert not view.exact
    assert view.rows_estimated == pytest.approx(MANY, rel=0.15)
    assert view.jobs_estimated == pytest.approx(MANY / 1000, rel=0.15)
    assert spans(view) == [(name, first, 1000) for first in (0, 1000, 2000)]
    assert [len(job.rows) for job in view.jobs] == [5, 5, 5]


def test_a_parquet_file_says_itself_how_many_rows_it_has(store: SourceConnection) -> None:
    view = run(store, "large.parquet", rows_per_job=1000)

    assert HEAD_ROWS <= view.files[0].rows_read < MANY
    assert (view.rows_estimated, view.jobs_estimated, view.exact) == (MANY, MANY // 1000, False)
    assert run(store, "some.parquet").jobs_estimated == 3


def test_a_record_batch_that_is_larger_than_the_head_cannot_be_estimated(store: SourceConnection) -> None:
    view = run(store, "lump.arrow", rows_per_job=1000)

    assert (view.rows_estimated, view.jobs_estimated, view.error) == (None, None, None)
    assert len(view.jobs) == 3


def test_records_are_shown_as_json(store: SourceConnection) -> None:
    view = run(store, "people.ndjson")

    assert view.files[0].columns == {"id": "int64", "born": "struct<year: int64>"}
    assert view.jobs[0].rows == [{"id": 1, "born": {"year": 1990}}, {"id": 2, "born": None}]


def test_an_empty_file_has_no_rows_and_is_no_error(store: SourceConnection) -> None:
    view = run(store, "empty.csv")

    assert (view.files[0].rows_read, view.files[0].error, view.error) == (0, None, None)
    assert (view.jobs, view.rows_estimated, view.jobs_estimated, view.exact) == ([], 0, 0, True)


def test_raw_files_are_a_row_each(store: SourceConnection) -> None:
    view = run(store, "raw/", format="raw", rows_per_job=1)

    [row] = view.jobs[0].rows
    assert (row["bytes"], row["path"], row["size"]) == ("YWJj", "raw/a.bin", 3)
    assert (view.rows_estimated, view.jobs_estimated, view.exact) == (2, 2, True)


def test_options_and_the_format_are_those_of_the_batch(store: SourceConnection) -> None:
    by_name = run(store, "people.csv", options={"csv": {"columns": ["name"]}})
    named = run(store, "people.csv", format="tsv", options={"header": False})

    assert by_name.files[0].columns == {"name": "string"}
    assert (named.files[0].format, named.files[0].columns) == ("tsv", {"column_1": "string"})


# Which files


def test_the_first_files_of_a_directory_stand_for_all(store: SourceConnection) -> None:
    view = run(store, "days/", rows_per_job=100)

    assert [file.path for file in view.files] == ["days/1.csv", "days/2.csv", "days/3.csv"]
    assert view.files_total == 5
    assert spans(view) == [(f"days/{day}.csv", 0, 100) for day in (1, 2, 3)]
    assert view.rows_estimated == pytest.approx(800, rel=0.1)
    assert view.jobs_estimated == pytest.approx(8, abs=1)
    assert not view.exact


def test_files_that_no_listing_names_are_asked_for_their_size(store: SourceConnection) -> None:
    view = run(store, *(f"days/{day}.csv" for day in range(1, 6)))

    assert view.rows_estimated == pytest.approx(800, rel=0.1)


def test_a_directory_is_searched_as_the_batch_would(store: SourceConnection) -> None:
    assert run(store, "*.csv", selection=Selection(exclude=["large*", "bad*"])).files_total == 2
    assert run(store, "/", selection=Selection(recursive=True, include=["*/a.bin"])).files_total == 1


def test_no_file_at_all_is_an_error_unless_it_is_allowed(store: SourceConnection) -> None:
    view = run(store, "none*.csv")
    allowed = run(store, "none*.csv", selection=Selection(allow_empty=True))

    expected = "There is no file at none*.csv; allow_empty would make it a batch without rows"
    assert (view.files, view.files_total, view.error) == ([], 0, expected)
    assert view.rows_estimated is None
    assert (allowed.error, allowed.rows_estimated, allowed.exact) == (None, 0, True)


def test_a_directory_that_is_not_there_is_an_error(store: SourceConnection) -> None:
    view = run(store, "missing/")

    assert (view.files_total, view.error) == (0, "missing/ is not there")


def test_more_files_than_a_batch_takes_are_an_error(store: SourceConnection) -> None:
    view = run(store, *(f"{number}.csv" for number in range(10_001)))

    assert view.files_total == 10_000
    assert view.error is not None
    assert view.error.startswith("More than 10000 files are selected")


def test_a_connection_that_is_gone_is_an_error(store: SourceConnection) -> None:
    assert run(store, "people.csv", connection="lost").error == "The connection lost is not configured any more"


# Which rows


def test_rows_are_passed_over_and_limited_over_all_files(store: SourceConnection) -> None:
    view = run(store, "days/", rows_per_job=60, first=150, limit=100)

    assert spans(view) == [("days/2.csv", 50, 50), ("days/3.csv", 0, 50)]
    assert view.jobs[0].rows[0] == {"id": 50, "name": "name of 50"}
    assert (view.rows_estimated, view.jobs_estimated, view.exact) == (100, 2, True)


def test_where_the_first_row_is_beyond_the_head_no_job_is_shown(store: SourceConnection) -> None:
    view = run(store, "large.csv", "people.csv", rows_per_job=1000, first=MANY - 1000)

    assert (view.jobs, view.error, view.exact) == ([], None, False)
    assert view.rows_estimated is not None
    assert view.rows_estimated < MANY
    assert run(store, "large.csv", "none.csv", first=MANY).error == "The batch would fail: none.csv is not there"


def test_rows_that_no_job_can_hold_are_told(store: SourceConnection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cutter, "MOST_BYTES", 1000)
    view = run(store, "people.csv", "large.csv", rows_per_job=None)

    assert view.files[1].error is not None
    assert view.files[1].error.startswith("large.csv: rows 1 to ")
    assert view.error == f"The batch would fail: {view.files[1].error}"


def test_a_file_is_one_job_without_limits(store: SourceConnection) -> None:
    view = run(store, "days/", rows_per_job=None)

    assert spans(view) == [(f"days/{day}.csv", 0, 100) for day in (1, 2, 3)]
    assert view.jobs_estimated == 5


def test_a_job_ends_where_its_bytes_do(store: SourceConnection) -> None:
    view = run(store, "days/1.csv", rows_per_job=None, bytes_per_job=170)

    # An id has 8 bytes, and a name 9 and then 10.
    assert spans(view) == [("days/1.csv", first, count) for first, count in ((0, 10), (10, 9), (19, 9))]
    assert (view.jobs_estimated, view.exact) == (11, True)


# Faults


def test_bad_rows_are_listed_and_left_out(store: SourceConnection) -> None:
    view = run(store, "bad.csv", bad_rows="quarantine")

    assert [(row.number, row.row, row.line) for row in view.files[0].bad_rows] == [(0, 1, 3), (1, 2, 5)]
    assert view.files[0].bad_rows[0].file == "bad.csv"
    assert "line 3" in view.files[0].bad_rows[0].message
    assert [row["id"] for row in view.jobs[0].rows] == [1, 3, 5]
    assert (view.rows_estimated, view.exact, view.error) == (3, True, None)


def test_the_first_bad_row_is_told_where_it_would_fail_the_batch(store: SourceConnection) -> None:
    view = run(store, "bad.csv")

    assert len(view.files[0].bad_rows) == 2
    assert view.files[0].error is None
    assert view.error is not None
    assert view.error.startswith(
        "The batch would fail at a bad row, unless bad_rows is skip or quarantine: bad.csv, "
    )
    assert not view.exact
    assert run(store, "bad.csv", limit=1).error is None


def test_more_bad_rows_than_are_tolerated_are_told(store: SourceConnection) -> None:
    view = run(store, "bad.csv", bad_rows="skip", tolerance=Tolerance(bad_rows=1))

    assert view.error == "The batch would fail: 2 rows cannot be read, and bad_rows tolerates 1"
    assert run(store, "bad.csv", bad_rows="skip", tolerance=Tolerance(bad_rows=2)).error is None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.csv", "missing.csv is not there"),
        ("noise.parquet", "noise.parquet is no Parquet file: it does not begin with PAR1"),
        ("broken.json", "broken.json, line 1: the file ends"),
        ("unknown", "unknown"),
    ],
)
def test_a_file_that_cannot_be_read_says_why_and_others_are_still_shown(
    store: SourceConnection, name: str, message: str
) -> None:
    view = run(store, name, "people.csv")

    first, second = view.files
    assert first.error is not None
    assert first.error.startswith(message)
    assert view.error == f"The batch would fail: {first.error}"
    assert (view.rows_estimated, view.exact) == (None, False)
    assert (second.error, second.rows_read) == (None, 3)
    assert view.jobs[-1].file == "people.csv"


def test_a_file_that_may_not_be_read_says_so_without_the_password(tmp_path: Path) -> None:
    with Rclone("http", tmp_path) as server:
        server.put("people.csv", FILES["people.csv"])
        view = run(server.connection(password="hush"), "people.csv")

    assert view.files[0].error == "people.csv may not be read with this connection"
    assert "hush" not in repr(view)


# Servers that are slow


@pytest_asyncio.fixture(loop_scope="session")
async def silent() -> AsyncIterator[SourceConnection]:
    """Run a web server that answers when the test is over."""
    over = asyncio.Event()

    async def answer(_: web.Request) -> web.Response:
        await over.wait()
        return web.Response(status=404)

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    async with TestServer(app) as server:
        yield HttpConnection(root=str(server.make_url("/")))
        over.set()


async def test_a_server_that_is_silent_is_not_waited_for(
    silent: SourceConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_head, "MOST_SECONDS", 0.1)
    monkeypatch.setattr(file_search, "SEARCH_SECONDS", 0.1)
    file = await asyncio.to_thread(run, silent, "people.csv")
    directory = await asyncio.to_thread(run, silent, "days/")

    assert file.files[0].error == "people.csv: nothing of it could be read within 0.1 s"
    assert (file.rows_estimated, file.jobs) == (None, [])
    assert directory.error is not None
    assert directory.error.startswith("0 files were found within 0.1 s, and it is not known whether these are all")


def test_what_was_read_by_the_end_of_the_time_is_shown(
    store: SourceConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_head, "HEAD_SECONDS", 0)
    view = run(store, "large.parquet")

    assert 0 < view.files[0].rows_read < HEAD_ROWS
    assert (view.rows_estimated, view.error) == (MANY, None)
    assert len(view.jobs) == 3
