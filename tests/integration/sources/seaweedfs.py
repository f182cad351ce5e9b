"""A real SeaweedFS with its S3 gateway, which checks signatures."""

import json
import os
import random
from collections.abc import Mapping
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Self

import s3fs
from botocore.exceptions import BotoCoreError

from events.sources import S3Connection
from scripts.stack import Service, port_in_use, program

KEY = "weed-key"
SECRET = "weed-secret-words"
BUCKET = "data"


class Seaweedfs:
    """`weed server` with one volume of a few megabytes, and one identity."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port, *self._ports = _ports(4)
        self.endpoint = f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        credentials = [{"accessKey": KEY, "secretKey": SECRET}]
        identity = {"name": "tests", "credentials": credentials, "actions": ["Admin", "Read", "Write", "List"]}
        anybody = {"name": "anonymous", "actions": [f"Read:{BUCKET}", f"List:{BUCKET}"]}
        config = self._folder / "s3.json"
        config.write_text(json.dumps({"identities": [identity, anybody]}))
        ports = dict(zip(("master", "volume", "filer"), self._ports, strict=True))
        command = [program("weed"), "-logtostderr=true", "server", f"-dir={self._folder}", "-ip=127.0.0.1"]
        command += [
            "-ip.bind=127.0.0.1",
            "-s3",
            f"-s3.port={self._port}",
            f"-s3.port.grpc={self._port + 1}",
            f"-s3.config={config}",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
        ]
        command += [f"-{name}.port={port}" for name, port in ports.items()]
        command += [f"-{name}.port.grpc={port + 1}" for name, port in ports.items()]
        command += [
            "-master.volumeSizeLimitMB=64",
            "-volume.max=4",
            "-master.volumePreallocate=false",
            "-master.telemetry=false",
            "-master.peers=none",
        ]
        environment = os.environ | {"HOME": str(self._folder), "GOMEMLIMIT": "256MiB"}
        self.service = Service("weed", command, environment, self._folder / "weed.log", says_ready=False)
        self.service.start()
        self.service.wait(lambda: port_in_use("127.0.0.1", self._port))
        self.service.wait(self._makes_bucket)
        return self

    def __exit__(self, *_: object) -> None:
        self.service.kill()

    def put(self, name: str, body: bytes) -> str:
        """Store an object; return its path below the connection."""
        self.put_all({name: body})
        return name

    def put_all(self, bodies: Mapping[str, bytes]) -> None:
        """Store objects, several at once."""
        self._files.pipe({f"{BUCKET}/{name}": body for name, body in bodies.items()})

    def connection(self, password: str = SECRET) -> S3Connection:
        """Return a connection to the bucket."""
        return S3Connection(endpoint=self.endpoint, key=KEY, secret=password, root=BUCKET)

    @cached_property
    def _files(self) -> s3fs.S3FileSystem:
        return s3fs.S3FileSystem(key=KEY, secret=SECRET, endpoint_url=self.endpoint, skip_instance_cache=True)

    def _makes_bucket(self) -> bool:
        """Say whether it stores objects: its parts find each other one after the other."""
        try:
            self._files.mkdir(BUCKET)
        except FileExistsError:
            pass
        except (BotoCoreError, OSError):
            return False
        try:
            self._files.pipe_file(f"{BUCKET}/.ready", b"x")
        except (BotoCoreError, OSError):
            return False
        return True


def _ports(count: int) -> list[int]:
    """Return ports that are free, as is the one after each; no connection is given one of these as its own."""
    pairs = random.sample(range(20_000, 32_000, 2), 100)
    free = (port for port in pairs if not any(port_in_use("127.0.0.1", one) for one in (port, port + 1)))
    return list(islice(free, count))
