"""A real JuiceFS with its S3 gateway, which is MinIO's and checks signatures."""

import os
import subprocess
from pathlib import Path
from typing import Self

import s3fs

from events.sources import S3Connection
from scripts.stack import Service, free_port, port_in_use, program

KEY = "juice-key"
SECRET = "juice-secret-words"
BUCKET = "data"


class Juicefs:
    """`juicefs gateway` over a folder, with its metadata in SQLite; the volume is the only bucket."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self.endpoint = f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        meta = f"sqlite3://{self._folder}/meta.db"
        environment = os.environ | {
            "HOME": str(self._folder),
            "MINIO_ROOT_USER": KEY,
            "MINIO_ROOT_PASSWORD": SECRET,
            "GOMEMLIMIT": "256MiB",
        }
        command = [
            program("juicefs"),
            "format",
            "--storage",
            "file",
            "--bucket",
            f"{self._folder}/blocks",
            meta,
            BUCKET,
        ]
        subprocess.run(command, env=environment, check=True, capture_output=True, timeout=60)
        command = [
            program("juicefs"),
            "gateway",
            meta,
            f"127.0.0.1:{self._port}",
            "--no-usage-report",
            "--no-banner",
        ]
        command += [
            "--cache-dir",
            f"{self._folder}/cache",
            "--cache-size",
            "64",
            "--buffer-size",
            "64",
            f"--metrics=127.0.0.1:{free_port()}",
        ]
        command += ["--log", f"{self._folder}/juicefs.log"]
        self.service = Service("juicefs", command, environment, self._folder / "gateway.log", says_ready=False)
        self.service.start()
        self.service.wait(lambda: port_in_use("127.0.0.1", self._port))
        return self

    def __exit__(self, *_: object) -> None:
        self.service.kill()

    def put(self, name: str, body: bytes) -> str:
        """Store an object; return its path below the connection."""
        files = s3fs.S3FileSystem(key=KEY, secret=SECRET, endpoint_url=self.endpoint, skip_instance_cache=True)
        files.pipe_file(f"{BUCKET}/{name}", body)
        return name

    def connection(self, password: str = SECRET) -> S3Connection:
        """Return a connection to the bucket."""
        return S3Connection(endpoint=self.endpoint, key=KEY, secret=password, root=BUCKET)
