"""One folder behind four servers: HTTP, S3, SFTP and WebDAV."""

from contextlib import ExitStack
from pathlib import Path
from typing import Self

from msgspec.structs import asdict

from events.sources import SOURCES
from tests.integration.sources.rclone import Rclone


class Served:
    """A server of each kind, as connections that are called by their kinds."""

    def __init__(self, folder: Path) -> None:
        self.files = folder / "data"
        self._folder = folder
        self._resources = ExitStack()
        self.servers: dict[str, Rclone] = {}

    def __enter__(self) -> Self:
        self.files.mkdir(parents=True)
        with ExitStack() as on_failure:
            for kind in SOURCES:
                home = self._folder / kind
                home.mkdir()
                (home / "files").symlink_to(self._folder)
                self.servers[kind] = on_failure.enter_context(Rclone(kind, home))
            self._resources = on_failure.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._resources.close()

    def put(self, name: str, body: bytes) -> None:
        path = self.files / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)

    def connections(self) -> str:
        """Return the lines of connections.toml that make the servers known."""
        return "".join(
            f'[{kind}]\nkind = "{kind}"\n'
            + "".join(
                f'{name} = "{value}"\n' if isinstance(value, str) else f"{name} = {str(value).lower()}\n"
                for name, value in asdict(server.connection()).items()
                if value not in (None, {}, ())
            )
            for kind, server in self.servers.items()
        )
