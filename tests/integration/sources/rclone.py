"""`rclone serve` over a folder: HTTP, S3, SFTP or WebDAV, each with one user."""

import os
from pathlib import Path
from typing import Self

import asyncssh

from events.sources import Connection, HttpConnection, S3Connection, SftpConnection, WebdavConnection
from scripts.stack import Service, free_port, port_in_use, program

USER = "reader"
PASSWORD = "rclone-pass-phrase"
BUCKET = "data"


class Rclone:
    """One of rclone's servers; its files are those of the folder `files/data`."""

    def __init__(self, kind: str, folder: Path) -> None:
        self._kind = kind
        self._folder = folder
        self.files = folder / "files" / BUCKET
        self.port = free_port()

    def __enter__(self) -> Self:
        self.files.mkdir(parents=True, exist_ok=True)
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
        home = {"HOME": str(self._folder), "RCLONE_CONFIG": str(self._folder / "rclone.conf")}
        self.service = Service("rclone", command, os.environ | home, self._folder / "rclone.log", says_ready=False)
        self.start()
        return self

    def start(self) -> None:
        """Start it, again if it was ended."""
        self.service.start()
        self.service.wait(lambda: port_in_use("127.0.0.1", self.port))

    def __exit__(self, *_: object) -> None:
        self.service.stop()

    def put(self, name: str, body: bytes) -> str:
        """Store a file; return its path below the connection."""
        path = self.files / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
        return name

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
