"""Results of a batch in a file: collected in order, into a store or for download, whole or not at all."""

import asyncio
import io
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pyarrow.parquet as pq
import pytest
import pytest_asyncio
from python_calamine import CalamineWorkbook

from actors.collector import collect_results
from events.batch import BatchAdvanced, BatchDetails, BatchOpened, Position
from events.batch_results import CollectResults, ResultsCollected, ResultsFailed
from events.config import Config
from events.ids import batch_job_id, group_of
from events.jetstream.collections import find_collection
from events.jetstream.ends import ends
from events.jetstream.log import Append
from events.jetstream.payloads import Payloads
from events.jetstream.results_files import PIECE_BYTES, ResultsFiles
from events.jetstream.topology import RESULTS, RESULTS_FILES
from events.job import JobCancelled, JobFailed, JobQueued, JobRedriven, JobSucceeded, JobTimedOut
from events.sources import Connection as SourceConnection
from events.sources import S3Connection
from events.subjects import result_subject, results_file_subject
from rota.protocol import JobFault, Payload, Result, Rows
from scripts.stack import ROOT
from scripts.store import BUCKET, KEY, SECRET, Store
from tests.integration.sources.reading import content
from tests.integration.sources.sshd import Sshd
from tests.integration.sources.writable import WritableApache
from tests.integration.test_gateway import Rota, serving
from tests.integration.write_side import WAIT_SECONDS, WriteSide, details, new_id

pytestmark = pytest.mark.usefixtures("shard")

NOW = datetime(2026, 5, 1, tzinfo=UTC)
RAN: dict[str, Any] = {"worker": "w", "started_at": NOW}
FAULT = JobFault("ValueError", "no such sum")
NEVER = object()
"""In place of a result: the job has not ended."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with Store(tmp_path_factory.mktemp("store")) as running:
        yield running


class Batch:
    """A batch in the log, as its readers and workers have left it."""

    def __init__(self, write_side: WriteSide) -> None:
        self.id = group_of(new_id())
        self.write_side = write_side
        self.connection = write_side.connection
        self._version = 1
        self._last = 0

    async def open(self, *jobs: int) -> "Batch":
        """Open it with files that have so many jobs each."""
        paths = tuple(f"in/{index}.csv" for index in range(len(jobs)))
        plan = BatchDetails(
            spec="add", queue="default", files=paths, rows_per_job=2, max_jobs_in_flight=9, params=details().params
        )
        told: list[Any] = [BatchOpened(originator_id=self.id, originator_version=1, at=NOW, details=plan)]
        for index, count in enumerate(jobs):
            facts: dict[str, Any] = {"originator_id": self.id, "originator_version": index + 2, "at": NOW}
            told.append(BatchAdvanced(file_index=index, position=Position(), rows=2 * count, jobs=count, **facts))
        await self.write_side.log.append([Append("batch", self.id, 0, told)])
        return self

    async def end(self, file_index: int, *results: Any) -> None:
        """End jobs of a file in this way: with a result, or an event's class, or not at all."""
        for start in range(0, len(results), 500):
            some = enumerate(results[start : start + 500], start)
            await self.write_side.log.append([self._ended(file_index, index, result) for index, result in some])

    def _ended(self, file_index: int, index: int, result: Any) -> Append:
        job = batch_job_id(self.id, file_index, index)
        facts: dict[str, Any] = {"originator_id": job, "at": NOW, "attempt": 1}
        rows = Rows(self.id, f"in/{file_index}.csv", file_index, index, 2 * index, 2, Payload("s", 1, "d"))
        queued = JobQueued(originator_version=1, details=details(rows=rows), **facts)
        facts |= {"originator_version": 2, "batch": self.id}
        match result:
            case _ if result is NEVER:
                return Append("job", job, 0, [queued])
            case type() if result is JobCancelled:
                ended: Any = JobCancelled(reason="not needed", **facts)
            case type():
                ended = result(fault=FAULT, **RAN, **facts)
            case Result():
                ended = JobSucceeded(result=result, **RAN, **facts)
            case _:
                packed = Result(msgspec.Raw(msgspec.msgpack.encode(result)))
                ended = JobSucceeded(result=packed, **RAN, **facts)
        return Append("job", job, 0, [queued, ended])

    async def large(self, file_index: int, index: int, value: Any) -> Result:
        """Keep a result apart, as workers do with a large one."""
        body = msgspec.msgpack.encode(value)
        payload = Payload.of(result_subject(batch_job_id(self.id, file_index, index)), body)
        await Payloads(self.connection).put([(payload.subject, body)])
        return Result(payload=payload)

    async def ask(self, format_: Any = "ndjson", **others: Any) -> str:
        """Ask for a collection; return its id."""
        collection = group_of(new_id())
        await self.write_side.send(CollectResults(id=self.id, collection=collection, format=format_, **others))
        await self.write_side.until(self.id, "batch.results_requested", "batch")
        async with asyncio.timeout(WAIT_SECONDS):
            while not await find_collection(self.connection, self.id, collection):
                await asyncio.sleep(0.01)
        return collection

    async def collect(self, collection: str, **sources: SourceConnection) -> ResultsCollected | ResultsFailed:
        """Have it collected, and return how it ended."""
        async with asyncio.timeout(WAIT_SECONDS):
            await collect_results(self.connection, lambda: sources, self.id, collection)
        found = await find_collection(self.connection, self.id, collection)
        assert found
        assert found.ended
        return found.ended

    async def body(self, collection: str) -> bytes:
        """Return a file that is for download."""
        found = await find_collection(self.connection, self.id, collection)
        assert found
        assert isinstance(found.ended, ResultsCollected)
        manifest = found.ended.manifest
        pieces = ResultsFiles(self.connection).read(self.id, collection, manifest.sha256, 0, manifest.size)
        return b"".join([piece async for piece in pieces])

    async def lines(self, **others: Any) -> list[Any]:
        """Collect NDJSON for download and return its rows."""
        collection = await self.ask(**others)
        assert isinstance(await self.collect(collection), ResultsCollected)
        return [json.loads(line) for line in (await self.body(collection)).splitlines()]


