"""A real S3-compatible server with one bucket, for the demo, the benches and the tests."""

from pathlib import Path
from typing import Self

import s3fs

from scripts.stack import Service, free_port, port_in_use, program

KEY = "rota"
SECRET = "not-so-secret"
BUCKET = "data"


class Store:
    """`rclone serve s3` over a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self.endpoint = f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        (self._folder / BUCKET).mkdir(parents=True, exist_ok=True)
        command = [program("rclone"), "serve", "s3", "--addr", f"127.0.0.1:{self._port}"]
        command += ["--auth-key", f"{KEY},{SECRET}", str(self._folder)]
        environment = {"HOME": str(self._folder), "RCLONE_CONFIG": str(self._folder / "rclone.conf")}
        self._service = Service("rclone", command, environment, self._folder / "rclone.log", says_ready=False)
        self._service.start()
        self._service.wait(lambda: port_in_use("127.0.0.1", self._port))
        return self

    def __exit__(self, *_: object) -> None:
        self._service.stop()

    def put(self, name: str, body: bytes) -> str:
        """Store an object; return its path below the connection."""
        files = s3fs.S3FileSystem(key=KEY, secret=SECRET, endpoint_url=self.endpoint)
        files.pipe_file(f"{BUCKET}/{name}", body)
        return name

    @property
    def files(self) -> Path:
        """The folder of the bucket."""
        return self._folder / BUCKET

    def get(self, name: str) -> bytes:
        """Return an object."""
        return (self.files / name).read_bytes()

    def connection(self, name: str) -> str:
        """Return the lines of connections.toml that make this store known by a name."""
        lines = {"kind": "s3", "endpoint": self.endpoint, "key": KEY, "secret": SECRET, "root": BUCKET}
        return f"[{name}]\n" + "".join(f'{key} = "{value}"\n' for key, value in lines.items())
