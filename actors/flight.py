"""The jobs of a batch that were scheduled and have not ended, no more at a time than the batch allows."""

import asyncio
from collections.abc import Iterable

MAX_BYTES = 512 * 1024 * 1024

Place = tuple[int, int]
"""File and job, by their numbers."""


class Flight:
    """What holds a reader back: jobs, and the bytes of their rows.

    `before` is how many jobs were scheduled before by somebody else and have not ended.
    """

    def __init__(self, max_jobs: int, before: int = 0) -> None:
        self.max_jobs = max_jobs
        self._before = before
        self._sizes: dict[Place, int] = {}
        self._bytes = 0
        self._some_ended = asyncio.Event()

    async def room(self) -> int:
        """Wait until there is room, and return for how many jobs."""
        while (room := self.max_jobs - self._before - len(self._sizes)) <= 0 or self._bytes > MAX_BYTES:
            self._some_ended.clear()
            await self._some_ended.wait()
        return room

    def add(self, jobs: Iterable[tuple[Place, int]]) -> None:
        """Note jobs with the sizes of their rows, before they are scheduled."""
        for place, size in jobs:
            self._bytes += size - self._sizes.get(place, 0)
            self._sizes[place] = size

    def ended(self, place: Place) -> None:
        """Note that a job has ended."""
        if place in self._sizes:
            self._bytes -= self._sizes.pop(place)
        elif self._before:
            self._before -= 1
        self._some_ended.set()
