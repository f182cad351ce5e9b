"""Files in S3 buckets: their bytes from any offset on, and clear errors without secrets."""

import asyncio
import random
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from msgspec.structs import replace

from actors.sources.errors import SourceError
from actors.sources.file import CHUNK_BYTES, SourceFile
from events.sources import S3Connection
from rota.errors import NotFoundError
from scripts.store import BUCKET, KEY, SECRET, Store
from tests.integration.sources.reading import content, failure

SMALL = b"id,name\n1,Ann\n2,Bob\n"
LARGE = random.Random(1).randbytes(2 * CHUNK_BYTES + 12_345)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with Store(tmp_path_factory.mktemp("store")) as running:
        yield running


def bucket(store: Store, **changes: Any) -> S3Connection:
    return replace(S3Connection(endpoint=store.endpoint, key=KEY, secret=SECRET, root=BUCKET), **changes)


@pytest.mark.parametrize("offset", [0, 1, CHUNK_BYTES + 7, len(LARGE)])
async def test_an_object_is_read_over_s3_from_any_offset(store: Store, offset: int) -> None:
    path = await asyncio.to_thread(store.put, "large.bin", LARGE)

    assert await asyncio.to_thread(content, bucket(store), path, offset) == LARGE[offset:]


async def test_a_small_object_is_read_over_s3(store: Store) -> None:
    path = await asyncio.to_thread(store.put, "in/small ü.csv", SMALL)

    with closing(await asyncio.to_thread(SourceFile, bucket(store), path)) as file:
        assert file.size == len(SMALL)
        assert file.version
        assert await asyncio.to_thread(lambda: b"".join(file.chunks())) == SMALL


async def test_an_object_is_read_at_random_over_s3(store: Store) -> None:
    path = await asyncio.to_thread(store.put, "large.bin", LARGE)

    with closing(await asyncio.to_thread(SourceFile, bucket(store), path)) as file:
        assert await asyncio.to_thread(file.read_at, len(LARGE) - 10, 100) == LARGE[-10:]
        assert await asyncio.to_thread(file.read_at, 5_000_000, 1_000) == LARGE[5_000_000:5_001_000]


async def test_an_object_that_is_changed_while_it_is_read_is_noticed(store: Store) -> None:
    path = await asyncio.to_thread(store.put, "changing.csv", SMALL)
    with closing(await asyncio.to_thread(SourceFile, bucket(store), path)) as file:
        await asyncio.to_thread(store.put, "changing.csv", SMALL + b"3,Eve\n")

        with pytest.raises(SourceError, match=r"changing\.csv was changed"):
            await asyncio.to_thread(file.check_unchanged)


async def test_an_object_that_is_not_there_is_named(store: Store) -> None:
    error = await failure(bucket(store), "missing.csv")

    assert isinstance(error, NotFoundError)
    assert str(error) == "missing.csv is not there"


async def test_a_wrong_secret_is_an_error_that_does_not_show_it(store: Store) -> None:
    await asyncio.to_thread(store.put, "small.csv", SMALL)

    error = await failure(bucket(store, secret="hush-hush"), "small.csv")

    assert str(error).startswith("small.csv ")


class WithoutRanges(BaseHTTPRequestHandler):
    """Gives whole objects, whatever is asked for."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(LARGE)))
        self.send_header("ETag", '"v1"')
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()
        self.wfile.write(LARGE)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


async def test_a_server_that_gives_other_bytes_than_it_was_asked_for_is_an_error() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), WithoutRanges) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            endpoint = f"http://127.0.0.1:{server.server_port}"
            error = await failure(S3Connection(endpoint=endpoint, key="k", secret="s", root="b"), "large.bin")
        finally:
            server.shutdown()
            thread.join()

    assert str(error) == "large.bin cannot be read: the server sends other bytes than it was asked for"
