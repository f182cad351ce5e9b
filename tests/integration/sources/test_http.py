"""Files of web servers: real ones, and one that lies; every byte is right or there is an error, without secrets."""

import asyncio
import logging
import os
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import pytest_asyncio

from actors.sources import file as source_file
from actors.sources import http_client
from actors.sources.errors import ChangedError, MomentaryError, SourceError
from actors.sources.file import CHUNK_BYTES, TRIES, SourceFile
from actors.sources.registry import file_system
from events.sources import HttpConnection
from rota.errors import NotFoundError, RotaError, TooLargeError
from tests.integration.sources.lying import Ask, Handler, LyingServer, lying
from tests.integration.sources.nginx import PASSWORD, USER, Nginx
from tests.integration.sources.reading import content, failure

SMALL = b"id,name\n1,Ann\n2,Bob\n"
LARGE = random.Random(1).randbytes(2 * CHUNK_BYTES + 12_345)
OFFSETS = [0, 1, CHUNK_BYTES, CHUNK_BYTES + 7, len(LARGE) - 1, len(LARGE)]


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_file, "TRY_AGAIN_SECONDS", 0.01)
    monkeypatch.setattr(http_client, "SILENCE_SECONDS", 0.5)


@pytest.fixture(scope="module")
def nginx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    with Nginx(tmp_path_factory.mktemp("nginx")) as running:
        (running.files / "large.bin").write_bytes(LARGE)
        (running.files / "empty.csv").write_bytes(b"")
        (running.files / "rows.csv").write_bytes(SMALL * 100)
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def site() -> AsyncIterator[LyingServer]:
    async with lying(LARGE) as running:
        yield running


def at(server: LyingServer | Nginx, **settings: object) -> HttpConnection:
    return HttpConnection(root=server.url, **settings)  # type: ignore[arg-type] # the settings of HttpConnection


async def read(connection: HttpConnection | None, path: str, offset: int = 0) -> bytes:
    return await asyncio.to_thread(content, connection, path, offset)


# A real server


@pytest.mark.parametrize("offset", OFFSETS)
async def test_a_file_is_read_from_any_offset(nginx: Nginx, offset: int) -> None:
    assert await read(at(nginx), "large.bin", offset) == LARGE[offset:]


async def test_a_file_is_read_here_and_there(nginx: Nginx) -> None:
    with closing(await asyncio.to_thread(SourceFile, at(nginx), "large.bin")) as file:
        for offset, size in [(len(LARGE) - 8, 8), (0, 4), (5_000_000, 1_000_000), (len(LARGE) - 8, 100), (7, 0)]:
            assert await asyncio.to_thread(file.read_at, offset, size) == LARGE[offset : offset + size]


async def test_the_chunks_of_a_file_end_at_the_same_places_wherever_reading_begins(nginx: Nginx) -> None:
    with closing(await asyncio.to_thread(SourceFile, at(nginx), "large.bin")) as file:
        sizes = await asyncio.to_thread(lambda: [len(chunk) for chunk in file.chunks(7)])

    assert sizes == [CHUNK_BYTES - 7, CHUNK_BYTES, 12_345]


async def test_a_file_tells_its_size_version_and_media_type(nginx: Nginx) -> None:
    file = await asyncio.to_thread(SourceFile, at(nginx), "rows.csv")

    assert (file.size, file.media_type, file.compression) == (len(SMALL) * 100, "text/csv", None)
    assert file.version
    await asyncio.to_thread(file.check_unchanged)


async def test_an_empty_file_is_no_error(nginx: Nginx) -> None:
    assert await read(at(nginx), "empty.csv") == b""


async def test_redirects_are_followed_within_the_server(nginx: Nginx) -> None:
    assert await read(at(nginx), "moved/rows.csv") == SMALL * 100


async def test_compression_on_the_fly_is_not_asked_for(nginx: Nginx) -> None:
    assert await read(at(nginx), "compressed/rows.csv") == SMALL * 100


async def test_names_of_files_may_have_any_characters(nginx: Nginx) -> None:
    folder = nginx.files / "names"
    folder.mkdir()
    names = [
        "a b.csv",
        "ü.csv",
        "100%.csv",
        "what?.csv",
        "no#1.csv",
        "a+b&c.csv",
        "%41.csv",
        "it's; <b>.csv",
        "a:b.csv",
    ]
    for name in names:
        (folder / name).write_bytes(name.encode())

    listing = await asyncio.to_thread(file_system(at(nginx)).ls, f"{nginx.url}/names", detail=False)
    found = [await read(at(nginx), path.removeprefix(nginx.url)) for path in listing]

    assert sorted(found) == sorted(name.encode() for name in names)
    assert {f"{nginx.url}/names/a b.csv", f"{nginx.url}/names/100%25.csv"} <= set(listing)


