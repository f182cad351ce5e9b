"""`rclone serve` over a folder: HTTP, S3, SFTP or WebDAV, each with one user."""

import os
from collections.abc import Mapping
from pathlib import Path

import asyncssh

from events.sources import Connection, HttpConnection, S3Connection, SftpConnection, WebdavConnection
from scripts.stack import program
from tests.integration.sources.server import FolderServer

USER = "reader"
PASSWORD = "rclone-pass-phrase"
BUCKET = "data"


class Rclone(FolderServer):
    """One of rclone's servers; its files are those of the folder `files/data`."""

    def __init__(self, kind: str, folder: Path) -> None:
        super().__init__(folder)
        self._kind = kind
        self.files /= BUCKET

    def prepare(self) -> list[str]:
        """Write what the program reads, and return its command line."""
        served = self.files.parent if self._kind == "s3" else self.files
        command = [program("rclone"), "serve", self._kind, "--addr", f"127.0.0.1:{self.port}", str(served)]
        command += (
            ["--auth-key", f"{USER},{PASSWORD}"] if self._kind == "s3" else ["--user", USER, "--pass", PASSWORD]
        )
        command += ["--dir-cache-time", "0", "--poll-interval", "0"]
        if self._kind == "sftp":
            key = asyncssh.generate_private_key("ssh-ed25519")
            key.write_private_key(self._folder / "host_key")
            self.host_key = key.export_public_key().decode().strip()
            command += ["--key", str(self._folder / "host_key")]
        return command

    def environment(self) -> Mapping[str, str]:
        """Return an environment in which nobody's configuration is found."""
        return os.environ | {"HOME": str(self._folder), "RCLONE_CONFIG": str(self._folder / "rclone.conf")}

    def connection(self, password: str = PASSWORD) -> Connection:
        """Return a connection to its files."""
        url = f"http://127.0.0.1:{self.port}"
        match self._kind:
            case "http":
                return HttpConnection(root=url, user=USER, password=password)
            case "s3":
                return S3Connection(endpoint=url, key=USER, secret=password, root=BUCKET)
            case "sftp":
                return SftpConnection(
                    host="127.0.0.1", port=self.port, host_key=self.host_key, user=USER, password=password
                )
            case _:
                return WebdavConnection(root=url, user=USER, password=password)
