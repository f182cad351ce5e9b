"""Selection on real servers: the index pages of a web server, S3, WebDAV, and SFTP."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import pytest
from fsspec.asyn import sync

from actors.sources.registry import file_system
from actors.sources.walk import walk
from events.sources import Connection, HttpConnection, S3Connection, SftpConnection, WebdavConnection
from rota.errors import NotFoundError
from rota.options import Selection
from scripts.stack import Service, free_port, port_in_use, program
from scripts.store import BUCKET, KEY, SECRET, Store

TREE = ["a.csv", "b b.csv", "sub/c.csv", "sub/deep/100% & d.csv", "sub.csv", ".hidden/e.csv"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("walk")
    for name in TREE:
        path = folder / BUCKET / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return folder


@pytest.fixture(scope="module", params=["http", "s3", "webdav"])
def connection(request: pytest.FixtureRequest, folder: Path) -> Iterator[Connection]:
    if request.param == "s3":
        with Store(folder) as store:
            yield S3Connection(endpoint=store.endpoint, key=KEY, secret=SECRET, root=f"{BUCKET}/tree")
        return
    port = free_port()
    command = [program("rclone"), "serve", request.param, "--addr", f"127.0.0.1:{port}", str(folder / BUCKET)]
    environment = {"HOME": str(folder), "RCLONE_CONFIG": str(folder / "rclone.conf")}
    service = Service("rclone", command, environment, folder / f"{request.param}.log", says_ready=False)
    service.start()
    service.wait(lambda: port_in_use("127.0.0.1", port))
    kind = HttpConnection if request.param == "http" else WebdavConnection
    yield kind(root=f"http://127.0.0.1:{port}/tree", allow_private=True)
    service.stop()


def selected(connection: Connection, *entries: str, recursive: bool = False) -> list[str]:
    return list(walk(file_system(connection), connection.root, entries, Selection(recursive=recursive)))


def test_directories_and_globs_stand_for_their_files(connection: Connection) -> None:
    assert selected(connection, "sub/") == ["sub/c.csv"]
    assert selected(connection, "*.csv") == ["a.csv", "b b.csv", "sub.csv"]
    assert selected(connection, "b *.csv", "a.csv") == ["b b.csv", "a.csv"]
    assert selected(connection, "none*.csv") == []


def test_what_is_found_can_be_read(connection: Connection) -> None:
    found = selected(connection, "sub/", "**", recursive=True)
    files = file_system(connection)

    def content(path: str) -> bytes:
        with files.open(f"{connection.root}/{path}", "rb") as file:
            return bytes(file.read())

    assert [content(path) for path in found] == [
        name.encode() for name in ["sub/c.csv", "sub/deep/100% & d.csv", "a.csv", "b b.csv", "sub.csv"]
    ]


def test_a_directory_that_is_not_there_is_named(connection: Connection) -> None:
    with pytest.raises(NotFoundError, match="missing/ is not there"):
        selected(connection, "missing/")


class Login(asyncssh.SSHServer):
    def __init__(self, lost: asyncio.Event) -> None:
        self._lost = lost

    def connection_lost(self, _: Exception | None) -> None:
        self._lost.set()

    def begin_auth(self, _: str) -> bool:
        return True

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, _: str, password: str) -> bool:
        return password == SECRET


async def test_links_on_an_sftp_server_lead_neither_out_of_the_root_nor_in_circles(tmp_path: Path) -> None:
    (tmp_path / "tree" / "sub").mkdir(parents=True)
    (tmp_path / "secret.csv").touch()
    for name in ("a.csv", "sub/b.csv"):
        (tmp_path / "tree" / name).touch()
    (tmp_path / "tree" / "out").symlink_to(tmp_path)
    (tmp_path / "tree" / "secret.csv").symlink_to(tmp_path / "secret.csv")
    (tmp_path / "tree" / "sub" / "up").symlink_to("..")
    (tmp_path / "tree" / "link.csv").symlink_to("a.csv")
    lost = asyncio.Event()
    key = asyncssh.generate_private_key("ssh-ed25519")
    async with await asyncssh.listen(
        "127.0.0.1", 0, server_host_keys=[key], server_factory=lambda: Login(lost), sftp_factory=True
    ) as server:
        connection = SftpConnection(
            host="127.0.0.1",
            port=server.get_port(),
            user="rota",
            password=SECRET,
            host_key=key.export_public_key().decode(),
            root=str(tmp_path / "tree"),
        )

        assert await asyncio.to_thread(selected, connection, "**") == ["a.csv", "link.csv", "sub/b.csv"]
        assert await asyncio.to_thread(selected, connection, "sub/") == ["sub/b.csv"]
        files = file_system(connection)
        await asyncio.to_thread(sync, files.loop, files._pool.close)
        await asyncio.wait_for(lost.wait(), 10)
        await asyncio.sleep(0)  # the transport is closed in the loop's next round