async def test_an_index_page_is_a_directory(nginx: Nginx) -> None:
    (nginx.files / "year/may").mkdir(parents=True)
    (nginx.files / "year/a.csv").write_bytes(SMALL)
    (nginx.files / "year/may/b.csv").write_bytes(SMALL)
    files = file_system(at(nginx))

    assert await asyncio.to_thread(files.ls, f"{nginx.url}/year", detail=True) == [
        {"name": f"{nginx.url}/year/a.csv", "type": "file", "size": None},
        {"name": f"{nginx.url}/year/may", "type": "directory", "size": None},
    ]
    assert (await asyncio.to_thread(files.info, f"{nginx.url}/year"))["type"] == "directory"
    assert await asyncio.to_thread(files.find, f"{nginx.url}/year") == [
        f"{nginx.url}/year/a.csv",
        f"{nginx.url}/year/may/b.csv",
    ]


async def test_a_file_is_no_directory_and_a_directory_no_file(nginx: Nginx) -> None:
    (nginx.files / "year2").mkdir()

    with pytest.raises(SourceError, match=r"^year2 is a directory: end it with a slash to have its files read$"):
        await asyncio.to_thread(SourceFile, at(nginx), "year2")
    with pytest.raises((NotADirectoryError, FileNotFoundError)):
        await asyncio.to_thread(file_system(at(nginx)).ls, f"{nginx.url}/rows.csv")
    with pytest.raises(PermissionError):
        await asyncio.to_thread(file_system(at(nginx)).ls, f"{nginx.url}/closed")


async def test_a_file_that_is_replaced_while_it_is_read_is_an_error_in_its_middle(
    nginx: Nginx, tmp_path: Path
) -> None:
    path = nginx.files / "replaced.bin"
    path.write_bytes(LARGE)
    with closing(await asyncio.to_thread(SourceFile, at(nginx), "replaced.bin")) as file:
        assert await asyncio.to_thread(file.read_at, 0, 10) == LARGE[:10]
        new = tmp_path / "new"
        new.write_bytes(b"x" + LARGE[1:])
        os.utime(new, (1, 1))  # nginx names versions by second and size
        new.replace(path)

        with pytest.raises(ChangedError, match=r"^replaced\.bin was changed while it was read$"):
            await asyncio.to_thread(file.read_at, 20, 10)
        with pytest.raises(ChangedError):
            await asyncio.to_thread(file.check_unchanged)


async def test_a_password_is_sent_to_the_root_of_its_connection(nginx: Nginx) -> None:
    root = f"{nginx.url}/private"

    assert await read(HttpConnection(root=root, user=USER, password=PASSWORD), "rows.csv") == SMALL * 100
    assert await read(HttpConnection(root=root.replace("//", f"//{USER}:{PASSWORD}@")), "rows.csv") == SMALL * 100


@pytest.mark.parametrize("password", [None, "hush-not"])
async def test_a_wrong_password_is_an_error_that_does_not_show_it(nginx: Nginx, password: str | None) -> None:
    error = await failure(HttpConnection(root=f"{nginx.url}/private", user=USER, password=password), "rows.csv")

    assert isinstance(error, NotFoundError)
    assert str(error) == "rows.csv may not be read with this connection"


# Servers without ranges


def without_ranges(site: LyingServer, kind: str) -> Handler:
    return site.whole if kind == "whole" else site.chunked


@pytest.mark.parametrize("kind", ["whole", "chunked"])
@pytest.mark.parametrize("offset", OFFSETS)
async def test_a_server_without_ranges_is_read_from_any_offset(site: LyingServer, kind: str, offset: int) -> None:
    site.handlers["/a.csv"] = without_ranges(site, kind)

    assert await read(at(site), "a.csv", offset) == LARGE[offset:]


@pytest.mark.parametrize("kind", ["whole", "chunked"])
@pytest.mark.parametrize("body", [SMALL, b""], ids=["small", "empty"])
async def test_a_server_without_ranges_has_small_files(site: LyingServer, kind: str, body: bytes) -> None:
    site.body = body
    site.handlers["/a.csv"] = without_ranges(site, kind)

    assert await read(at(site), "a.csv") == body


