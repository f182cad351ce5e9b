"""SFTP: who the server is, who the user is, connections that are lost, links, and how fast a file is read."""

import getpass
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from msgspec.structs import replace

from actors.sources import sftp
from actors.sources.errors import ChangedError, MomentaryError, SourceError
from actors.sources.file import CHUNK_BYTES, SourceFile
from actors.sources.registry import file_system
from events.sources import SftpConnection
from rota.errors import NotFoundError, RotaError
from scripts.stack import free_port
from tests.integration.sources.rclone import Rclone
from tests.integration.sources.reading import content
from tests.integration.sources.sshd import PASSPHRASE, Sshd

SMALL = b"id,name\n1,Ann\n2,Bob\n"
LARGE = bytes(range(256)) * (4 * CHUNK_BYTES // 256) + b"end"
OTHER_KEY = asyncssh.generate_private_key("ssh-ed25519")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with Sshd(tmp_path_factory.mktemp("sshd")) as running:
        running.put("small.csv", SMALL)
        running.put("large.bin", LARGE)
        yield running


def changed(server: Sshd, **settings: Any) -> SftpConnection:
    return replace(server.connection(), **settings)


def failure(connection: SftpConnection, path: str = "small.csv") -> RotaError:
    with pytest.raises(RotaError) as caught:
        content(connection, path)
    for secret in (PASSPHRASE, "hush", "PRIVATE KEY"):
        assert secret not in str(caught.value)
    return caught.value


def public(key: asyncssh.SSHKey) -> str:
    return key.export_public_key().decode().strip()


def test_a_server_with_another_host_key_gets_nothing_and_the_error_says_so(server: Sshd) -> None:
    error = failure(changed(server, host_key=public(OTHER_KEY)))

    assert type(error) is SourceError
    assert str(error) == f"The SFTP server 127.0.0.1:{server.port} has not the host key that the connection knows"


def test_a_server_with_a_host_key_of_another_kind_is_not_the_one(server: Sshd) -> None:
    error = failure(changed(server, host_key=public(asyncssh.generate_private_key("ecdsa-sha2-nistp256"))))

    assert type(error) is SourceError
    assert "host key" in str(error)


def test_a_connection_needs_a_host_key_or_known_hosts(server: Sshd) -> None:
    error = failure(changed(server, host_key=None))

    assert str(error) == "The SFTP connection needs host_key or known_hosts, to know the server by"


def test_the_host_key_may_stand_in_a_file_of_known_hosts(server: Sshd, tmp_path: Path) -> None:
    known = tmp_path / "known_hosts"
    known.write_text(f"[127.0.0.1]:{server.port} {server.host_key}\n")

    assert content(changed(server, host_key=None, known_hosts=str(known)), "small.csv") == SMALL


def test_a_host_that_known_hosts_does_not_have_is_unknown(server: Sshd, tmp_path: Path) -> None:
    known = tmp_path / "known_hosts"
    known.write_text(f"other.example {server.host_key}\n")

    assert type(failure(changed(server, host_key=None, known_hosts=str(known)))) is SourceError


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"host_key": "ssh-ed25519 hush"}, "The host_key of the SFTP connection is no public key"),
        (
            {"host_key": None, "known_hosts": "/nowhere/known_hosts"},
            "The known_hosts of the SFTP connection cannot be read: No such file or directory",
        ),
        (
            {"private_key": "/nowhere/id"},
            "The private_key of the SFTP connection cannot be read: No such file or directory",
        ),
        (
            {"private_key": "-----BEGIN hush"},
            "The private_key of the SFTP connection is no private key",
        ),
        (
            {"passphrase": None},
            "The private_key of the SFTP connection needs a passphrase, or is no private key",
        ),
        ({"passphrase": "hush"}, "The passphrase of the SFTP connection does not open its private_key"),
        ({"private_key": None}, "The SFTP connection has neither password nor private_key"),
    ],
)
def test_a_wrong_setting_is_named(server: Sshd, settings: dict[str, Any], text: str) -> None:
    assert str(failure(changed(server, **settings))) == text


def test_a_private_key_may_stand_in_a_file(server: Sshd, tmp_path: Path) -> None:
    path = tmp_path / "id_ed25519"
    path.write_text(server.private_key)

    assert content(changed(server, private_key=str(path)), "small.csv") == SMALL


def test_a_private_key_that_the_server_does_not_know_is_refused(server: Sshd) -> None:
    error = failure(changed(server, private_key=OTHER_KEY.export_private_key().decode(), passphrase=None))

    assert (type(error), str(error)) == (NotFoundError, "small.csv may not be read with this connection")


