"""The newest events of the log, read once and kept in memory for all who follow it at its end."""

import asyncio
import logging
from collections.abc import Callable
from typing import Generic, TypeVar

from msgspec import DecodeError

from events.catalog import decode_event
from events.jetstream.log import Log, Recorded
from rota.jetstream import Msg, until_available
from rota.pull import delivery

MAX_EVENTS = 4096
MAX_BYTES = 8 * 1024 * 1024
CREDIT = 1000
LOOK_UP_SECONDS = 1.0
PAUSE_SECONDS = 0.0002
"""Pause after each reading, for each reader: the more there are to wake, the more events they are woken for."""
MAX_PAUSE_SECONDS = 0.1

T = TypeVar("T")

log = logging.getLogger("rota.log")


class Tail(Generic[T]):
    """All events that stand in the log after `start`, up to `end`, each made into an item once.

    They are bounded by number and by size, whoever reads them and however slowly: there is no queue for each
    reader. It reads the log as long as it has readers.
    """

    def __init__(self, log: Log, make: Callable[[Recorded], T]) -> None:
        self.start = self.end = 0
        self.failure: Exception | None = None
        """Why it cannot read, until somebody joins again."""
        self._log = log
        self._make = make
        self._items: dict[int, tuple[T, int]] = {}
        self._bytes = 0
        self._readers = 0
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def join(self, after: int) -> None:
        """Count one more reader; the first one has it read from this position."""
        self._readers += 1
        if self._task is None:
            self._begin(after)

    def leave(self) -> None:
        """Count one reader less; the last one ends it."""
        self._readers -= 1
        if not self._readers:
            self._end()

    def restart(self, after: int) -> None:
        """Begin again at a position, since the log is not what it was."""
        if self._task:
            self._end()
            self._begin(after)
            self.wake()

    async def close(self) -> None:
        """Stop reading."""
        self._end()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def read(self, after: int, limit: int) -> tuple[list[T], int]:
        """Return items from what stands after a position, and the position up to which that is all there is."""
        until = max(after, min(self.end, after + limit))
        found = (self._items.get(sequence) for sequence in range(after + 1, until + 1))
        return [one[0] for one in found if one], until

    async def wait(self) -> None:
        """Return when something is new."""
        await self._changed.wait()

    def wake(self) -> None:
        """Let all who wait look again."""
        self._changed.set()
        self._changed = asyncio.Event()

    def _begin(self, after: int) -> None:
        self.start = self.end = after
        self.failure = None
        self._task = asyncio.create_task(self._run(), name="tail of the log")
        self._tasks.add(self._task)
        self._task.add_done_callback(self._tasks.discard)

    def _end(self) -> None:
        if self._task:
            self._task.cancel()
        self._task = None
        self._items.clear()
        self._bytes = 0

    async def _run(self) -> None:
        me = asyncio.current_task()
        try:
            await until_available(self._follow)
        except Exception as error:
            log.exception("the log cannot be followed")
            if self._task is me:
                self._end()
                self.failure = error
                self.wake()

    async def _follow(self) -> None:
        me = asyncio.current_task()
        async with self._log.follow(after=self.end, credit=CREDIT) as follower:
            # nats-py may lose a cancellation; then this ends at the next look.
            while self._task is me:
                messages = await follower.take(timeout=LOOK_UP_SECONDS)
                if messages and self._task is me:
                    self._add(messages)
                    self.wake()
                    await asyncio.sleep(min(MAX_PAUSE_SECONDS, PAUSE_SECONDS * self._readers))

    def _add(self, messages: list[Msg]) -> None:
        for message in messages:
            sequence = delivery(message).sequence
            if sequence > self.end + MAX_EVENTS:
                # So much was removed in between that readers would count through it for long.
                self._items.clear()
                self._bytes = 0
                self.start = sequence - 1
            if recorded := recorded_in(message):
                self._items[sequence] = (self._make(recorded), len(message.data))
                self._bytes += len(message.data)
            self.end = sequence
        while len(self._items) > MAX_EVENTS or self._bytes > MAX_BYTES:
            oldest = next(iter(self._items))
            self._bytes -= self._items.pop(oldest)[1]
            self.start = oldest


def recorded_in(message: Msg) -> Recorded | None:
    """Return the event that a message of a follower holds; None, and a line in the log, if it is none."""
    sequence = delivery(message).sequence
    try:
        return Recorded(sequence, decode_event(message.data))
    except DecodeError:
        log.error("event %d of the log cannot be read: %s", sequence, message.subject)  # noqa: TRY400 - it is known why
        return None