@pytest.mark.parametrize("kind", ["whole", "chunked"])
async def test_a_server_without_ranges_is_asked_once_for_reading_here_and_there(
    site: LyingServer, kind: str
) -> None:
    site.handlers["/a.csv"] = without_ranges(site, kind)
    with closing(await asyncio.to_thread(SourceFile, at(site), "a.csv")) as file:
        assert await asyncio.to_thread(file.read_at, len(LARGE) - 8, 9) == LARGE[-8:]
        asked = len(site.asked)
        assert await asyncio.to_thread(file.read_at, 0, 4) == LARGE[:4]

    assert len(site.asked) == asked


async def test_a_file_without_ranges_is_kept_on_disk_up_to_a_limit(
    site: LyingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_file, "SPOOL_BYTES", 10_000)
    site.handlers["/a.csv"] = site.endless
    with (
        closing(await asyncio.to_thread(SourceFile, at(site), "a.csv")) as file,
        pytest.raises(TooLargeError, match="larger than 10000 bytes"),
    ):
        await asyncio.to_thread(file.read_at, 1_000_000, 5)


async def test_an_answer_whose_end_cannot_be_told_from_a_cut_is_an_error(site: LyingServer) -> None:
    site.handlers["/a.csv"] = lambda ask: ask.answer(200, site.validators(), LARGE)

    assert "neither its length nor where it ends" in str(await failure(at(site), "a.csv"))


async def test_a_file_that_changes_unseen_is_noticed_when_an_answer_breaks_off(site: LyingServer) -> None:
    site.etag = None

    async def handler(ask: Ask) -> None:
        headers = site.validators() | {"Content-Length": len(LARGE)}
        if len(site.asked) <= 2:
            await ask.answer(200, headers, site.body)
        elif len(site.asked) == 3:
            await ask.answer(200, headers, site.body[: CHUNK_BYTES + 1_000_000])
            site.body = b"x" + LARGE[1:]
        else:
            await ask.answer(200, headers, site.body)

    site.handlers["/a.csv"] = handler

    assert isinstance(await failure(at(site), "a.csv"), ChangedError)


# Going on


@pytest.mark.parametrize("kind", ["ranges", "whole"])
async def test_reading_goes_on_where_an_answer_broke_off(site: LyingServer, kind: str) -> None:
    pieces = random.Random(2)

    async def handler(ask: Ask) -> None:
        start = ask.range[0] if ask.range and kind == "ranges" else 0
        stop = len(LARGE)
        if kind == "ranges":
            stop = min(ask.range[1] or stop, stop) if ask.range else stop
            headers = site.partial(start, stop)
        else:
            headers = site.validators() | {"Content-Length": stop}
        whole_so_far = 0 if kind == "ranges" else len(site.asked) * 1_000_000
        sent = stop if ask.is_probe else start + pieces.randint(100_000, 2_000_000) + whole_so_far
        await ask.answer(206 if kind == "ranges" else 200, headers, LARGE[start : min(stop, sent)])

    site.handlers["/a.csv"] = handler

    assert await read(at(site), "a.csv", 5) == LARGE[5:]
    assert len(site.asked) > 5


async def test_a_server_that_always_breaks_off_at_the_same_byte_is_given_up(site: LyingServer) -> None:
    async def handler(ask: Ask) -> None:
        start, stop = ask.range or (0, None)
        stop = min(stop or len(LARGE), len(LARGE))
        await ask.answer(206, site.partial(start, stop), LARGE[start : min(stop, 1_000_000)])

    site.handlers["/a.csv"] = handler

    assert isinstance(await failure(at(site), "a.csv"), MomentaryError)
    assert sum(1 for ask in site.asked if ask.range and ask.range[0] == 1_000_000) == TRIES


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
async def test_a_server_that_is_busy_is_asked_again(site: LyingServer, status: int) -> None:
    async def handler(ask: Ask) -> None:
        await (ask.answer(status, {"Content-Length": 0}) if len(site.asked) % 3 else site.honest(ask))

    site.handlers["/a.csv"] = handler

    assert await read(at(site), "a.csv") == LARGE


async def test_a_server_that_is_silent_is_given_up_after_some_time(site: LyingServer) -> None:
    async def handler(ask: Ask) -> None:
        await asyncio.Event().wait()

    site.handlers["/a.csv"] = handler

    assert str(await failure(at(site), "a.csv")) == "a.csv cannot be read: the server is silent"


