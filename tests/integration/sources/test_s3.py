"""Files in S3 buckets: their bytes from any offset on, and clear errors without secrets."""

import asyncio
import random
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from msgspec.structs import replace

from actors.formats.input import HEAD_BYTES
from actors.sources.errors import ChangedError
from actors.sources.file import CHUNK_BYTES, SourceFile
from actors.sources.s3 import file_system
from actors.sources.walk import walk
from events.sources import S3Connection
from rota.errors import NotFoundError, TooLargeError
from rota.options import Selection
from scripts.store import BUCKET, KEY, SECRET, Store
from tests.integration.sources.reading import HUSH, content, failure
from tests.integration.sources.seaweedfs import Seaweedfs

SMALL = b"id,name\n1,Ann\n2,Bob\n"
MEDIUM = SMALL * (HEAD_BYTES // len(SMALL) + 1)
LARGE = random.Random(1).randbytes(2 * CHUNK_BYTES + 12_345)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with Store(tmp_path_factory.mktemp("store")) as running:
        yield running


@pytest.fixture(scope="module")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweedfs]:
    with Seaweedfs(tmp_path_factory.mktemp("seaweedfs")) as running:
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


async def test_an_empty_object_is_read_over_s3(store: Store) -> None:
    path = await asyncio.to_thread(store.put, "empty.csv", b"")

    with closing(await asyncio.to_thread(SourceFile, bucket(store), path)) as file:
        assert file.size == 0
        assert await asyncio.to_thread(lambda: b"".join(file.chunks())) == b""
        await asyncio.to_thread(file.check_unchanged)


async def test_a_folder_is_no_object(store: Store) -> None:
    await asyncio.to_thread(store.put, "folder/a.csv", SMALL)

    error = await failure(bucket(store), "folder")

    assert str(error) == "folder is a directory: end it with a slash to have its files read"


async def test_an_object_is_read_at_random_over_s3(store: Store) -> None:
    path = await asyncio.to_thread(store.put, "large.bin", LARGE)

    with closing(await asyncio.to_thread(SourceFile, bucket(store), path)) as file:
        assert await asyncio.to_thread(file.read_at, len(LARGE) - 10, 100) == LARGE[-10:]
        assert await asyncio.to_thread(file.read_at, 5_000_000, 1_000) == LARGE[5_000_000:5_001_000]


async def test_an_object_that_is_changed_while_it_is_read_is_noticed(store: Store) -> None:
    path = await asyncio.to_thread(store.put, "changing.csv", MEDIUM)
    with closing(await asyncio.to_thread(SourceFile, bucket(store), path)) as file:
        await asyncio.to_thread(store.put, "changing.csv", MEDIUM[::-1])

        with pytest.raises(ChangedError, match=r"changing\.csv was changed"):
            await asyncio.to_thread(file.check_unchanged)


@pytest.mark.parametrize("body", [MEDIUM, LARGE])
async def test_an_object_that_is_changed_after_it_was_found_is_not_read_on(store: Store, body: bytes) -> None:
    path = await asyncio.to_thread(store.put, "changing.csv", body)
    with closing(await asyncio.to_thread(SourceFile, bucket(store), path)) as file:
        await asyncio.to_thread(store.put, "changing.csv", body[::-1])

        with pytest.raises(ChangedError, match=r"changing\.csv was changed"):
            await asyncio.to_thread(file.read_at, HEAD_BYTES, 10)


async def test_a_small_object_whose_bytes_are_known_is_the_one_that_was_found(store: Store) -> None:
    path = await asyncio.to_thread(store.put, "changing.csv", SMALL)
    with closing(await asyncio.to_thread(SourceFile, bucket(store), path)) as file:
        await asyncio.to_thread(store.put, "changing.csv", SMALL.upper())

        await asyncio.to_thread(file.check_unchanged)
        assert await asyncio.to_thread(lambda: b"".join(file.chunks())) == SMALL


async def test_an_object_that_is_not_there_is_named(store: Store) -> None:
    error = await failure(bucket(store), "missing.csv")

    assert isinstance(error, NotFoundError)
    assert str(error) == "missing.csv is not there"


async def test_a_wrong_secret_is_an_error_that_does_not_show_it(store: Store) -> None:
    await asyncio.to_thread(store.put, "small.csv", SMALL)

    error = await failure(bucket(store, secret="hush-hush"), "small.csv")

    assert str(error).startswith("small.csv ")


async def test_a_bucket_that_is_not_there_is_an_error(store: Store) -> None:
    error = await failure(bucket(store, root="none"), "small.csv")

    assert isinstance(error, NotFoundError)
    assert str(error) == "small.csv is not there"


async def test_a_folder_of_more_keys_than_one_answer_holds_is_listed_whole(seaweedfs: Seaweedfs) -> None:
    names = [f"many/{number:04}.csv" for number in range(1_100)]
    await asyncio.to_thread(seaweedfs.put_all, dict.fromkeys(names, SMALL))

    assert await asyncio.to_thread(listed, seaweedfs.connection(), "many/") == names


