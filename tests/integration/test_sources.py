"""Files over HTTP and S3: their bytes from any offset on, and clear errors without secrets."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web

from actors.sources.file import CHUNK_BYTES, SourceError, SourceFile
from events.config import Connection
from rota.errors import NotFoundError, RotaError
from scripts.store import BUCKET, KEY, SECRET, Store

SMALL = b"id,name\n1,Ann\n2,Bob\n"
LARGE = random.Random(1).randbytes(2 * CHUNK_BYTES + 12_345)
SECRETS = "user:hush-hush@"


class Site:
    """An HTTP server whose files can be made to misbehave."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.body = LARGE
        self.etag = '"v1"'
        self.requests: list[str | None] = []

    async def ranged(self, request: web.Request) -> web.StreamResponse:
        """Answer as a server of files does."""
        if request.method == "GET":
            self.requests.append(request.headers.get("Range"))
        headers = {"ETag": self.etag, "Accept-Ranges": "bytes"}
        if "Range" in request.headers:
            wanted = request.http_range
            start, stop = wanted.start or 0, min(wanted.stop or len(self.body), len(self.body))
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(self.body)}"
            return web.Response(status=206, body=self.body[start:stop], headers=headers)
        return web.Response(body=self.body, headers=headers)

    async def whole(self, request: web.Request) -> web.StreamResponse:
        """Answer as a server that knows no ranges, and does not say how long the file is."""
        response = web.StreamResponse(headers={"ETag": self.etag})
        response.enable_chunked_encoding()
        await response.prepare(request)
        if request.method != "HEAD":
            for start in range(0, len(self.body), 1 << 20):
                await response.write(self.body[start : start + (1 << 20)])
        await response.write_eof()
        return response

    async def sized(self, _: web.Request) -> web.StreamResponse:
        """Answer as a server that knows no ranges, and says how long the file is."""
        return web.Response(body=self.body, headers={"ETag": self.etag})

    async def truncated(self, request: web.Request) -> web.StreamResponse:
        """End the answer too early."""
        response = web.StreamResponse(headers={"Content-Length": str(len(self.body))})
        await response.prepare(request)
        if request.method != "HEAD":
            await response.write(self.body[: len(self.body) // 2])
            assert request.transport
            request.transport.close()
        return response

    async def refused(self, request: web.Request) -> web.StreamResponse:
        return web.Response(status=int(request.match_info["status"]), text="internal detail: hush-hush")


@pytest_asyncio.fixture(loop_scope="session")
async def site() -> AsyncIterator[Site]:
    found = Site("")
    app = web.Application()
    for name in ("ranged", "whole", "sized", "truncated"):
        app.router.add_get(f"/{name}.csv", getattr(found, name))
    app.router.add_get("/status/{status}", found.refused)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield found
    await runner.cleanup()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with Store(tmp_path_factory.mktemp("store")) as running:
        yield running


def bucket(store: Store, **changes: Any) -> Connection:
    settings = {"kind": "s3", "endpoint": store.endpoint, "key": KEY, "secret": SECRET, "root": BUCKET}
    return Connection(**(settings | changes))


def content(connection: Connection | None, path: str, offset: int = 0) -> bytes:
    return b"".join(SourceFile(connection, path).chunks(offset))


async def failure(connection: Connection | None, path: str) -> RotaError:
    """Return the error of reading a file; it never shows a secret."""
    with pytest.raises(RotaError) as caught:
        await asyncio.to_thread(content, connection, path)
    for secret in ("hush", SECRET):
        assert secret not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("name", ["ranged", "whole", "sized"])
@pytest.mark.parametrize("offset", [0, 1, CHUNK_BYTES, CHUNK_BYTES + 7, len(LARGE) - 1, len(LARGE)])
async def test_a_file_is_read_over_http_from_any_offset(site: Site, name: str, offset: int) -> None:
    assert await asyncio.to_thread(content, None, f"{site.url}/{name}.csv", offset) == LARGE[offset:]


@pytest.mark.parametrize("name", ["ranged", "whole", "sized"])
@pytest.mark.parametrize("body", [SMALL, b""], ids=["small", "empty"])
async def test_a_small_file_is_read_over_http(site: Site, name: str, body: bytes) -> None:
    site.body = body

    assert await asyncio.to_thread(content, None, f"{site.url}/{name}.csv") == body


async def test_what_comes_before_the_offset_is_not_fetched_where_the_server_has_ranges(site: Site) -> None:
    file = await asyncio.to_thread(SourceFile, None, f"{site.url}/ranged.csv")
    site.requests.clear()

    await asyncio.to_thread(lambda: list(file.chunks(2 * CHUNK_BYTES)))

    assert site.requests
    assert all(wanted and int(wanted[6:].split("-")[0]) >= 2 * CHUNK_BYTES for wanted in site.requests)


async def test_a_file_tells_its_size_and_version(site: Site) -> None:
    file = await asyncio.to_thread(SourceFile, None, f"{site.url}/ranged.csv")

    assert (file.size, file.version) == (len(LARGE), "v1")


async def test_a_path_stands_below_the_root_of_its_connection(site: Site) -> None:
    connection = Connection(kind="http", root=f"{site.url}/")

    assert await asyncio.to_thread(content, connection, "/ranged.csv") == LARGE


async def test_a_file_that_is_changed_while_it_is_read_is_noticed(site: Site) -> None:
    file = await asyncio.to_thread(SourceFile, None, f"{site.url}/ranged.csv")
    await asyncio.to_thread(file.check_unchanged)
    site.etag = '"v2"'

    with pytest.raises(SourceError, match="was changed while it was read"):
        await asyncio.to_thread(file.check_unchanged)


async def test_a_body_that_ends_too_early_is_an_error_and_no_end_of_the_file(site: Site) -> None:
    error = await failure(None, f"{site.url}/truncated.csv")

    assert isinstance(error, SourceError)


@pytest.mark.parametrize(
    ("status", "kind", "text"),
    [
        (401, NotFoundError, "may not be read with this connection"),
        (403, NotFoundError, "may not be read with this connection"),
        (404, NotFoundError, "is not there"),
        (500, SourceError, "cannot be read: ClientResponseError (status 500)"),
    ],
)
async def test_a_server_that_refuses_is_told_apart_without_the_secrets_of_the_connection(
    site: Site, status: int, kind: type[RotaError], text: str
) -> None:
    connection = Connection(kind="http", root=site.url.replace("//", f"//{SECRETS}"))

    error = await failure(connection, f"status/{status}")

    assert (type(error), str(error)) == (kind, f"status/{status} {text}")


async def test_a_server_that_is_not_there_is_an_error_of_the_source() -> None:
    connection = Connection(kind="http", root=f"http://{SECRETS}127.0.0.1:9/data")

    error = await failure(connection, "a.csv")

    assert isinstance(error, SourceError)
    assert str(error).startswith("a.csv cannot be read: ")


@pytest.mark.parametrize("offset", [0, 1, CHUNK_BYTES + 7, len(LARGE)])
async def test_an_object_is_read_over_s3_from_any_offset(store: Store, offset: int) -> None:
    path = await asyncio.to_thread(store.put, "large.bin", LARGE)

    assert await asyncio.to_thread(content, bucket(store), path, offset) == LARGE[offset:]


async def test_a_small_object_is_read_over_s3(store: Store) -> None:
    path = await asyncio.to_thread(store.put, "in/small ü.csv", SMALL)

    file = await asyncio.to_thread(SourceFile, bucket(store), path)

    assert file.size == len(SMALL)
    assert file.version
    assert await asyncio.to_thread(lambda: b"".join(file.chunks())) == SMALL


async def test_an_object_that_is_changed_while_it_is_read_is_noticed(store: Store) -> None:
    path = await asyncio.to_thread(store.put, "changing.csv", SMALL)
    file = await asyncio.to_thread(SourceFile, bucket(store), path)
    await asyncio.to_thread(store.put, "changing.csv", SMALL + b"3,Eve\n")

    with pytest.raises(SourceError, match=r"changing\.csv was changed"):
        await asyncio.to_thread(file.check_unchanged)


async def test_an_object_that_is_not_there_is_named(store: Store) -> None:
    error = await failure(bucket(store), "missing.csv")

    assert isinstance(error, NotFoundError)
    assert str(error) == "missing.csv is not there"


async def test_a_wrong_secret_is_an_error_that_does_not_show_it(store: Store, tmp_path: Path) -> None:
    await asyncio.to_thread(store.put, "small.csv", SMALL)

    error = await failure(bucket(store, secret="hush-hush"), "small.csv")

    assert str(error).startswith("small.csv ")