async def test_a_server_that_falls_silent_within_a_file_is_asked_again(site: LyingServer) -> None:
    async def handler(ask: Ask) -> None:
        if len(site.asked) == 2:
            await ask.answer(206, site.partial(0, CHUNK_BYTES), LARGE[:1000])
            await asyncio.Event().wait()
        await site.honest(ask)

    site.handlers["/a.csv"] = handler

    assert await read(at(site), "a.csv") == LARGE


# Lies


def _changed_tag(site: LyingServer) -> Handler:
    async def handler(ask: Ask) -> None:
        start, stop = ask.range or (0, len(LARGE))
        if start:
            site.etag = '"v2"'
        stop = min(stop or len(LARGE), len(LARGE))
        await ask.answer(206, site.partial(start, stop), LARGE[start:stop])

    return handler


def _changed_whole(site: LyingServer) -> Handler:
    async def handler(ask: Ask) -> None:
        if ask.range and ask.range[0]:
            site.etag = '"v2"'
        await site.honest(ask)

    return handler


def _shrunk(site: LyingServer) -> Handler:
    async def handler(ask: Ask) -> None:
        if ask.range and ask.range[0]:
            site.body, site.etag = SMALL, None
            await ask.answer(416, {"Content-Range": f"bytes */{len(SMALL)}", "Content-Length": 0})
        else:
            await site.honest(ask)

    return handler


def _lie(
    start: int, stop: int, total: object = None, body: bytes | None = None
) -> Callable[[LyingServer], Handler]:
    """Answer all but the first request with this range."""

    def make(site: LyingServer) -> Handler:
        async def handler(ask: Ask) -> None:
            if ask.is_probe:
                await site.honest(ask)
            else:
                await ask.answer(206, site.partial(start, stop, total), LARGE[start:stop] if body is None else body)

        return handler

    return make


def _no_range(site: LyingServer) -> Handler:
    async def handler(ask: Ask) -> None:
        if ask.is_probe:
            await site.honest(ask)
        else:
            await ask.answer(206, site.validators() | {"Content-Length": 5}, b"12345")

    return handler


def _not_the_length_of_the_range(site: LyingServer) -> Handler:
    async def handler(ask: Ask) -> None:
        headers = site.partial(0, 1) if ask.is_probe else site.partial(0, 1000) | {"Content-Length": 900}
        await ask.answer(206, headers, LARGE[: int(str(headers["Content-Length"]))])

    return handler


def _more_than_the_range(site: LyingServer) -> Handler:
    async def handler(ask: Ask) -> None:
        if ask.is_probe:
            await site.honest(ask)
            return
        headers = site.partial(0, CHUNK_BYTES)
        del headers["Content-Length"]
        await ask.answer(206, headers | {"Transfer-Encoding": "chunked"})
        await ask.chunk(LARGE[:CHUNK_BYTES])
        await ask.chunk(b"more")
        await ask.chunk(b"")

    return handler


@pytest.mark.parametrize(
    ("lie", "text"),
    [
        (_changed_tag, "was changed while it was read"),
        (_changed_whole, "was changed while it was read"),
        (_shrunk, "was changed while it was read"),
        (_lie(0, CHUNK_BYTES, total=len(LARGE) + 1), "was changed while it was read"),
        (_lie(1, CHUNK_BYTES), "another range than it was asked for"),
        (_lie(0, CHUNK_BYTES + 1), "another range than it was asked for"),
        (_lie(0, len(LARGE) + 1, body=LARGE + b"x"), "a range that cannot be"),
        (_no_range, "a range without saying which"),
        (_not_the_length_of_the_range, "a range that cannot be"),
        (_more_than_the_range, "more bytes than it said"),
    ],
)
async def test_a_lie_is_an_error(site: LyingServer, lie: Callable[[LyingServer], Handler], text: str) -> None:
    site.handlers["/a.csv"] = lie(site)

    error = await failure(at(site), "a.csv")

    assert isinstance(error, SourceError)
    assert text in str(error)


async def test_a_weak_tag_that_becomes_strong_is_the_same_version(site: LyingServer) -> None:
    async def handler(ask: Ask) -> None:
        await site.honest(ask)
        site.etag = '"v1"'

    site.etag = 'W/"v1"'
    site.handlers["/a.csv"] = handler

    assert await read(at(site), "a.csv") == LARGE


