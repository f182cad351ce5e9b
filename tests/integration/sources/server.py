"""A real server over a folder, as a program of its own."""

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from scripts.stack import Service, free_port, port_in_use


class FolderServer(ABC):
    """A program that serves the files of the folder `files` on a free port, as long as it is entered."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.files = folder / "files"
        self.port = free_port()

    @abstractmethod
    def prepare(self) -> list[str]:
        """Write what the program reads, and return its command line."""

    def environment(self) -> Mapping[str, str]:
        """Return the program's environment."""
        return os.environ

    def __enter__(self) -> Self:
        self.files.mkdir(parents=True, exist_ok=True)
        command = self.prepare()
        name = Path(command[0]).name
        log = self._folder / f"{name}.log"
        self.service = Service(name, command, self.environment(), log, says_ready=False)
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
