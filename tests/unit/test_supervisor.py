"""The supervisor: what it makes of readers whose calls overtake each other, as those of Ray's actors may."""

import asyncio
from typing import Any, cast

from actors.supervisor import Supervisor
from actors.system import System
from events.config import Config
from rota.jetstream import Connection


class Readers:
    """In place of Ray: readers of a batch with one file, whose lead is asked for files before it leads."""

    def __init__(self) -> None:
        self.read = asyncio.Event()
        self._offers: list[tuple[int, int, int] | None] = [None, (0, 10, 1)]

    def spawn(self, *_: object) -> "Readers":
        return self

    async def call(self, method: str, *_: Any) -> Any:
        match method:
            case "run":
                await self.read.wait()
            case "offer" if self._offers:
                return self._offers.pop(0)
            case "offer":
                await asyncio.Event().wait()
            case "read":
                self.read.set()
        return None

    def end(self) -> None:
        """Do nothing."""

    def processors(self) -> int:
        return 1


async def test_files_are_read_though_their_lead_was_asked_before_it_led() -> None:
    readers = Readers()
    supervisor = Supervisor(Config(), cast(System, readers), cast(Connection, None))

    async with asyncio.timeout(10):
        assert await supervisor._lead("batch", leads_only=True)

    assert readers.read.is_set()