@pytest_asyncio.fixture(loop_scope="session")
async def batch(write_side: WriteSide) -> Batch:
    return Batch(write_side)


def bucket(store: Store) -> S3Connection:
    return S3Connection(endpoint=store.endpoint, key=KEY, secret=SECRET, root=BUCKET)


async def manifest_of(connection: SourceConnection, path: str) -> dict[str, Any]:
    body = await asyncio.to_thread(content, connection, f"{path}.manifest.json")
    return dict(json.loads(body))


async def test_results_come_in_the_order_of_files_and_jobs(batch: Batch) -> None:
    await batch.open(3, 300)
    await batch.end(1, *({"n": 100 + index} for index in range(300)))
    await batch.end(0, {"n": 0}, {"n": 1}, {"n": 2})

    assert [row["n"] for row in await batch.lines()] == [0, 1, 2, *range(100, 400)]


async def test_lists_scalars_objects_and_none_are_rows(batch: Batch) -> None:
    await batch.open(6)
    await batch.end(0, [{"a": 1}, {"a": {"b": [2]}}], 5, None, "x", [], [None, False])

    assert await batch.lines() == [
        {"a": 1},
        {"a": {"b": [2]}},
        {"value": 5},
        {"value": "x"},
        {"value": None},
        {"value": False},
    ]


async def test_rows_say_where_they_come_from_if_asked(batch: Batch) -> None:
    await batch.open(1, 2)
    await batch.end(0, {"a": 1})
    await batch.end(1, NEVER, [2, 3])

    assert await batch.lines(origin_columns=True) == [
        {"rota_job": f"{batch.id}_0-0", "rota_file": "in/0.csv", "rota_first_row": 0, "a": 1},
        {"rota_job": f"{batch.id}_1-1", "rota_file": "in/1.csv", "rota_first_row": 2, "value": 2},
        {"rota_job": f"{batch.id}_1-1", "rota_file": "in/1.csv", "rota_first_row": 2, "value": 3},
    ]


