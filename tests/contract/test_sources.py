"""What every source does, over real servers: files from any offset, versions, errors, listings."""

import logging
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import pytest

from actors.sources.errors import ChangedError, SourceError
from actors.sources.file import CHUNK_BYTES, SourceFile
from actors.sources.registry import file_system, full_path
from actors.sources.walk import walk
from events.sources import Connection
from rota.errors import NotFoundError, RotaError
from rota.options import Selection
from tests.integration.sources import apache, juicefs, rclone, seaweedfs, sshd

LARGE = random.Random(1).randbytes(2 * CHUNK_BYTES + 12_345)
SMALL = b"id,name\n1,Ann\n2,Bob\n"
NAMES = [
    "with space.csv",
    "ünï-中.csv",
    "50%25 off#1.csv",
    "a+b&c=d;e.csv",
    "what?.csv",
    "[x]'(y)!$,@~.csv",
    ".hidden",
]
SECRETS = (apache.PASSWORD, juicefs.SECRET, rclone.PASSWORD, seaweedfs.SECRET, sshd.PASSPHRASE, "wrong-hush-hush")


class Server(Protocol):
    """A real server of files."""

    def put(self, name: str, body: bytes) -> str:
        """Store a file; return its path below the connection."""

    def connection(self, password: str = ...) -> Connection:
        """Return a connection to its files."""


SERVERS: dict[str, Callable[[Path], Any]] = {
    "http-rclone": partial(rclone.Rclone, "http"),
    "s3-juicefs": juicefs.Juicefs,
    "s3-rclone": partial(rclone.Rclone, "s3"),
    "s3-seaweedfs": seaweedfs.Seaweedfs,
    "sftp-rclone": partial(rclone.Rclone, "sftp"),
    "sftp-sshd": sshd.Sshd,
    "webdav-apache": apache.Apache,
    "webdav-rclone": partial(rclone.Rclone, "webdav"),
}


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with SERVERS[request.param](tmp_path_factory.mktemp(request.param)) as running:
        running.put("large.bin", LARGE)
        running.put("in/small.csv", SMALL)
        running.put("in/deeper/other.csv", SMALL)
        running.put("empty.csv", b"")
        for name in NAMES:
            running.put(f"names/{name}", name.encode())
        yield running


