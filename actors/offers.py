"""The files of a batch that nobody reads yet: its reader takes them, and offers them to others."""

import asyncio
from collections import deque
from collections.abc import Iterable

Offer = tuple[tuple[int, ...], int, int]
"""Numbers of files, how many jobs their reader may have in flight, and how many other readers the batch wants."""

MOST_TOGETHER = 128
"""Files: enough to spread the cost of a connection, and of the state of a batch of 10,000 files."""
TURNS = 4
"""How often each reader could come again for as many, so that they end at about the same time."""


class Offers:
    """Files by their numbers, each of which is taken once."""

    def __init__(self) -> None:
        self._files: deque[int] = deque()
        self._max_jobs = 0
        self.others = 0
        """How many other readers the batch wants at a time."""
        self._closed = False
        self._changed = asyncio.Event()
        self.given: set[int] = set()
        """Files that other readers have taken: they have them read to the end, whatever happens."""

    def put(self, files: Iterable[int]) -> None:
        """Say which files are not read; those that others have stay with them."""
        self._files = deque(index for index in files if index not in self.given)
        self._changed.set()

    def change(self, *, max_jobs: int, others: int) -> None:
        """Say how files are offered from now on: how many jobs each may have in flight, to how many others."""
        self._max_jobs, self.others = max_jobs, others
        self._changed.set()

    def take(self) -> int | None:
        """Return a file for the batch's own reader."""
        return self._files.popleft() if self._files else None

    async def take_for_other(self) -> Offer | None:
        """Wait for files that another reader may have, one if few are left; None if there will be no more."""
        while not self._closed:
            if self._files and self.others:
                count = max(1, min(MOST_TOGETHER, len(self._files) // (TURNS * (self.others + 1))))
                files = tuple(self._files.popleft() for _ in range(count))
                self.given.update(files)
                return files, self._max_jobs, self.others
            self._changed.clear()
            await self._changed.wait()
        return None

    def withdraw(self) -> None:
        """Offer nothing more for now."""
        self._files.clear()

    def close(self) -> None:
        """Let who waits go."""
        self._closed = True
        self._files.clear()
        self._changed.set()