async def test_the_manifest_tells_what_failed_and_what_is_pending(batch: Batch) -> None:
    await batch.open(6)
    await batch.end(0, 1, JobFailed, JobTimedOut, JobCancelled, NEVER)
    collection = await batch.ask()

    ended = await batch.collect(collection)

    assert isinstance(ended, ResultsCollected)
    manifest = ended.manifest
    assert (manifest.batch, manifest.spec, manifest.format, manifest.rows) == (batch.id, "add", "ndjson", 1)
    assert manifest.jobs == {"succeeded": 1, "failed": 3, "pending": 2, "total": 6}
    assert manifest.pending == [f"{batch.id}_0-4", f"{batch.id}_0-5"]
    place = {"file": "in/0.csv", "first_row": 2, "last_row": 3}
    error = "ValueError: no such sum"
    assert manifest.failed[0] == {"job": f"{batch.id}_0-1", "status": "failed", **place, "error": error}
    assert [one["status"] for one in manifest.failed] == ["failed", "timed_out", "cancelled"]
    assert manifest.size == len(b'{"value":1}\n')


async def test_a_job_that_was_redriven_is_pending_until_it_ends_again(batch: Batch) -> None:
    await batch.open(2)
    await batch.end(0, JobFailed, JobFailed)
    for index in range(2):
        job = batch_job_id(batch.id, 0, index)
        facts: dict[str, Any] = {"originator_id": job, "at": NOW}
        redriven = JobRedriven(originator_version=3, redrive=1, batch=batch.id, **facts)
        queued = JobQueued(originator_version=4, attempt=2, details=details(), **facts)
        last = (await batch.write_side.log.load("job", job))[-1].sequence
        more: list[Any] = [redriven, queued]
        if index:
            result = Result(msgspec.Raw(msgspec.msgpack.encode(7)))
            more.append(
                JobSucceeded(originator_version=5, attempt=2, batch=batch.id, result=result, **RAN, **facts)
            )
        await batch.write_side.log.append([Append("job", job, last, more)])
    collection = await batch.ask()

    ended = await batch.collect(collection)

    assert isinstance(ended, ResultsCollected)
    assert ended.manifest.jobs == {"succeeded": 1, "failed": 0, "pending": 1, "total": 2}
    assert await batch.body(collection) == b'{"value":7}\n'