@pytest.fixture(autouse=True)
def told(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level(logging.DEBUG)
    yield
    for secret in SECRETS:
        assert secret not in caplog.text


def content(connection: Connection, path: str, offset: int = 0) -> bytes:
    file = SourceFile(connection, path)
    try:
        return b"".join(file.chunks(offset))
    finally:
        file.close()


def failure(connection: Connection, path: str) -> RotaError:
    """Return the error of reading a file; neither it nor what stands behind it shows a secret."""
    with pytest.raises(RotaError) as caught:
        content(connection, path)
    error: BaseException | None = caught.value
    while error is not None:
        for secret in SECRETS:
            assert secret not in repr(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return caught.value


def listing(connection: Connection, path: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = file_system(connection).ls(full_path(connection, path), detail=True)
    return sorted(found, key=lambda info: str(info["name"]))


@pytest.mark.parametrize("offset", [0, 1, CHUNK_BYTES, CHUNK_BYTES + 7, len(LARGE) - 1, len(LARGE)])
def test_a_file_is_read_from_any_offset(server: Server, offset: int) -> None:
    assert content(server.connection(), "large.bin", offset) == LARGE[offset:]


@pytest.mark.parametrize(("path", "body"), [("in/small.csv", SMALL), ("/in/small.csv", SMALL), ("empty.csv", b"")])
def test_a_small_file_is_read_whole(server: Server, path: str, body: bytes) -> None:
    assert content(server.connection(), path) == body


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_taken_as_it_stands(server: Server, name: str) -> None:
    assert content(server.connection(), f"names/{written(server, name)}") == name.encode()


def test_bytes_are_read_from_anywhere_and_fewer_only_at_the_end(server: Server) -> None:
    with ExitStack() as stack:
        file = SourceFile(server.connection(), "large.bin")
        stack.callback(file.close)

        assert file.read_at(len(LARGE) - 5, 100) == LARGE[-5:]
        assert file.read_at(CHUNK_BYTES - 3, 10) == LARGE[CHUNK_BYTES - 3 : CHUNK_BYTES + 7]
        assert file.read_at(0, 1) == LARGE[:1]
        assert file.read_at(len(LARGE), 10) == b""


def test_several_files_are_read_at_once(server: Server) -> None:
    found: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: found.append(content(server.connection(), "large.bin"))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert [body == LARGE for body in found] == [True] * 3


def test_a_file_tells_its_size_and_stays_the_same_version(server: Server) -> None:
    file = SourceFile(server.connection(), "in/small.csv")

    file.check_unchanged()

    assert file.size == len(SMALL)
    assert file.version


def test_a_file_that_is_changed_is_noticed(server: Server) -> None:
    # A small one may have come whole with the first request.
    server.put("changing.csv", LARGE)
    file = SourceFile(server.connection(), "changing.csv")
    server.put("changing.csv", LARGE + b"3,Eve\n")

    with pytest.raises(ChangedError, match=r"changing\.csv was changed while it was read"):
        file.check_unchanged()


def test_a_file_that_is_changed_in_the_middle_gives_no_bytes_of_two_versions(server: Server) -> None:
    server.put("changing.bin", LARGE)
    file = SourceFile(server.connection(), "changing.bin")
    assert file.read_at(0, 10) == LARGE[:10]
    server.put("changing.bin", LARGE[::-1] + b"more")

    def read_on() -> None:
        file.read_at(2 * CHUNK_BYTES, 10)
        file.check_unchanged()

    with pytest.raises(ChangedError):
        read_on()


def test_a_file_that_is_not_there_is_named(server: Server) -> None:
    error = failure(server.connection(), "in/missing.csv")

    assert (type(error), str(error)) == (NotFoundError, "in/missing.csv is not there")


def test_a_directory_is_no_file(server: Server) -> None:
    error = failure(server.connection(), "in")

    assert isinstance(error, SourceError | NotFoundError)


def test_a_path_cannot_leave_the_root(server: Server) -> None:
    error = failure(server.connection(), "in/../../secret.csv")

    assert isinstance(error, SourceError)


def test_wrong_credentials_are_refused_at_once_and_not_shown(server: Server) -> None:
    error = failure(server.connection("wrong-hush-hush"), "in/small.csv")

    assert type(error) in (NotFoundError, SourceError)
    assert "may not be read with this connection" in str(error) or "passphrase" in str(error)


def test_a_directory_lists_what_lies_in_it(server: Server) -> None:
    connection = server.connection()

    found = listing(connection, "in")

    names = [full_path(connection, "in/deeper"), full_path(connection, "in/small.csv")]
    assert [(info["name"].rstrip("/"), info["type"]) for info in found] == list(
        zip(names, ["directory", "file"], strict=True)
    )
    assert found[1]["size"] in (len(SMALL), None)


def test_the_root_lists_what_lies_in_it(server: Server) -> None:
    connection = server.connection()
    files = partial(walk, file_system(connection), full_path(connection, ""))

    assert "empty.csv" in list(files(["*.csv"], Selection()))
    assert "in/small.csv" in list(files(["i*/"], Selection()))


def test_a_listed_name_can_be_read(server: Server) -> None:
    connection = server.connection()
    root = full_path(connection, "")

    found = listing(connection, "names")

    paths = [info["name"].removeprefix(root) for info in found]
    assert sorted(content(connection, path).decode() for path in paths) == sorted(NAMES)


def written(server: Server, name: str) -> str:
    """Return a name as paths of a source write it: those of HTTP are parts of URLs."""
    if server.connection().kind == "http":
        return name.replace("%", "%25").replace("#", "%23").replace("?", "%3F")
    return name