def test_keys_and_settings_of_the_user_that_runs_the_reader_are_not_used(
    server: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / ".ssh"
    folder.mkdir()
    (folder / "id_ed25519").write_bytes(
        asyncssh.import_private_key(server.private_key, PASSPHRASE).export_private_key()
    )
    (folder / "config").write_text(f"Host *\n  User {getpass.getuser()}\n  IdentityFile {folder}/id_ed25519\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))

    error = failure(changed(server, private_key=None, passphrase=None, password="hush"))

    assert str(error) == "small.csv may not be read with this connection"


def test_what_may_not_be_read_is_told_apart_from_what_is_not_there(tmp_path: Path) -> None:
    with Rclone("sftp", tmp_path) as rclone:
        rclone.put("small.csv", SMALL)
        connection = rclone.connection()
        assert isinstance(connection, SftpConnection)

        assert content(connection, "small.csv") == SMALL
        assert str(failure(connection, "missing.csv")) == "missing.csv is not there"


def test_reading_goes_on_after_the_connection_was_lost(server: Sshd) -> None:
    with closing(SourceFile(server.connection(), "large.bin")) as file, closing(file.chunks()) as chunks:
        pieces = [next(chunks)]
        end_sessions(server)
        pieces += list(chunks)

    assert b"".join(pieces) == LARGE


def test_reading_goes_on_after_the_server_was_killed_and_started_again(tmp_path: Path) -> None:
    with Sshd(tmp_path) as server:
        server.put("large.bin", LARGE)
        with closing(SourceFile(server.connection(), "large.bin")) as file:
            first = file.read_at(0, CHUNK_BYTES)
            end_sessions(server)
            server.service.kill()
            server.service.spawn()
            rest = file.read_at(CHUNK_BYTES, len(LARGE))

    assert first + rest == LARGE


def test_a_server_that_is_not_there_is_named(server: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.sources.file.TRIES", 1)

    error = failure(changed(server, port=free_port()))

    assert isinstance(error, MomentaryError)


def test_a_server_that_says_nothing_is_given_up(server: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.sources.file.TRIES", 1)
    monkeypatch.setattr(sftp, "CONNECT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        error = failure(changed(server, port=silent.getsockname()[1]))

    assert isinstance(error, MomentaryError)


def test_a_server_that_falls_silent_is_given_up_and_asked_again(
    server: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sftp, "SILENCE_SECONDS", 0.5)
    with closing(SourceFile(changed(server, user=getpass.getuser()), "large.bin")) as file:
        file.read_at(0, 10)
        stopped = sessions(server)
        for process in stopped:
            os.kill(process, 19)  # SIGSTOP
        try:
            assert file.read_at(5, 10) == LARGE[5:15]
        finally:
            for process in stopped:
                os.kill(process, 9)


def test_a_file_that_became_another_one_is_not_read_on(server: Sshd) -> None:
    server.put("changing.bin", LARGE)
    with closing(SourceFile(server.connection(), "changing.bin")) as file:
        file.read_at(0, 10)
        server.put("changing.bin", LARGE[: len(LARGE) // 2])

        with pytest.raises(ChangedError):
            file.read_at(CHUNK_BYTES, 10)


@pytest.mark.parametrize("name", ["out/hostname", "secret.csv"])
def test_a_file_that_a_link_leads_to_out_of_the_root_is_refused(server: Sshd, tmp_path: Path, name: str) -> None:
    folder = server.files / "root"
    folder.mkdir(exist_ok=True)
    (tmp_path / "secret.csv").write_bytes(b"a\n")
    (tmp_path / "hostname").write_bytes(b"a\n")
    for link, target in (("out", tmp_path), ("secret.csv", tmp_path / "secret.csv")):
        (folder / link).unlink(missing_ok=True)
        (folder / link).symlink_to(target)

    with pytest.raises(NotFoundError, match=f"^{name} leads out of the root of its connection$"):
        SourceFile(replace(server.connection(), root=str(folder)), name)


def test_a_link_shows_as_a_link_and_where_it_leads(server: Sshd) -> None:
    folder = server.files / "links"
    folder.mkdir()
    (folder / "in.csv").symlink_to(server.files / "small.csv")
    (folder / "out").symlink_to("/etc")
    (folder / "broken").symlink_to("nowhere")
    (folder / "loop").symlink_to(".")
    files = file_system(server.connection())

    found = {Path(info["name"]).name: (info["type"], info["islink"]) for info in files.ls(str(folder), detail=True)}

    assert found == dict.fromkeys(("in.csv", "out", "broken", "loop"), ("link", True))
    assert files.info(f"{folder}/in.csv")["type"] == "file"
    assert files.realpath(f"{folder}/in.csv") == str(server.files / "small.csv")
    assert files.realpath(f"{folder}/out") == "/etc"
    assert files.realpath(f"{folder}/loop/loop") == str(folder)


def test_a_name_that_is_no_unicode_is_listed_and_read(server: Sshd) -> None:
    folder = server.files / "bytes"
    folder.mkdir()
    (folder / os.fsdecode(b"caf\xe9.csv")).write_bytes(SMALL)

    (found,) = file_system(server.connection()).ls(str(folder), detail=False)

    assert content(replace(server.connection(), root=""), found) == SMALL


def test_a_relative_root_begins_at_the_home_of_the_user(server: Sshd) -> None:
    home = Path(file_system(server.connection()).realpath("."))
    relative = os.path.relpath(server.files, home)

    assert content(replace(server.connection(), root=relative), "small.csv") == SMALL


def test_library_logs_tell_neither_users_nor_addresses(server: Sshd, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    sftp.file_system.cache_clear()

    content(server.connection(), "small.csv")

    assert "127.0.0.1" not in caplog.text
    assert getpass.getuser() not in [record.name for record in caplog.records]


def test_a_file_is_read_faster_than_a_request_at_a_time(server: Sshd) -> None:
    connection = server.connection()
    content(connection, "small.csv")
    started = time.perf_counter()

    assert content(connection, "large.bin") == LARGE

    assert len(LARGE) / (time.perf_counter() - started) > 5 * 1024 * 1024


def sessions(server: Sshd) -> list[int]:
    """Return the processes of sshd that serve connections."""
    children = Path(f"/proc/{server.service.process.pid}/task/{server.service.process.pid}/children").read_text()
    found = [int(child) for child in children.split()]
    for child in found:
        found += [int(one) for one in Path(f"/proc/{child}/task/{child}/children").read_text().split()]
    return found


def end_sessions(server: Sshd) -> None:
    for process in sessions(server):
        os.kill(process, 9)