async def test_a_folder_of_too_many_keys_is_an_error_before_all_are_listed(
    seaweedfs: Seaweedfs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.sources.s3.MAX_ENTRIES", 3)
    await asyncio.to_thread(seaweedfs.put_all, {f"four/{number}.csv": SMALL for number in range(4)})

    with pytest.raises(TooLargeError, match=r"^data/four/ has more than 3 entries: select folders with fewer$"):
        await asyncio.to_thread(listed, seaweedfs.connection(), "four/")


async def test_what_is_public_is_read_without_a_key(seaweedfs: Seaweedfs) -> None:
    await asyncio.to_thread(seaweedfs.put, "open/small.csv", SMALL)
    anybody = replace(seaweedfs.connection(), key=None, secret=None)

    assert await asyncio.to_thread(content, anybody, "open/small.csv") == SMALL
    assert await asyncio.to_thread(listed, anybody, "open/") == ["open/small.csv"]


def listed(connection: S3Connection, entry: str) -> list[str]:
    return list(walk(file_system(connection), connection.root, [entry], Selection()))


class Fake(BaseHTTPRequestHandler):
    """Has one object at every path, and remembers what it was asked with; `send` may be another's."""

    protocol_version = "HTTP/1.1"
    asked: list[dict[str, str]]
    heads: int
    body = LARGE
    etag = '"v1"'

    def do_HEAD(self) -> None:
        type(self).heads += 1
        self._head(200, len(self.body))

    def do_GET(self) -> None:
        self.asked.append(dict(self.headers))
        first, _, last = self.headers["Range"].removeprefix("bytes=").partition("-")
        self.send(int(first), min(int(last) + 1, len(self.body)))

    def send(self, start: int, stop: int) -> None:
        self._head(206, stop - start, **{"Content-Range": f"bytes {start}-{stop - 1}/{len(self.body)}"})
        self.wfile.write(self.body[start:stop])

    def _head(self, status: int, length: int, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(length), "ETag": self.etag, **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class WithoutRanges(Fake):
    """Gives whole objects, whatever is asked for."""

    def send(self, *_: int) -> None:
        self._head(200, len(LARGE))
        self.wfile.write(LARGE)


class BreaksOff(Fake):
    """Closes the connection in the middle of every first answer for the same bytes."""

    def send(self, start: int, stop: int) -> None:
        if [one["Range"] for one in self.asked].count(self.headers["Range"]) == 1:
            self._head(206, stop - start, **{"Content-Range": f"bytes {start}-{stop - 1}/{len(LARGE)}"})
            self.wfile.write(LARGE[start : start + (stop - start) // 2])
            self.close_connection = True
        else:
            super().send(start, stop)


class HasSmall(Fake):
    """Has a small object."""

    body = SMALL


class HasMedium(Fake):
    """Has an object that is small, and does not come whole with what is known of it."""

    body = MEDIUM


class GivesAnother(HasMedium):
    """Gives the bytes of another version than it has told of, whatever the request wishes."""

    def send(self, start: int, stop: int) -> None:
        self.etag = f'"v{len(self.asked)}"'
        super().send(start, stop)


class WithoutVersions(HasMedium):
    """Gives no ETag that says anything."""

    etag = ""


@contextmanager
def fake(kind: type[Fake]) -> Iterator[S3Connection]:
    """Run a server of a kind, and return a connection to it."""
    kind.asked, kind.heads = [], 0
    with ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            endpoint = f"http://127.0.0.1:{server.server_port}"
            yield S3Connection(endpoint=endpoint, key="k", secret=HUSH, session_token=f"{HUSH}-token", root="b")
        finally:
            server.shutdown()
            thread.join()


async def test_a_server_that_gives_other_bytes_than_it_was_asked_for_is_an_error() -> None:
    with fake(WithoutRanges) as connection:
        error = await failure(connection, "large.bin")

    assert str(error) == "large.bin cannot be read: the server sends other bytes than it was asked for"


async def test_a_session_token_goes_with_each_request() -> None:
    with fake(Fake) as connection:
        assert await asyncio.to_thread(content, connection, "large.bin") == LARGE

    assert {one["X-Amz-Security-Token"] for one in Fake.asked} == {f"{HUSH}-token"}


async def test_a_body_that_breaks_off_is_asked_for_again() -> None:
    with fake(BreaksOff) as connection:
        assert await asyncio.to_thread(content, connection, "large.bin") == LARGE

    ranges = [one["Range"] for one in BreaksOff.asked]
    assert len(ranges) == 2 * len(set(ranges))


def read_whole(connection: S3Connection) -> bytes:
    """Read a file as a batch does that finds out its format."""
    with closing(SourceFile(connection, "small.csv")) as file:
        file.read_at(0, 10)
        body = b"".join(file.chunks())
        file.check_unchanged()
    return body


async def test_a_small_object_takes_one_request() -> None:
    with fake(HasSmall) as connection:
        assert await asyncio.to_thread(read_whole, connection) == SMALL

    assert (HasSmall.heads, len(HasSmall.asked)) == (0, 1)


async def test_an_object_that_is_a_little_larger_takes_two_requests() -> None:
    with fake(HasMedium) as connection:
        assert await asyncio.to_thread(read_whole, connection) == MEDIUM

    assert HasMedium.heads == 0
    assert [one.get("If-Match") for one in HasMedium.asked] == [None, '"v1"']


async def test_a_server_that_gives_another_version_than_it_was_asked_for_is_noticed() -> None:
    with fake(GivesAnother) as connection, pytest.raises(ChangedError, match=r"small\.csv was changed"):
        await asyncio.to_thread(read_whole, connection)


async def test_an_object_without_etag_is_looked_at_again_after_it_was_read() -> None:
    with fake(WithoutVersions) as connection:
        assert await asyncio.to_thread(read_whole, connection) == MEDIUM

    assert WithoutVersions.heads == 1
    assert ["If-Match" in one for one in WithoutVersions.asked] == [False, False]