async def test_large_results_are_fetched_in_order(batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.collector.GROUP_BYTES", 300_000)
    await batch.open(5)
    texts = [str(index) * 200_000 for index in range(5)]
    large = [await batch.large(0, index, texts[index]) for index in range(5)]
    await batch.end(0, large[0], texts[1], large[2], large[3], texts[4])

    assert [row["value"] for row in await batch.lines()] == texts


async def test_a_large_result_that_is_gone_fails_the_collection_and_is_named(batch: Batch) -> None:
    await batch.open(2)
    await batch.end(0, 1, await batch.large(0, 1, "x" * 100_000))
    await batch.connection.call(f"STREAM.PURGE.{RESULTS}")

    ended = await batch.collect(await batch.ask())

    assert isinstance(ended, ResultsFailed)
    assert ended.reason.startswith(f"The result of the job {batch.id}_0-1 is gone")


async def test_an_answer_that_would_be_too_large_is_asked_for_in_parts(
    batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("events.jetstream.ends.PAGE_BYTES", 20_000)
    await batch.open(50)
    await batch.end(0, *("x" * 5_000 for _ in range(50)))

    pages = [page async for page in ends(batch.connection, batch.id, (f"{batch.id}_0-{n}" for n in range(50)))]

    assert len(pages) > 10
    assert [job for page in pages for job, _ in page] == [f"{batch.id}_0-{n}" for n in range(50)]
    assert all(end for page in pages for _, end in page)


async def test_a_batch_without_jobs_has_an_empty_file(batch: Batch) -> None:
    await batch.open(0)

    assert await batch.lines() == []


async def test_parquet_and_ods_have_the_same_rows(batch: Batch) -> None:
    await batch.open(2)
    await batch.end(0, [{"a": 1, "b": "x"}, {"a": 2}], {"a": 3, "c": [1]})
    parquet, ods = await batch.ask("parquet"), await batch.ask("ods")

    for collection in (parquet, ods):
        ended = await batch.collect(collection)
        assert isinstance(ended, ResultsCollected)
        assert ended.manifest.rows == 3

    table = pq.read_table(io.BytesIO(await batch.body(parquet)))
    assert table.to_pydict() == {"a": [1, 2, 3], "b": ["x", None, None], "c": [None, None, [1]]}
    book = CalamineWorkbook.from_filelike(io.BytesIO(await batch.body(ods)))
    rows = [["a", "b", "c"], [1.0, "x", ""], [2.0, "", ""], [3.0, "", "[1]"]]
    assert book.get_sheet_by_name("results").to_python() == rows


async def test_too_much_for_ods_fails_the_collection_and_says_what_to_take(
    batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.results.ods.MAX_ROWS", 2)
    await batch.open(1)
    await batch.end(0, [1, 2, 3])

    ended = await batch.collect(await batch.ask("ods"))

    assert isinstance(ended, ResultsFailed)
    assert (
        ended.reason == "The results have more than 2 rows, too many for ODS; take NDJSON or Parquet in its place"
    )


async def test_a_collection_that_has_ended_is_not_made_again(batch: Batch) -> None:
    await batch.open(1)
    await batch.end(0, 1)
    collection = await batch.ask()
    first = await batch.collect(collection)

    assert await batch.collect(collection) == first
    assert (await batch.write_side.tags(batch.id, "batch")).count("batch.results_collected") == 1


async def test_pieces_that_a_killed_collector_has_left_are_replaced(batch: Batch) -> None:
    await batch.open(1)
    await batch.end(0, "y" * 10)
    collection = await batch.ask()
    left = io.BytesIO(b"x" * (3 * PIECE_BYTES))
    await ResultsFiles(batch.connection).put(batch.id, collection, left, "0" * 64)

    await batch.collect(collection)

    assert await batch.body(collection) == b'{"value":"yyyyyyyyyy"}\n'
    assert await batch.write_side.messages(RESULTS_FILES, f"rota.results_file.{batch.id}.>") == 1


@pytest.mark.parametrize("kind", ["s3", "sftp", "webdav"])
async def test_a_file_is_written_into_a_store_with_its_manifest(
    batch: Batch, store: Store, kind: str, tmp_path: Path
) -> None:
    await batch.open(2)
    await batch.end(0, {"n": 1}, NEVER)
    with Sshd(tmp_path / "sshd") as sshd, WritableApache(tmp_path / "apache") as apache:
        places = {"s3": bucket(store), "sftp": sshd.connection(), "webdav": apache.connection()}
        collection = await batch.ask(connection="place", path=f"out/{batch.id}.ndjson")

        ended = await batch.collect(collection, place=places[kind])

        assert isinstance(ended, ResultsCollected)
        path = f"out/{batch.id}.ndjson"
        assert await asyncio.to_thread(content, places[kind], path) == b'{"n":1}\n'
        beside = await manifest_of(places[kind], path)
        assert beside.pop("collection") == collection
        assert beside == msgspec.to_builtins(ended.manifest)
        names = {"s3": store_names(store), "sftp": names_of(sshd.files), "webdav": names_of(apache.files)}
        assert {name for name in names[kind] if batch.id in name} == {path, f"{path}.manifest.json"}


def store_names(store: Store) -> set[str]:
    return names_of(store._folder / BUCKET)


def names_of(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


async def test_a_target_that_is_there_is_refused_and_stays(batch: Batch, store: Store) -> None:
    await batch.open(1)
    await batch.end(0, 1)
    path = await asyncio.to_thread(store.put, f"taken/{batch.id}.ndjson", b"theirs")

    ended = await batch.collect(await batch.ask(connection="bucket", path=path), bucket=bucket(store))

    assert isinstance(ended, ResultsFailed)
    assert ended.reason == f"{path} is there already; name another path"
    assert await asyncio.to_thread(content, bucket(store), path) == b"theirs"
    assert names_of(store._folder / BUCKET / "taken") == {f"{batch.id}.ndjson"}


async def test_a_collector_that_was_killed_before_it_told_is_believed(
    batch: Batch, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await batch.open(2)
    await batch.end(0, 1)
    path = f"told/{batch.id}.ndjson"
    collection = await batch.ask(connection="bucket", path=path)

    async def killed(*_: object) -> None:
        raise asyncio.CancelledError

    with monkeypatch.context() as patched:
        patched.setattr("actors.batch_log.BatchLog.ask", killed)
        with pytest.raises(asyncio.CancelledError):
            await collect_results(batch.connection, lambda: {"bucket": bucket(store)}, batch.id, collection)
    ended = await batch.collect(collection, bucket=bucket(store))

    assert isinstance(ended, ResultsCollected)
    assert await asyncio.to_thread(content, bucket(store), path) == b'{"value":1}\n'


async def test_a_collector_that_was_killed_before_the_manifest_goes_on_with_its_own_file(
    batch: Batch, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await batch.open(2)
    await batch.end(0, 1)
    path = f"half/{batch.id}.ndjson"
    collection = await batch.ask(connection="bucket", path=path)

    def killed(*_: object) -> None:
        raise asyncio.CancelledError

    with monkeypatch.context() as patched:
        patched.setattr("actors.results.delivery.Store._finish", killed)
        with pytest.raises(asyncio.CancelledError):
            await collect_results(batch.connection, lambda: {"bucket": bucket(store)}, batch.id, collection)
    # By now there are more results; the file that is there is a whole one all the same.
    job = batch_job_id(batch.id, 0, 1)
    packed = Result(msgspec.Raw(msgspec.msgpack.encode(2)))
    late = JobSucceeded(
        originator_id=job, originator_version=1, at=NOW, attempt=1, batch=batch.id, result=packed, **RAN
    )
    await batch.write_side.log.append([Append("job", job, 0, [late])])
    ended = await batch.collect(collection, bucket=bucket(store))

    assert isinstance(ended, ResultsCollected)
    assert ended.manifest.jobs["pending"] == 1
    assert (await manifest_of(bucket(store), path))["sha256"] == ended.manifest.sha256
    assert await asyncio.to_thread(content, bucket(store), path) == b'{"value":1}\n'
    assert names_of(store._folder / BUCKET / "half") == {f"{batch.id}.ndjson", f"{batch.id}.ndjson.manifest.json"}


async def test_a_connection_that_is_gone_fails_the_collection(batch: Batch) -> None:
    await batch.open(0)

    ended = await batch.collect(await batch.ask(connection="gone", path="a.ndjson"))

    assert isinstance(ended, ResultsFailed)
    assert ended.reason == "There is no connection gone in connections.toml any more"


async def test_a_wrong_secret_fails_the_collection_without_showing_it(batch: Batch, store: Store) -> None:
    await batch.open(0)
    wrong = S3Connection(endpoint=store.endpoint, key=KEY, secret="hush-hush", root=BUCKET)

    ended = await batch.collect(await batch.ask(connection="bucket", path="a.ndjson"), bucket=wrong)

    assert isinstance(ended, ResultsFailed)
    assert ended.reason == "a.ndjson may not be written with this connection"


KILLED = """
import asyncio, os, signal, sys
from actors.collector import collect_results
from actors.sources import {module} as module
from events.sources import connection
from rota.jetstream import Connection

settings = {settings!r}
original = module.{step}

def killed(*arguments, **named):
    if {when}:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*arguments, **named)

module.{step} = killed

async def main():
    async with await Connection.open({url!r}, name="killed") as nats:
        await collect_results(nats, lambda: {{"place": connection(settings)}}, {batch!r}, {collection!r})

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("step", "when"),
    [
        ("_write", "arguments[1].endswith('.ndjson.' + {collection!r} + '.part')"),
        ("_rename", "arguments[2].endswith('.ndjson')"),
        ("_rename", "arguments[2].endswith('.ndjson.manifest.json')"),
    ],
    ids=["before the file", "before its name", "before its manifest"],
)
async def test_a_process_that_is_killed_leaves_no_part_to_be_seen_and_the_next_is_whole(
    batch: Batch, nats_url: str, tmp_path: Path, step: str, when: str
) -> None:
    await batch.open(1)
    await batch.end(0, ["z" * 1_000] * 2_000)
    with Sshd(tmp_path) as sshd:
        place = sshd.connection()
        collection = await batch.ask(connection="place", path="out/a.ndjson")
        settings = {"kind": "sftp", **msgspec.structs.asdict(place)}
        code = KILLED.format(
            module="sftp_target",
            step=step,
            when=when.format(collection=collection),
            settings={name: value for name, value in settings.items() if value is not None},
            url=nats_url,
            batch=batch.id,
            collection=collection,
        )
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, cwd=ROOT, env=os.environ)
        assert await process.wait() == -signal.SIGKILL
        visible = {name for name in names_of(sshd.files) if not Path(name).name.startswith(".")}
        assert visible <= {"out/a.ndjson"}
        for name in visible:
            assert (sshd.files / name).stat().st_size == 2_000 * 1_013

        ended = await batch.collect(collection, place=place)

        assert isinstance(ended, ResultsCollected)
        assert names_of(sshd.files) == {"out/a.ndjson", "out/a.ndjson.manifest.json"}
        assert ended.manifest.size == 2_000 * 1_013 == (sshd.files / "out/a.ndjson").stat().st_size


# Over HTTP


@asynccontextmanager
async def gateway(nats_url: str, write_side: WriteSide, home: Path, store: Store) -> AsyncIterator[Rota]:
    (home / "connections.toml").write_text(store.connection("bucket") + '[web]\nkind = "http"\n')
    async with serving(Config(home=home, nats_url=nats_url), write_side.connection) as rota:
        yield rota


@pytest_asyncio.fixture(loop_scope="session")
async def rota(nats_url: str, write_side: WriteSide, tmp_path: Path, store: Store) -> AsyncIterator[Rota]:
    async with gateway(nats_url, write_side, tmp_path, store) as found:
        yield found


async def test_results_are_asked_for_looked_at_and_downloaded(batch: Batch, rota: Rota) -> None:
    await batch.open(2)
    await batch.end(0, {"n": "x" * PIECE_BYTES}, {"n": 2})

    status, answer = await rota.post(f"/batches/{batch.id}/results", {})
    assert status == 202
    place = f"/batches/{batch.id}/results/{answer['id']}"
    assert await rota.get(place) == (200, {"id": answer["id"], "status": "collecting", "format": "ndjson"})
    assert (await rota.get(f"{place}/file"))[0] == 409
    await batch.collect(answer["id"])

    status, view = await rota.get(place)
    assert (status, view["status"], view["manifest"]["rows"]) == (200, "collected", 2)
    async with rota.http.get(f"{place}/file") as response:
        body = await response.read()
        assert response.status == 200
        assert response.headers["Content-Type"] == "application/x-ndjson"
        assert response.headers["Content-Disposition"] == f'attachment; filename="{batch.id}.ndjson"'
        assert response.headers["ETag"] == f'"{view["manifest"]["sha256"]}"'
        assert int(response.headers["Content-Length"]) == len(body) == view["manifest"]["size"]
    assert [len(str(json.loads(line)["n"])) for line in body.splitlines()] == [PIECE_BYTES, 1]
    async with rota.http.head(f"{place}/file") as response:
        assert (response.status, response.headers["Content-Length"]) == (200, str(len(body)))


@pytest.mark.parametrize(
    ("asked", "status", "part"),
    [
        ("bytes=5-9", 206, slice(5, 10)),
        (f"bytes={PIECE_BYTES - 2}-{PIECE_BYTES + 2}", 206, slice(PIECE_BYTES - 2, PIECE_BYTES + 3)),
        ("bytes=-3", 206, slice(-3, None)),
        ("bytes=1-2,4-5", 200, slice(None)),
    ],
)
async def test_a_range_of_a_file_is_downloaded(
    batch: Batch, rota: Rota, asked: str, status: int, part: slice | None
) -> None:
    await batch.open(1)
    await batch.end(0, [f"{number:09}" for number in range(60_000)])
    collection = await batch.ask()
    await batch.collect(collection)
    whole = await batch.body(collection)

    async with rota.http.get(
        f"/batches/{batch.id}/results/{collection}/file", headers={"Range": asked}
    ) as response:
        assert response.status == status
        assert part is None or await response.read() == whole[part]


async def test_a_range_behind_the_end_of_a_file_is_a_problem_that_says_where_that_is(
    batch: Batch, rota: Rota
) -> None:
    place = await downloadable(batch)

    async with rota.http.get(f"{place}/file", headers={"Range": "bytes=12-"}) as response:
        assert (response.status, response.content_type) == (416, "application/problem+json")
        assert response.headers["Content-Range"] == "bytes */12"
        problem = await response.json(content_type=None)
    assert (problem["status"], problem["type"]) == (416, "https://rota.dev/problems/range-not-satisfiable")
    assert problem["detail"] == "The file has 12 bytes, and none of them is in the range"


async def test_a_file_that_the_caller_has_is_not_sent_again(batch: Batch, rota: Rota) -> None:
    place = await downloadable(batch)
    async with rota.http.get(f"{place}/file") as response:
        tag = response.headers["ETag"]

    async with rota.http.get(f"{place}/file", headers={"If-None-Match": tag}) as response:
        assert (response.status, await response.read()) == (304, b"")


async def downloadable(batch: Batch) -> str:
    """Have a result of 12 bytes collected; return the collection's place."""
    await batch.open(1)
    await batch.end(0, 1)
    collection = await batch.ask()
    await batch.collect(collection)
    return f"/batches/{batch.id}/results/{collection}"


async def test_collections_of_a_batch_are_listed_newest_first(batch: Batch, rota: Rota) -> None:
    await batch.open(2)
    await batch.end(0, 1)
    ids = [(await rota.post(f"/batches/{batch.id}/results", {}))[1]["id"] for _ in range(2)]
    async with asyncio.timeout(WAIT_SECONDS):
        while not await find_collection(batch.connection, batch.id, ids[1]):
            await asyncio.sleep(0.01)
    await batch.collect(ids[0])

    status, answer = await rota.get(f"/batches/{batch.id}/results")

    assert status == 200
    newer, older = answer["results"]
    assert newer == {"id": ids[1], "status": "collecting", "format": "ndjson"}
    whole = (await rota.get(f"/batches/{batch.id}/results/{ids[0]}"))[1]
    assert whole["manifest"].pop("pending") == [f"{batch.id}_0-1"]
    assert older == whole
    assert (await rota.get(f"/batches/{batch.id}/results?limit=1"))[1]["results"] == [newer]
    assert (await rota.get(f"/batches/{batch.id}/results?limit=0"))[0] == 400
    listed = await batch.connection.request("rota.api.batch.results_list", json.dumps({"id": batch.id}).encode())
    assert json.loads(listed.data) == answer


async def test_a_file_that_was_removed_is_not_found(batch: Batch, rota: Rota) -> None:
    await batch.open(1)
    await batch.end(0, 1)
    collection = await batch.ask()
    await batch.collect(collection)
    await ResultsFiles(batch.connection).remove(batch.id)

    status, answer = await rota.get(f"/batches/{batch.id}/results/{collection}/file")

    assert (status, "was removed" in answer["detail"]) == (404, True)


async def test_a_download_that_misses_a_piece_breaks_off(batch: Batch, rota: Rota) -> None:
    await batch.open(1)
    await batch.end(0, [f"{number:09}" for number in range(150_000)])
    collection = await batch.ask()
    await batch.collect(collection)
    middle = results_file_subject(batch.id, collection, 1)
    await batch.connection.call(f"STREAM.PURGE.{RESULTS_FILES}", {"filter": middle})

    with pytest.raises(aiohttp.ClientError):
        async with rota.http.get(f"/batches/{batch.id}/results/{collection}/file") as response:
            await response.read()


async def test_a_file_of_a_store_is_not_downloaded(batch: Batch, rota: Rota, store: Store) -> None:
    await batch.open(0)
    status, answer = await rota.post(
        f"/batches/{batch.id}/results", {"connection": "bucket", "path": f"{batch.id}.ndjson"}
    )
    assert status == 202
    await batch.collect(answer["id"], bucket=bucket(store))

    status, problem = await rota.get(f"/batches/{batch.id}/results/{answer['id']}/file")

    assert status == 409
    assert f"{batch.id}.ndjson of the connection bucket" in problem["detail"]


async def test_the_same_key_names_the_same_collection(batch: Batch, rota: Rota) -> None:
    await batch.open(0)
    path = f"/batches/{batch.id}/results"

    first = await rota.post(path, {"format": "ods"}, **{"Idempotency-Key": "once"})
    again = await rota.post(path, {"format": "ods"}, **{"Idempotency-Key": "once"})
    status, problem = await rota.post(path, {"format": "parquet"}, **{"Idempotency-Key": "once"})

    assert first == again
    assert (status, problem["errors"][0]["pointer"]) == (422, "#/format")


@pytest.mark.parametrize(
    ("request_", "pointer", "detail"),
    [
        ({"format": "csv"}, "#/format", "Invalid enum value 'csv'"),
        ({"path": "a.ndjson"}, "#/path", "Only a file of a connection has a path"),
        ({"connection": "bucket"}, "#/path", "The path of the file is needed with a connection"),
        ({"connection": "buckt", "path": "a"}, "#/connection", "did you mean bucket?"),
        ({"connection": "web", "path": "a"}, "#/connection", "cannot be written to; it takes s3, sftp, webdav"),
        ({"connection": "bucket", "path": "a/../b"}, "#/path", "no '.' or '..'"),
        ({"connection": "bucket", "path": "a/"}, "#/path", "the path of a directory"),
        ({"connection": "bucket", "path": "s3://data/a"}, "#/path", "without :// and host"),
        ({"connection": "bucket", "path": "a\nb"}, "#/path", "no control characters"),
    ],
)
async def test_what_is_wrong_with_a_request_is_named(
    batch: Batch, rota: Rota, request_: dict[str, str], pointer: str, detail: str
) -> None:
    await batch.open(0)

    status, problem = await rota.post(f"/batches/{batch.id}/results", request_)

    assert status == 400
    assert problem["errors"][0]["pointer"] == pointer
    assert detail in problem["errors"][0]["detail"]


async def test_there_are_no_results_of_a_batch_that_does_not_exist(batch: Batch, rota: Rota) -> None:
    await batch.open(0)

    assert (await rota.post("/batches/nothing/results", {}))[0] == 404
    assert (await rota.get("/batches/nothing/results"))[0] == 404
    assert (await rota.get("/batches/nothing/results/nothing"))[0] == 404
    assert (await rota.get(f"/batches/{batch.id}/results/nothing"))[0] == 404
    assert (await rota.get(f"/batches/{batch.id}/results/nothing/file"))[0] == 404