@pytest.mark.parametrize(("age", "depends"), [("11:59:58", True), ("12:00:00", False)])
async def test_a_time_of_change_stands_for_the_version_once_it_is_past(
    site: LyingServer, age: str, *, depends: bool
) -> None:
    site.etag, site.modified = None, f"Tue, 24 Nov 2026 {age} GMT"

    assert await read(at(site), "a.csv") == LARGE
    assert ("if-range" in next(ask.headers for ask in site.asked if not ask.is_probe)) is depends


@pytest.mark.parametrize(
    ("name", "coding", "compression"),
    [("a.csv", "gzip", "gzip"), ("a.csv.gz", "x-gzip", None), ("a.csv", "zstd", "zstd")],
)
async def test_a_content_coding_is_told_and_its_bytes_are_given_as_they_are(
    site: LyingServer, name: str, coding: str, compression: str | None
) -> None:
    headers = site.validators() | {"Content-Length": len(LARGE), "Content-Encoding": coding}
    site.handlers[f"/{name}"] = lambda ask: ask.answer(200, headers, LARGE)
    file = await asyncio.to_thread(SourceFile, at(site), name)

    assert (file.compression, file.size) == (compression, len(LARGE))
    assert await read(at(site), name) == LARGE


async def test_a_content_coding_that_is_not_known_is_an_error(site: LyingServer) -> None:
    headers = site.validators() | {"Content-Length": len(SMALL), "Content-Encoding": "br"}
    site.handlers["/a.csv"] = lambda ask: ask.answer(200, headers, SMALL)

    assert "content coding 'br'" in str(await failure(at(site), "a.csv"))


async def test_what_comes_before_the_offset_is_not_fetched(site: LyingServer) -> None:
    await read(at(site), "a.csv", 2 * CHUNK_BYTES)

    assert [ask.range for ask in site.asked if not ask.is_probe] == [(2 * CHUNK_BYTES, None)]


@pytest.mark.parametrize(
    ("status", "kind", "text"),
    [
        (401, NotFoundError, "may not be read with this connection"),
        (403, NotFoundError, "may not be read with this connection"),
        (404, NotFoundError, "is not there"),
        (410, NotFoundError, "is not there"),
        (400, SourceError, "cannot be read: the server answers with status 400"),
        (500, MomentaryError, "cannot be read: the server answers with status 500"),
        (203, SourceError, "cannot be read: the server answers with status 203"),
    ],
)
async def test_a_server_that_refuses_is_told_apart_without_secrets(
    site: LyingServer, status: int, kind: type[RotaError], text: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    site.handlers["/a.csv?token=hush"] = lambda ask: ask.answer(status, {"Content-Length": 4}, b"hush")
    connection = HttpConnection(
        root=site.url.replace("//", "//ann:hush-root@"), headers={"X-Key": "hush-header"}, token="hush-token"
    )

    error = await failure(connection, "a.csv?token=hush")

    assert (type(error), str(error)) == (kind, f"a.csv {text}")
    assert "hush" not in caplog.text
    assert site.asked[-1].headers["x-key"] == "hush-header"


async def test_a_server_that_is_not_there_is_an_error_of_the_source(unused_tcp_port: int) -> None:
    error = await failure(HttpConnection(root=f"http://ann:hush@127.0.0.1:{unused_tcp_port}/data"), "a.csv")

    assert isinstance(error, MomentaryError)
    assert str(error) == "a.csv cannot be read: connection refused"


# Who may be asked


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "0.0.0.0",
        "10.1.2.3",
        "192.168.0.1",
        "169.254.169.254",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[fe80::1]",
        "[fd00::1]",
        "[fec0::1]",
        "192.0.0.192",
        "224.0.0.1",
        "2130706433",
        "127.1",
        "0x7f000001",
        "0177.0.0.1",
    ],
)
async def test_plain_urls_do_not_lead_into_the_own_network(site: LyingServer, host: str) -> None:
    error = await failure(None, f"http://{host}:{site.url.rpartition(':')[2]}/a.csv?token=hush")

    assert isinstance(error, SourceError)
    assert not isinstance(error, MomentaryError)
    assert not site.asked


