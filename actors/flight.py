"""The jobs of a batch that were scheduled and have not ended, no more at a time than the batch allows."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence

from events.batch import BatchDetails

MAX_BYTES = 512 * 1024 * 1024

Place = tuple[int, int]
"""File and job, by their numbers."""


def share_of(details: BatchDetails, readers: int) -> dict[str, int]:
    """Return what each of so many readers may have in flight: `max_jobs`, and `max_bytes` of their rows."""
    return {
        "max_jobs": max(1, details.max_jobs_in_flight // readers),
        "max_bytes": max(1, details.max_bytes_in_flight // readers),
    }


def readers_of(details: BatchDetails, unread: int) -> int:
    """Return how many readers share a batch of which so many files are not read to their end."""
    return 1 if details.in_order else max(1, min(details.max_readers, unread))


class Flight:
    """What holds a reader back: jobs, and the bytes of their rows.

    `before` is how many jobs were scheduled before by somebody else and have not ended. They are among the first
    jobs of each file, as many as `known` says; those after them will be scheduled by this reader, maybe again.
    """

    def __init__(
        self,
        max_jobs: int,
        before: int = 0,
        known: Mapping[int, int] | None = None,
        *,
        max_bytes: int = MAX_BYTES,
        paused: bool = False,
        early: Iterable[Place] = (),
    ) -> None:
        self._max_jobs, self._max_bytes = max_jobs, max_bytes
        self._paused = paused
        self._before = before
        self._known = known or {}
        self._early: set[Place] = set(early)
        """Jobs that have ended before this reader came to schedule them: one that died had done so."""
        self._sizes: dict[Place, int] = {}
        self._bytes = 0
        self._changed = asyncio.Event()

    async def room(self, sizes: Sequence[int]) -> int:
        """Wait until the first of some jobs may be scheduled, and return how many of them may.

        `sizes` are the bytes of their rows. A job of more bytes than there may be is scheduled alone.
        """
        while (room := self._room(sizes)) <= 0:
            self._changed.clear()
            await self._changed.wait()
        return room

    def adapt(self, *, max_jobs: int, max_bytes: int, paused: bool) -> None:
        """Go on with other limits; nothing is scheduled while the batch is paused."""
        self._max_jobs, self._max_bytes, self._paused = max_jobs, max_bytes, paused
        self._changed.set()

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
        self._changed.set()

    def redriven(self, place: Place, *, mine: bool = True) -> None:
        """Note that a job that had ended runs again; the size of its rows is not known any more."""
        if not mine:
            if place[1] < self._known.get(place[0], 0):
                self._before += 1
        elif place not in self._early:
            self._sizes.setdefault(place, 0)

    def _room(self, sizes: Sequence[int]) -> int:
        if self._paused:
            return 0
        jobs = max(0, self._max_jobs - self._before - len(self._sizes))
        held = self._bytes
        for count, size in enumerate(sizes[:jobs]):
            if held and held + size > self._max_bytes:
                return count
            held += size
        return min(jobs, len(sizes))
