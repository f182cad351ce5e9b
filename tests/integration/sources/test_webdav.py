"""WebDAV: names, versions, redirects, and servers that break off or lie."""

import logging
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from msgspec.structs import replace

from actors.sources import webdav
from actors.sources.errors import ChangedError, MomentaryError, SourceError
from actors.sources.file import CHUNK_BYTES, SourceFile
from actors.sources.registry import file_system
from events.sources import WebdavConnection
from rota.errors import RotaError
from tests.integration.sources.apache import PASSWORD, USER, Apache
from tests.integration.sources.reading import content

SMALL = b"id,name\n1,Ann\n2,Bob\n"
LARGE = bytes(range(256)) * (2 * CHUNK_BYTES // 256) + b"end"
MULTISTATUS = """<?xml version="1.0"?><D:multistatus xmlns:D="DAV:">{}</D:multistatus>"""
ENTRY = """<D:response><D:href>{path}</D:href><D:propstat><D:prop><D:resourcetype>{kind}</D:resourcetype>\
<D:getcontentlength>{size}</D:getcontentlength><D:getetag>"v1"</D:getetag></D:prop>\
<D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response>"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Apache]:
    with Apache(tmp_path_factory.mktemp("apache")) as running:
        running.put("small.csv", SMALL)
        running.put("large.bin", LARGE)
        yield running


class Answers(BaseHTTPRequestHandler):
    """Answers as the test says."""

    protocol_version = "HTTP/1.1"
    answer: Callable[["Answers"], None]
    listing: Callable[["Answers"], str]

    def do_PROPFIND(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.give(207, type(self).listing(self).encode())

    def do_GET(self) -> None:
        type(self).answer(self)

    def give(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def one_file(size: int = len(LARGE)) -> Callable[[Answers], str]:
    return lambda request: MULTISTATUS.format(ENTRY.format(path=request.path, kind="", size=size))


@contextmanager
def lying(
    answer: Callable[[Answers], None], listing: Callable[[Answers], str] | None = None
) -> Iterator[WebdavConnection]:
    kind = type(
        "Kind", (Answers,), {"answer": staticmethod(answer), "listing": staticmethod(listing or one_file())}
    )
    with ThreadingHTTPServer(("127.0.0.1", 0), kind) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield WebdavConnection(
                root=f"http://127.0.0.1:{running.server_port}/dav", user="u", password="hush-hush"
            )
        finally:
            running.shutdown()
            thread.join()


def ranged(request: Answers) -> tuple[int, str]:
    """Return the start of the range that is asked for, and the header that answers it."""
    start = int(request.headers.get("Range", "bytes=0-")[6:].split("-")[0])
    return start, f"bytes {start}-{len(LARGE) - 1}/{len(LARGE)}"


def failure(connection: WebdavConnection, path: str = "small.csv") -> RotaError:
    with pytest.raises(RotaError) as caught:
        content(connection, path)
    assert "hush" not in str(caught.value)
    assert PASSWORD not in str(caught.value)
    return caught.value


def test_user_and_password_may_stand_in_the_root(server: Apache) -> None:
    root = server.url.replace("//", f"//{USER}:{PASSWORD}@")

    assert content(WebdavConnection(root=root), "small.csv") == SMALL


def test_a_token_is_sent_to_the_server() -> None:
    seen = []

    def answer(request: Answers) -> None:
        seen.append(request.headers["Authorization"])
        request.give(200, SMALL)

    with lying(answer, one_file(len(SMALL))) as connection:
        assert content(replace(connection, user=None, token="hush-hush"), "a.csv") == SMALL

    assert seen == ["Bearer hush-hush"]


def test_a_redirect_to_an_address_that_is_not_public_is_not_followed(server: Apache) -> None:
    error = failure(server.connection(), "inside/small.csv")

    assert str(error) == "The WebDAV server redirects to an address that is not public (allow_private)"


def test_a_redirect_to_another_server_is_followed_without_the_password_where_that_is_allowed() -> None:
    seen = []

    def inside(request: Answers) -> None:
        seen.append(request.headers["Authorization"])
        request.give(200, SMALL)

    with lying(inside) as target:
        port = target.root.split(":")[2].split("/")[0]

        def away(request: Answers) -> None:
            request.give(302, b"", Location=f"http://127.0.0.1:{port}/a.csv")

        with lying(away, one_file(len(SMALL))) as connection:
            assert isinstance(failure(connection, "a.csv"), SourceError)
            assert seen == []
            assert content(replace(connection, allow_private=True), "a.csv") == SMALL

    assert seen == [None]


def test_a_redirect_in_a_circle_is_an_error() -> None:
    with lying(lambda request: request.give(302, b"", Location=request.path)) as connection:
        assert str(failure(connection)) == "The WebDAV server redirects in a circle"


def test_a_body_that_breaks_off_goes_on_from_the_byte_that_was_reached() -> None:
    starts = []

    def answer(request: Answers) -> None:
        start, header = ranged(request)
        starts.append(start)
        body = LARGE[start:]
        request.send_response(206 if start else 200)
        request.send_header("Content-Length", str(len(body)))
        request.send_header("ETag", '"v1"')
        if start:
            request.send_header("Content-Range", header)
        request.end_headers()
        request.wfile.write(body[: 3 * 1024 * 1024])
        request.close_connection = True

    with lying(answer) as connection:
        assert content(connection, "large.bin") == LARGE

    assert len(starts) > 2


def test_a_server_without_ranges_is_read_from_the_start_and_in_the_middle() -> None:
    with lying(lambda request: request.give(200, LARGE)) as connection:
        assert content(connection, "large.bin", CHUNK_BYTES + 7) == LARGE[CHUNK_BYTES + 7 :]
        with closing(SourceFile(connection, "large.bin")) as file:
            assert file.read_at(len(LARGE) - 3, 10) == b"end"
            assert file.read_at(1, 3) == LARGE[1:4]


def test_a_file_that_changes_is_not_read_on() -> None:
    versions = iter(["v1", "v2"])

    def answer(request: Answers) -> None:
        start, header = ranged(request)
        more = {"Content_Range": header} if start else {}
        request.give(206 if start else 200, LARGE[start:], ETag=f'"{next(versions)}"', **more)

    with lying(answer) as connection, closing(SourceFile(connection, "large.bin")) as file:
        assert file.read_at(1, 3) == LARGE[1:4]
        with pytest.raises(ChangedError, match="was changed while it was read"):
            file.read_at(6 * 1024 * 1024, 3)


def test_a_range_that_nobody_asked_for_is_an_error() -> None:
    def answer(request: Answers) -> None:
        request.give(206, LARGE, Content_Range=f"bytes 0-{len(LARGE) - 1}/{len(LARGE)}")

    with (
        lying(answer) as connection,
        closing(SourceFile(connection, "large.bin")) as file,
        pytest.raises(SourceError),
    ):
        file.read_at(CHUNK_BYTES, 3)


@pytest.mark.parametrize("size", [3, len(LARGE) + 1, -1])
def test_a_file_that_is_not_as_long_as_its_server_says_is_an_error(size: int) -> None:
    with lying(lambda request: request.give(200, LARGE), one_file(size)) as connection:
        error = failure(connection, "large.bin")

    assert isinstance(error, SourceError)
    assert not isinstance(error, MomentaryError)


def test_an_answer_whose_end_cannot_be_told_from_a_cut_is_an_error() -> None:
    def answer(request: Answers) -> None:
        request.send_response(200)
        request.end_headers()
        request.wfile.write(LARGE)
        request.close_connection = True

    listing = one_file()
    without_size = lambda request: re.sub("<D:getcontentlength>.*?</D:getcontentlength>", "", listing(request))  # noqa: E731 - short
    with lying(answer, without_size) as connection:
        assert "a part could not be told from the whole" in str(failure(connection, "large.bin"))


def test_a_server_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.sources.file.TRIES", 1)
    monkeypatch.setattr(webdav, "TIMEOUT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        error = failure(WebdavConnection(root=f"http://127.0.0.1:{silent.getsockname()[1]}/"))

    assert isinstance(error, MomentaryError)


@pytest.mark.parametrize("listing", ["", "<a", "<a/>", MULTISTATUS.format("<D:response/>")])
def test_a_listing_that_is_none_is_an_error(listing: str) -> None:
    with lying(lambda request: request.give(200, b""), lambda _: listing) as connection:
        assert isinstance(failure(connection), SourceError)


def test_a_listing_has_only_what_lies_in_the_directory() -> None:
    outside = dict.fromkeys(("/etc/passwd", "/dav/in/../b", "/dav/in/c/d"), "")
    kinds = {"/dav/in/": "<D:collection/>", "/dav/in/a.csv": "", **outside}
    entries = "".join(ENTRY.format(path=path, kind=kind, size=1) for path, kind in kinds.items())

    with lying(lambda request: request.give(200, b""), lambda _: MULTISTATUS.format(entries)) as connection:
        found = file_system(connection).ls(f"{connection.root}/in", detail=False)

    assert found == [f"{connection.root}/in/a.csv"]


@pytest.mark.parametrize("root", ["", "ftp://host/", "no url", "http://"])
def test_a_root_that_is_no_url_is_an_error(root: str) -> None:
    with pytest.raises(ValueError, match="root is no URL of http or https"):
        WebdavConnection(root=root)


def test_a_root_that_only_looks_like_a_url_is_an_error() -> None:
    assert str(failure(WebdavConnection(root="http://host:port"))) == "The root of the WebDAV connection is no URL"


def test_library_logs_tell_no_urls(server: Apache, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    content(server.connection(), "small.csv")

    assert "127.0.0.1" not in caplog.text
