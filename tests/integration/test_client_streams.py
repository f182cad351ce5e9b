"""The client sends streams to the real gateway, through connections that break; a real NATS server stores them."""

import asyncio
import io
import json
import os
import random
import signal
import sys
import threading
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Any, Self

import msgspec
import pytest
import pytest_asyncio

from events.batch import CountJobs, FinishFile, OpenBatch
from events.batch_control import CancelBatch
from events.config import Config
from events.jetstream.chunks import HEAD_BYTES, ChunkLog, remove
from projections.runner import Runner
from projections.tables import Tables
from rota.batch_protocol import MEBIBYTE, StreamRules
from rota.client import Client
from rota.data_stream import REQUEST_BYTES, Stream
from rota.errors import ConflictError, InvalidRequestError, NotFoundError, UnavailableError
from rota.jetstream import Connection
from rota.protocol import RegisterSpec
from rota.sender import Sent
from tests.integration.conftest import purge
from tests.integration.test_gateway import Rota, serving

ROTA = Path(sys.executable).with_name("rota")
WAIT_SECONDS = 30.0


class Proxy:
    """Passes on what comes to a gateway, and cuts connections when so many bytes have come since the last cut."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.cuts: list[int] = []
        self.connections = 0
        self._passed = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        with suppress(OSError):
            there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._port)
            try:
                back = asyncio.create_task(self._answer(there_reader, writer))
                await self._ask(reader, there_writer)
                there_writer.close()
                await back
            finally:
                for one in (writer, there_writer):
                    one.transport.abort()
        self._tasks.discard(task)

    async def _ask(self, reader: asyncio.StreamReader, there: asyncio.StreamWriter) -> None:
        while piece := await reader.read(65536):
            if self.cuts and self._passed + len(piece) >= self.cuts[0]:
                there.write(piece[: self.cuts.pop(0) - self._passed])
                self._passed = 0
                raise ConnectionResetError
            self._passed += len(piece)
            there.write(piece)
            await there.drain()

    async def _answer(self, there: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await there.read(65536):
            writer.write(piece)
            await writer.drain()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def config(nats_url: str, tmp_path_factory: pytest.TempPathFactory) -> Config:
    return Config(home=tmp_path_factory.mktemp("home"), nats_url=nats_url)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def rota(config: Config) -> AsyncIterator[Rota]:
    async with (
        await Connection.open(config.nats_url, name="test") as connection,
        serving(config, connection) as rota,
    ):
        await purge(connection)
        await rota.carry_out("spec", RegisterSpec(id="load", rows="dicts"))
        yield rota
        await purge(connection)


@pytest_asyncio.fixture(loop_scope="session")
async def proxy(rota: Rota) -> AsyncIterator[Proxy]:
    async with Proxy(rota.runner.addresses[0][1]) as proxy:
        yield proxy


@pytest_asyncio.fixture(loop_scope="session")
async def client(proxy: Proxy) -> AsyncIterator[Client]:
    async with Client(proxy.url, patience_seconds=10) as client:
        yield client


@asynccontextmanager
async def impatient(proxy: Proxy) -> AsyncIterator[Client]:
    async with Client(proxy.url, patience_seconds=0.3) as client:
        yield client


def stream(client: Client, **more: Any) -> Stream:
    return client.batches.stream(spec="load", format="ndjson", **more)


async def opened(client: Client, **more: Any) -> str:
    return await client.batches.open(spec="load", format="ndjson", stream=StreamRules(), **more)


async def write(
    stream: Stream, *pieces: bytes, give_up: bool = False, meanwhile: Awaitable[None] | None = None
) -> None:
    """Write and seal, or leave the stream open as a program does that breaks off."""
    async with stream:
        if meanwhile:
            await meanwhile
        for piece in pieces:
            await stream.write(piece)
        if give_up:
            raise ZeroDivisionError


async def read_to_its_limit(rota: Rota, id_: str, rows: int, *, completed: bool = True) -> None:
    """Do as a shard and a reader do with a batch that takes so many rows, in one job."""
    command = await rota.bus.find_waiting("batch", id_)
    assert command
    await rota.carry_out("batch", command)
    await rota.carry_out("batch", FinishFile(id=id_, file_index=0, rows=rows, jobs=1))
    if completed:
        await rota.carry_out("batch", CountJobs(id=id_, until=10**9, succeeded=1, failed=0))
        await remove(rota.connection, id_)


async def stored(rota: Rota, id_: str) -> bytes:
    return b"".join([piece.body async for piece in ChunkLog(rota.connection, id_).pieces(0)])


async def sealed(rota: Rota, id_: str) -> bool:
    return (await ChunkLog(rota.connection, id_).last()).is_end


def noise(size: int) -> bytes:
    return random.Random(size).randbytes(size)


async def test_what_is_written_is_stored_once_and_the_stream_is_sealed(client: Client, rota: Rota) -> None:
    async with stream(client) as found:
        await found.write_rows([{"n": 1}, {"n": 2}])
        await found.write(b'{"n"')
        await found.write(b": 3}\n")
        assert found.offset == 0
        await found.flush()
        assert found.offset == 25
    assert await stored(rota, found.id) == b'{"n":1}\n{"n":2}\n{"n": 3}\n'
    assert await sealed(rota, found.id)
    command = await rota.bus.find_waiting("batch", found.id)
    assert isinstance(command, OpenBatch)
    assert command.details.stream
    assert command.details.format == "ndjson"


async def test_little_is_sent_after_a_while(client: Client, rota: Rota) -> None:
    async with stream(client) as found:
        await found.write(b"{}\n")
        async with asyncio.timeout(WAIT_SECONDS):
            while found.offset < 3:
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("append", [False, True])
async def test_an_exception_leaves_the_stream_open_and_another_writer_goes_on(
    client: Client, rota: Rota, *, append: bool
) -> None:
    data = noise(3 * REQUEST_BYTES)
    first = stream(client)
    with pytest.raises(ZeroDivisionError):
        await write(first, data[: 2 * REQUEST_BYTES], data[2 * REQUEST_BYTES : -5], give_up=True)
    assert not await sealed(rota, first.id)
    async with client.batches.resume_stream(first.id, append=append) as second:
        assert second.offset == 2 * REQUEST_BYTES
        await second.write(data[second.offset if append else 0 :])
    assert await stored(rota, first.id) == data


@pytest.mark.parametrize("cut", [100, 700_000, 1_200_000, 3_000_000])
async def test_a_connection_that_breaks_while_writing_loses_and_doubles_nothing(
    client: Client, proxy: Proxy, rota: Rota, cut: int
) -> None:
    data = noise(5 * REQUEST_BYTES + cut)
    async with stream(client) as found:
        proxy.cuts = [cut, cut // 2 + 100_000, 50_000]
        for place in range(0, len(data), 300_000):
            await found.write(data[place : place + 300_000])
    assert proxy.cuts == []
    assert await stored(rota, found.id) == data
    assert await sealed(rota, found.id)


async def test_a_file_is_sent_across_broken_connections(client: Client, proxy: Proxy, rota: Rota) -> None:
    data = noise(30_000_000)
    told: list[Sent] = []
    id_ = await opened(client)
    proxy.cuts = [9_000_000, 1_000_000, 5_500_000, 300_000]
    assert await client.batches.send_file(id_, io.BytesIO(data), progress=told.append) == len(data)
    assert proxy.cuts == []
    assert await stored(rota, id_) == data
    assert await sealed(rota, id_)
    assert told[-1].durable == told[-1].sent == told[-1].size == len(data)
    assert [one.durable for one in told] == sorted(one.durable for one in told)


async def test_a_pipe_is_sent_as_it_speaks_and_again_from_its_beginning(
    client: Client, proxy: Proxy, rota: Rota
) -> None:
    data = noise(12_000_000)
    id_ = await opened(client)

    async def send(upto: int, *, close: bool) -> None:
        here, there = os.pipe()

        def speak() -> None:
            with io.BufferedWriter(io.FileIO(there, "w", closefd=close)) as pipe:
                pipe.write(data[:upto])

        speaking = threading.Thread(target=speak)
        speaking.start()
        told: list[Sent] = []
        with io.FileIO(here) as pipe:
            sending = asyncio.create_task(client.batches.send_file(id_, pipe, progress=told.append))
            if close:
                await sending
            else:
                # What was said is sent, though the pipe stays open.
                async with asyncio.timeout(WAIT_SECONDS):
                    while not told or told[-1].durable < upto:
                        await asyncio.sleep(0.01)
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
            speaking.join()
            if not close:
                os.close(there)
        assert told[-1].size is None

    await send(3_000_000, close=False)
    assert not await sealed(rota, id_)
    proxy.cuts = [2_000_000]
    await send(len(data), close=True)
    assert await stored(rota, id_) == data
    assert await sealed(rota, id_)


async def test_a_sender_is_held_back_and_goes_on_when_there_is_room(config: Config, rota: Rota) -> None:
    small = msgspec.structs.replace(config, stream_bytes=16 * MEBIBYTE)
    data = noise(40 * MEBIBYTE)
    told: list[Sent] = []
    async with (
        serving(small, rota.connection) as gateway,
        Client(str(gateway.http._base_url)) as client,
    ):
        id_ = await opened(client)
        sending = asyncio.create_task(client.batches.send_file(id_, io.BytesIO(data), progress=told.append))
        chunks = ChunkLog(rota.connection, id_)
        kept = b""
        async with asyncio.timeout(WAIT_SECONDS):
            while (last := await chunks.last()).end <= HEAD_BYTES + 15 * MEBIBYTE:
                await asyncio.sleep(0.01)
            assert not sending.done()
            assert (await chunks.last()).end <= HEAD_BYTES + 16 * MEBIBYTE
            assert not told[-1].reading
            kept = await stored(rota, id_)
            while not sending.done():
                kept += b"".join([piece.body async for piece in chunks.pieces(len(kept))])
                last = await chunks.last()
                if last.end <= len(kept):
                    await chunks.release(last.sequence)
        assert await sending == len(data)
        kept += b"".join([piece.body async for piece in chunks.pieces(len(kept))])
    assert kept == data


async def test_a_file_that_is_shorter_than_what_is_durable_is_not_the_same(client: Client) -> None:
    id_ = await opened(client)
    await client.batches.send_file(id_, io.BytesIO(b"{}\n{}\n"), seal=False)
    with pytest.raises(InvalidRequestError, match=r"3 bytes are all there is, but the stream .* has 6 already"):
        await client.batches.send_file(id_, io.BytesIO(b"{}\n"))


async def test_a_gateway_that_stays_away_is_told_and_what_was_written_is_kept(rota: Rota, proxy: Proxy) -> None:
    data = noise(2 * REQUEST_BYTES)
    async with impatient(proxy) as client, stream(client) as found:
        proxy.cuts = [1] * 1000
        with pytest.raises(UnavailableError):
            await found.write(data)
        proxy.cuts = []
        await found.write(b"the end")
    assert await stored(rota, found.id) == data + b"the end"


async def test_a_sealed_stream_takes_no_more(client: Client) -> None:
    found = stream(client)
    await write(found, b"{}\n")
    again = client.batches.resume_stream(found.id)
    with pytest.raises(ConflictError, match="was sealed after 3 bytes"):
        await write(again, b"{}\n", b"{}\n")
    assert (again.offset, again.sealed) == (3, True)
    with pytest.raises(ConflictError, match="was sealed after 3 bytes"):
        await write(client.batches.resume_stream(found.id, append=True), b"{}\n")


async def test_a_stream_that_somebody_else_seals_says_so(client: Client) -> None:
    found, other = stream(client, key="sealed"), stream(client, key="sealed")
    with pytest.raises(ConflictError, match="was sealed after 0 bytes"):
        await write(found, b"{}\n", meanwhile=write(other))


async def test_a_stream_whose_batch_was_cancelled_is_refused_at_once(client: Client, rota: Rota) -> None:
    id_ = await opened(client)
    command = await rota.bus.find_waiting("batch", id_)
    assert command
    await rota.carry_out("batch", command)
    await rota.carry_out("batch", CancelBatch(id=id_))
    with pytest.raises(ConflictError, match="is cancelling"):
        await write(client.batches.resume_stream(id_), b"{}\n")


async def test_a_stream_that_somebody_else_writes_says_so(client: Client) -> None:
    found, other = stream(client, key="shared"), stream(client, key="shared")
    with pytest.raises(ConflictError, match="Somebody else writes it"):
        await write(found, noise(REQUEST_BYTES), meanwhile=write(other, bytes(REQUEST_BYTES + 1)))


async def test_a_program_that_runs_again_with_its_key_doubles_no_rows(client: Client, rota: Rota) -> None:
    rows = [{"n": number} for number in range(200_000)]
    found = stream(client, key="today")
    with pytest.raises(ZeroDivisionError):
        await write(found, b"".join(b'{"n":%d}\n' % row["n"] for row in rows)[:1_234_567], give_up=True)
    assert not await sealed(rota, found.id)
    for _ in range(3):
        async with stream(client, key="today") as again:
            for first in range(0, len(rows), 30_000):
                await again.write_rows(rows[first : first + 30_000])
        assert again.id == found.id
        assert [json.loads(line) for line in (await stored(rota, found.id)).splitlines()] == rows


async def test_data_that_ends_before_what_is_durable_is_not_the_same(client: Client, rota: Rota) -> None:
    found = stream(client)
    with pytest.raises(ZeroDivisionError):
        await write(found, bytes(REQUEST_BYTES), give_up=True)
    for piece in (b"", b"{}\n"):
        with pytest.raises(InvalidRequestError, match="bytes are all there is, but the stream"):
            await write(client.batches.resume_stream(found.id), piece)
    assert not await sealed(rota, found.id)


@pytest.mark.parametrize("completed", [False, True])
async def test_a_batch_that_has_all_its_rows_takes_no_more_and_that_is_no_error(
    client: Client, rota: Rota, *, completed: bool
) -> None:
    data = b"{}\n" * 3_000_000
    found = stream(client, limit=5)
    async with found:
        await found.write(data[:REQUEST_BYTES])
        await read_to_its_limit(rota, found.id, 5, completed=completed)
        for start in range(REQUEST_BYTES, len(data), REQUEST_BYTES):
            await found.write(data[start : start + REQUEST_BYTES])
    assert (found.full, found.offset) == (True, REQUEST_BYTES)
    async with client.batches.resume_stream(found.id) as again:
        await again.write(data)
    assert again.full
    told: list[Sent] = []
    assert await client.batches.send_file(found.id, io.BytesIO(data), progress=told.append) == REQUEST_BYTES
    assert told[-1] == Sent(REQUEST_BYTES, REQUEST_BYTES, len(data), reading=True, full=True)


async def test_a_stream_that_was_sealed_before_its_limit_takes_no_more_and_that_is_an_error(
    client: Client, rota: Rota
) -> None:
    found = stream(client, limit=5)
    await write(found, b"{}\n")
    await read_to_its_limit(rota, found.id, 1)
    again = client.batches.resume_stream(found.id)
    with pytest.raises(ConflictError, match="was sealed after 3 bytes"):
        await write(again, b"{}\n" * 5)
    assert not again.full


async def test_the_command_line_sends_a_file(proxy: Proxy, rota: Rota, tmp_path: Path) -> None:
    data = b"".join(b'{"n": %d}\n' % number for number in range(200_000))
    file = tmp_path / "rows.jsonl"
    file.write_bytes(data)
    proxy.cuts = [1_500_000]
    process = await asyncio.create_subprocess_exec(
        ROTA, "stream", "load", file, "--json", "--url", proxy.url, stdout=PIPE, stderr=PIPE
    )
    out, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")
    id_ = json.loads(out)["id"]
    assert await stored(rota, id_) == data
    assert await sealed(rota, id_)


@pytest.mark.parametrize(("signal_", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_the_command_line_goes_on_after_an_interruption(
    proxy: Proxy, rota: Rota, tmp_path: Path, signal_: signal.Signals, status: int
) -> None:
    first = '{"n": 1}\n'
    process = await asyncio.create_subprocess_exec(
        ROTA, "stream", "load", "--format", "ndjson", "--url", proxy.url, stdin=PIPE, stdout=PIPE, stderr=PIPE
    )
    assert process.stdin
    assert process.stdout
    process.stdin.write(first.encode())
    id_ = (await process.stdout.readline()).decode().strip()
    async with asyncio.timeout(WAIT_SECONDS):
        while await stored(rota, id_) != first.encode():
            await asyncio.sleep(0.01)
    process.send_signal(signal_)
    async with asyncio.timeout(WAIT_SECONDS):
        _, err = await process.communicate()
    assert process.returncode == status, err
    assert err.decode() == (
        f"rota: 9 bytes are stored, and the batch waits for more. To go on: rota stream --resume {id_}, "
        "with the same data from its beginning\n"
    )
    file = tmp_path / "all.txt"
    file.write_text(first + '{"n": 2}\n')
    process = await asyncio.create_subprocess_exec(
        ROTA, "stream", "--resume", id_, file, "--url", proxy.url, stdout=PIPE, stderr=PIPE
    )
    assert await process.communicate() == (f"{id_}\n".encode(), b"")
    assert await stored(rota, id_) == file.read_bytes()
    assert await sealed(rota, id_)


async def test_the_command_line_ends_when_the_batch_has_all_its_rows(proxy: Proxy, rota: Rota) -> None:
    words = ("stream", "load", "--format", "ndjson", "--limit", "1", "--watch", "--url", proxy.url)
    process = await asyncio.create_subprocess_exec(ROTA, *words, stdin=PIPE, stdout=PIPE, stderr=PIPE)
    assert process.stdin
    assert process.stdout
    process.stdin.write(b"{}\n")
    id_ = (await process.stdout.readline()).decode().strip()
    async with asyncio.timeout(WAIT_SECONDS):
        while await stored(rota, id_) != b"{}\n":
            await asyncio.sleep(0.01)
        await read_to_its_limit(rota, id_, 1)
        # The pipe stays open: there is no need to say more.
        process.stdin.write(b"{}\n")
        out = await process.stdout.read()
        assert process.stderr
        err = await process.stderr.read()
        await process.wait()
    assert (process.returncode, out[:9]) == (0, b"completed")
    says = "The batch has all the rows that its limit lets it take; the rest of the data was not sent"
    assert err.decode() == f"rota: {says}\n"


async def test_a_command_line_that_is_killed_is_gone_on_with(proxy: Proxy, rota: Rota, tmp_path: Path) -> None:
    file = tmp_path / "rows.ndjson"
    file.write_bytes(data := noise(30_000_000))
    process = await asyncio.create_subprocess_exec(ROTA, "stream", "load", file, "--url", proxy.url, stdout=PIPE)
    assert process.stdout
    id_ = (await process.stdout.readline()).decode().strip()
    async with asyncio.timeout(WAIT_SECONDS):
        while not (await ChunkLog(rota.connection, id_).last()).end:
            await asyncio.sleep(0.001)
    process.kill()
    await process.communicate()
    assert not await sealed(rota, id_)
    process = await asyncio.create_subprocess_exec(
        ROTA, "stream", "--resume", id_, file, "--url", proxy.url, stdout=PIPE, stderr=PIPE
    )
    assert await process.communicate() == (f"{id_}\n".encode(), b"")
    assert await stored(rota, id_) == data
    assert await sealed(rota, id_)


async def test_tasks_may_share_a_stream_and_their_rows_stay_whole(client: Client, rota: Rota) -> None:
    async with stream(client) as found:

        async def speak(task: int) -> None:
            for number in range(50):
                await found.write_rows([{"task": task, "number": number, "text": "x" * 10_000}])

        await asyncio.gather(*(speak(task) for task in range(8)))
    rows = [json.loads(line) for line in (await stored(rota, found.id)).splitlines()]
    assert sorted((row["task"], row["number"]) for row in rows) == [(t, n) for t in range(8) for n in range(50)]


async def test_batches_are_found_in_the_views(client: Client, rota: Rota, config: Config) -> None:
    id_ = await opened(client)
    command = await rota.bus.find_waiting("batch", id_)
    assert command
    await rota.carry_out("batch", command)
    with closing(Tables.open(config.views)) as tables:
        await Runner(rota.log, tables).catch_up()
    async for one in client.batches.list(status="reading", spec="load", page_size=1):
        assert one.status == "reading"
        if one.id == id_:
            break
    else:
        pytest.fail("the batch is not listed")
    assert [row async for row in client.batches.bad_rows(id_)] == []
    with pytest.raises(NotFoundError):
        await client.batches.row(id_, 0, "stream")