@pytest.mark.parametrize(
    "target", ["http://127.0.0.1:{}/x", "http://169.254.169.254/latest/hush", "http://localhost:{}/x"]
)
async def test_redirects_do_not_lead_into_the_own_network_and_take_no_secrets_along(
    site: LyingServer, target: str
) -> None:
    async with lying(SMALL) as other:
        there = target.format(other.url.rpartition(":")[2])
        site.handlers["/a.csv"] = lambda ask: ask.answer(302, {"Location": there, "Content-Length": 0})

        error = await failure(at(site), "a.csv")

        assert "leads to a private, loopback or link-local address" in str(error)
        assert not other.asked


async def test_redirects_that_are_allowed_take_no_secrets_along(site: LyingServer) -> None:
    async with lying(SMALL) as other:
        there = f"{other.url.replace('//', '//eve:hush@')}/x"
        site.handlers["/a.csv"] = lambda ask: ask.answer(302, {"Location": there, "Content-Length": 0})
        connection = at(site, allow_private=True, token="hush-token", headers={"X-Key": "hush-header"})

        assert await read(connection, "a.csv") == SMALL
        assert site.asked[0].headers["authorization"] == "Bearer hush-token"
        assert "hush" not in str([ask.headers for ask in other.asked])


async def test_a_connection_without_a_root_sends_its_secrets_to_nobody(site: LyingServer) -> None:
    connection = HttpConnection(allow_private=True, token="hush-token", headers={"X-Key": "hush-header"})

    assert await read(connection, f"{site.url}/a.csv?year=1") == LARGE
    assert "hush" not in str([ask.headers for ask in site.asked])


async def test_a_server_that_says_when_to_ask_again_is_asked_then(
    site: LyingServer, caplog: pytest.LogCaptureFixture
) -> None:
    async def handler(ask: Ask) -> None:
        busy = len(site.asked) == 1
        await (ask.answer(503, {"Retry-After": "1", "Content-Length": 0}) if busy else site.honest(ask))

    site.handlers["/a.csv"] = handler
    began = time.monotonic()

    assert await read(at(site), "a.csv") == LARGE
    assert time.monotonic() - began >= 1
    assert caplog.messages == ["a.csv cannot be read: the server answers with status 503; trying again"]


@pytest.mark.parametrize(
    ("location", "text"),
    [
        ("/a.csv", "is redirected more than 10 times"),
        ("file:///etc/passwd", "is redirected to something that is not a URL of http or https"),
        ("http://", "is not a URL of http or https"),
        ("http://[hush", "is redirected to something that is not a URL of http or https"),
    ],
)
async def test_redirects_end_somewhere(site: LyingServer, location: str, text: str) -> None:
    site.handlers["/a.csv"] = lambda ask: ask.answer(302, {"Location": location, "Content-Length": 0})

    assert str(await failure(at(site), "a.csv")) == f"a.csv {text}"


@pytest.mark.parametrize(
    "path",
    [
        "../a.csv",
        "x/../../a.csv",
        "%2e%2e/a.csv",
        "x/%2E./a.csv",
        "..%2fa.csv",
        "..\\a.csv",
        "x/..;y/a.csv",
        "x/..\0/a.csv",
    ],
)
async def test_paths_stay_below_the_root_of_their_connection(site: LyingServer, path: str) -> None:
    assert "could lead out of its connection" in str(await failure(HttpConnection(root=f"{site.url}/x"), path))
    assert not site.asked


async def test_an_index_page_leads_to_nothing_but_what_is_in_its_directory(site: LyingServer) -> None:
    site.media_type = "text/html; charset=utf-8"
    site.body = rb"""<html><body><h1>Index</h1><a href="?C=N;O=D">Name</a>
        <A class=x HREF='a.csv'>a</A> <a href=b/>b/</a> <a href="/d/c.csv">c</a> <a href="n&amp;o.csv">n</a>
        <a href="../">up</a> <a href="/">top</a> <a href="/e/d.csv">d</a> <a href="b/deep.csv">x</a>
        <a href="http://169.254.169.254/d/e.csv">e</a> <a href="//other/d/f.csv">f</a> <a href="a.csv">again</a>
        <a href="%2e%2e/g">g</a> <a href="..%2fh">h</a> <a href="i.csv?x=1">i</a> <a href="q\r">q</a>
        <a href="javascript:alert(1)">j</a> <a href="mailto:k@l">k</a> <a href="#m">m</a> <a name="p">p</a>"""

    found = await asyncio.to_thread(file_system(at(site)).ls, f"{site.url}/d", detail=False)

    assert found == [f"{site.url}/d/{name}" for name in ("a.csv", "b", "c.csv", "n&o.csv")]
