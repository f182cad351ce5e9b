"""The jobs of a batch that were scheduled and have not ended, no more at a time than the batch allows."""

import asyncio
from collections.abc import Iterable, Mapping

MAX_BYTES = 512 * 1024 * 1024

Place = tuple[int, int]
"""File and job, by their numbers."""


class Flight:
    """What holds a reader back: jobs, and the bytes of their rows.

    `before` is how many jobs were scheduled before by somebody else and have not ended. They are among the first
    jobs of each file, as many as `known` says; those after them will be scheduled by this reader, maybe again.
    """

    def __init__(self, max_jobs: int, before: int = 0, known: Mapping[int, int] | None = None) -> None:
        self.max_jobs = max_jobs
        self._before = before
        self._known = known or {}
        self._early: set[Place] = set()
        """Jobs that have ended before this reader came to schedule them: one that died had done so."""
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
            if place in self._early:
                self._early.remove(place)
                continue
            self._bytes += size - self._sizes.get(place, 0)
            self._sizes[place] = size

    def ended(self, place: Place, *, mine: bool = True) -> None:
        """Note that a job has ended. If it is not `mine`, another reader has scheduled it."""
        if place in self._sizes:
            self._bytes -= self._sizes.pop(place)
        elif place[1] < self._known.get(place[0], 0):
            self._before -= 1
        elif mine:
            self._early.add(place)
        self._some_ended.set()
