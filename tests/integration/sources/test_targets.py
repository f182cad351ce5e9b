"""What every target does, over real servers: files that are there whole or not at all, and replace nothing."""

import io
import logging
import random
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import pytest
from msgspec.structs import replace

from actors.sources.errors import SourceError
from actors.sources.registry import file_system
from actors.sources.target import TakenError, remove, write_once
from actors.sources.walk import walk
from events.sources import Connection, HttpConnection, S3Connection, WebdavConnection
from rota.options import Selection
from tests.integration.sources import apache, juicefs, rclone, seaweedfs, sshd
from tests.integration.sources.reading import content
from tests.integration.sources.writable import WritableApache

LARGE = random.Random(2).randbytes(5 * 1024 * 1024 + 12_345)
SMALL = b'{"a":1}\n'
SECRETS = (apache.PASSWORD, juicefs.SECRET, rclone.PASSWORD, seaweedfs.SECRET, sshd.PASSPHRASE, "wrong-hush-hush")


class Server(Protocol):
    """A real server of files."""

    def put(self, name: str, body: bytes) -> str:
        """Store a file; return its path below the connection."""

    def connection(self, password: str = ...) -> Connection:
        """Return a connection to its files."""


SERVERS: dict[str, Callable[[Path], Any]] = {
    "s3-juicefs": juicefs.Juicefs,
    "s3-seaweedfs": seaweedfs.Seaweedfs,
    "sftp-sshd": sshd.Sshd,
    "webdav-apache": WritableApache,
    "webdav-rclone": partial(rclone.Rclone, "webdav"),
}


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with SERVERS[request.param](tmp_path_factory.mktemp(request.param)) as running:
        yield running


@pytest.fixture(autouse=True)
def told(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level(logging.DEBUG)
    yield
    for secret in SECRETS:
        assert secret not in caplog.text


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.sources.target.TRY_AGAIN_SECONDS", 0.01)


def written(connection: Connection, path: str, body: bytes) -> None:
    folder, slash, name = path.rpartition("/")
    write_once(connection, path, io.BytesIO(body), len(body), f"{folder}{slash}.{name}.c1.part")


def listed(connection: Connection, folder: str) -> list[str]:
    return list(walk(file_system(connection), connection.root, [folder], Selection(hidden=True)))


def failure(connection: Connection, path: str = "failing/a.ndjson", body: bytes = SMALL) -> SourceError:
    with pytest.raises(SourceError) as caught:
        written(connection, path, body)
    shown = "".join(traceback.format_exception(caught.value))
    assert not any(secret in shown for secret in SECRETS)
    return caught.value


@pytest.mark.parametrize("body", [b"", SMALL, LARGE], ids=["empty", "small", "large"])
def test_a_file_is_written_into_folders_that_are_made(server: Server, body: bytes) -> None:
    path = f"new/{len(body)}/deeper/ü b.ndjson"

    written(server.connection(), path, body)

    assert content(server.connection(), path) == body
    assert listed(server.connection(), f"new/{len(body)}/deeper/") == [path]


def test_a_file_that_is_there_stays_as_it_is(server: Server) -> None:
    server.put("taken/a.ndjson", b"theirs")

    error = failure(server.connection(), "taken/a.ndjson")

    assert isinstance(error, TakenError)
    assert str(error) == "taken/a.ndjson is there already; name another path"
    assert content(server.connection(), "taken/a.ndjson") == b"theirs"
    assert listed(server.connection(), "taken/") == ["taken/a.ndjson"]


def test_what_another_try_has_left_is_replaced(server: Server) -> None:
    server.put("again/.a.ndjson.c1.part", LARGE)

    written(server.connection(), "again/a.ndjson", SMALL)

    assert content(server.connection(), "again/a.ndjson") == SMALL


def test_a_file_that_breaks_off_is_not_there(server: Server) -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() >= 1_000_000:
                raise OSError(5, "the disk is broken")
            return super().read(min(1_000_000, len(LARGE)) if size is None or size < 0 else min(size, 1_000_000))

    with pytest.raises(SourceError, match=r"broken/a\.ndjson cannot be written"):
        write_once(server.connection(), "broken/a.ndjson", Broken(LARGE), len(LARGE), "broken/.a.ndjson.c1.part")

    with pytest.raises(Exception, match="not there"):
        content(server.connection(), "broken/a.ndjson")
    written(server.connection(), "broken/a.ndjson", LARGE)
    assert content(server.connection(), "broken/a.ndjson") == LARGE


def test_a_file_is_removed_and_one_that_is_gone_does_no_harm(server: Server) -> None:
    written(server.connection(), "gone/a.ndjson", SMALL)

    remove(server.connection(), "gone/a.ndjson")
    remove(server.connection(), "gone/a.ndjson")

    with pytest.raises(Exception, match="not there"):
        content(server.connection(), "gone/a.ndjson")


def test_a_wrong_password_is_an_error_that_does_not_show_it(server: Server) -> None:
    failure(server.connection("wrong-hush-hush"))


def test_no_path_leads_out_of_the_root(server: Server) -> None:
    with pytest.raises(SourceError, match="could lead out of its connection"):
        written(server.connection(), "in/../../a.ndjson", SMALL)


def test_a_large_object_is_put_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.sources.s3_target.PART_BYTES", 5 * 1024 * 1024)
    for kind in (juicefs.Juicefs, seaweedfs.Seaweedfs, partial(rclone.Rclone, "s3")):
        with kind(tmp_path / str(kind)[-20:].strip("<>' ()")) as server:
            connection = server.connection()

            written(connection, "parts/a.bin", LARGE)

            assert content(connection, "parts/a.bin") == LARGE
            assert isinstance(failure(connection, "parts/a.bin", LARGE[::-1]), TakenError)
            assert content(connection, "parts/a.bin") == LARGE


def test_a_bucket_that_is_not_there_is_named_by_the_error(tmp_path: Path) -> None:
    with rclone.Rclone("s3", tmp_path) as server:
        error = failure(replace(server.connection(), root="nothing"))

    assert str(error) == "failing/a.ndjson cannot be written: its bucket or directory is not there"


def test_who_may_only_read_is_told_so(tmp_path: Path) -> None:
    with seaweedfs.Seaweedfs(tmp_path) as server:
        error = failure(replace(server.connection(), key=None, secret=None))

    assert str(error) == "failing/a.ndjson may not be written with this connection"


def test_a_link_out_of_the_root_is_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    with sshd.Sshd(tmp_path / "server") as server:
        (server.files / "out").symlink_to(outside)

        error = failure(server.connection(), "out/new/a.ndjson")

    assert str(error) == "The path leads out of the root of its connection"
    assert list(outside.iterdir()) == []


def test_a_server_that_is_away_is_an_error_that_says_so(tmp_path: Path) -> None:
    with sshd.Sshd(tmp_path / "s") as server:
        away = server.connection()
    for connection in (
        away,
        S3Connection(endpoint="http://127.0.0.1:9", key="k", secret="wrong-hush-hush", root="data"),
        WebdavConnection(root="http://127.0.0.1:9/dav", user="u", password="wrong-hush-hush"),
    ):
        assert str(failure(connection)).startswith("failing/a.ndjson cannot be written: ")


def test_nothing_is_written_over_http() -> None:
    with pytest.raises(SourceError, match="Nothing can be written to a connection of the kind http"):
        written(HttpConnection(root="http://127.0.0.1:9"), "a.ndjson", SMALL)
