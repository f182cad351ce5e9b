"""The log as a feed for many readers: each has a position, and takes what follows at its own pace.

A consumer for each reader of everything would cost a delivery and a decoding for each event and reader: 200 readers
of 100 events a second took 68 % of a core and fell behind. Sharing the log's tail, in memory, they took 34 %; each
reads the log itself only as long as it is further back than that. Who wants few subjects has the server find them,
by a consumer of its own with little credit. In both ways a slow reader holds back nobody and takes no memory: what
it has not taken is in the log.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Generic, Self, TypeVar

from msgspec import Struct

from events.jetstream.log import Log, Recorded
from events.jetstream.tail import Tail, recorded_in
from events.jetstream.topology import EVENTS
from events.log import LOG_ID, LogTrimmed
from rota.errors import RotaError, UnavailableError
from rota.follow import Follower
from rota.jetstream import RETRY_SECONDS, Connection

ALL = (">",)
TAIL_PAGE = 256
CREDIT = 16
"""Events that wait for one reader of the log, each of up to some 64 KiB."""
LOG_PAGE = 8
WARM_EVENTS = 1000
"""As far back from the log's end does its tail begin, so that all who come back at once find their place in it."""

LOOK_SECONDS = 5.0
"""So often does a reader that is behind look whether events were removed before it came to them."""

REMOVED = "events of what had ended have been removed from the log"
LOST = "the log has lost its end, or is another one"

T = TypeVar("T")


class Gap(Struct, frozen=True):
    """Events are missing, some or all of those after `after` and before `first`."""

    after: int
    first: int
    reason: str


class Bounds(Struct, frozen=True):
    """The sequences of the log's first and last events, and what tells it from another log."""

    first: int
    last: int
    origin: str


class Feed(Generic[T]):
    """The events of the log, each made into an item by `make`."""

    def __init__(self, connection: Connection, log: Log, make: Callable[[Recorded], T]) -> None:
        self.log = log
        self.make = make
        self.tail = Tail(log, make)
        self.reconnects = 0
        """After each one a reader makes sure that the log is still the one that it knows."""
        self._connection = connection
        self._origin = ""
        connection.on_reconnect.add(self._reconnected)

    def read(self, subjects: Sequence[str] = ALL, *, after: int | None = None, apart: bool = False) -> "Reader[T]":
        """Read from a position, or else from the log's end, for as long as the reader is entered.

        `apart` has the server find the subjects, which should be few. Otherwise the reader may get events on other
        subjects, too.
        """
        return Reader(self, subjects, after, apart=apart)

    async def bounds(self) -> Bounds:
        """Return where the log begins and ends now."""
        end = self.tail.end
        info = await self._connection.call(f"STREAM.INFO.{EVENTS}")
        state = info["state"]
        found = Bounds(max(1, state["first_seq"]), state["last_seq"], info["created"])
        if found.last < end or self._origin not in ("", found.origin):
            self.tail.restart(found.last)
        self._origin = found.origin
        return found

    async def removed(self, bounds: Bounds) -> int:
        """Return the sequence up to which events have been removed, if only those of what had ended."""
        last = await self.log.last("log", LOG_ID)
        trimmed = last.event.until if last and isinstance(last.event, LogTrimmed) else 0
        return max(bounds.first - 1, trimmed)

    async def close(self) -> None:
        """Stop reading."""
        self._connection.on_reconnect.discard(self._reconnected)
        await self.tail.close()

    def _reconnected(self) -> None:
        self.reconnects += 1
        self.tail.wake()


class Reader(Generic[T]):
    """A place in the feed. `take` what comes next, in order, without repeats; what is missing is told by a Gap."""

    def __init__(self, feed: Feed[T], subjects: Sequence[str], after: int | None, *, apart: bool) -> None:
        self._feed = feed
        self._subjects = subjects
        self._after = after
        self._apart = apart
        self._follower: Follower | None = None
        self._reached = 0
        self._removed = 0
        """Up to here events have been removed, as far as it was told or need not be."""
        self._looked = 0.0
        self._gap: tuple[Gap, int] | None = None
        """What has to be told, and from where it then goes on."""

    async def __aenter__(self) -> Self:
        self._checked = self._feed.reconnects
        bounds = await self._feed.bounds()
        self._origin = bounds.origin
        self.position = bounds.last if self._after is None else self._after
        """Up to here all has been taken."""
        if self.position > bounds.last:
            self._lose(bounds)
        elif self._after is not None:
            self._removed = await self._feed.removed(bounds)
            if 0 < self._after < self._removed:
                self._gap = Gap(self._after, self._removed + 1, REMOVED), self.position
        if not self._apart:
            self._feed.tail.join(max(bounds.first - 1, bounds.last - WARM_EVENTS))
        return self

    async def __aexit__(self, *_: object) -> None:
        if not self._apart:
            self._feed.tail.leave()
        await self._unfollow()

    async def take(self) -> list[T | Gap]:
        """Return what comes next, at least one, waiting for it; nothing is lost if this is cancelled.

        While NATS is away it waits. RotaError if the log cannot be read.
        """
        while True:
            try:
                if self._checked != self._feed.reconnects:
                    await self._check()
                if self._follower and self._follower.behind:
                    await self._look_behind()
                if self._gap:
                    (gap, self.position), self._gap = self._gap, None
                    return [gap]
                if found := await self._next():
                    return found
            except UnavailableError:
                await asyncio.sleep(RETRY_SECONDS)

    async def _next(self) -> list[T | Gap]:
        tail = self._feed.tail
        if self._follower is None and (self._apart or self.position < tail.start):
            await self._follow()
        if self._follower and not self._apart and not self._follower.behind:
            # All that stood in the log when following began has been taken.
            self.position = max(self.position, self._reached)
            await self._unfollow()
            return []
        if self._follower:
            messages = await self._follower.take(LOG_PAGE)
            self.position = self._follower.position
            return [self._feed.make(recorded) for message in messages if (recorded := recorded_in(message))]
        if tail.failure:
            raise RotaError("The log cannot be followed") from tail.failure
        found, until = tail.read(self.position, TAIL_PAGE)
        if self.position == until:
            await tail.wait()
        self.position = until
        return list(found)

    async def _check(self) -> None:
        """Note a gap if the log has become another one while the connection was lost."""
        reconnects = self._feed.reconnects
        bounds = await self._feed.bounds()
        if self.position > bounds.last or bounds.origin != self._origin:
            await self._unfollow()
            self._lose(bounds)
        self._checked = reconnects

    async def _look_behind(self) -> None:
        """Note a gap if events were removed that this reader has not come to yet."""
        now = asyncio.get_running_loop().time()
        if now < self._looked + LOOK_SECONDS:
            return
        self._looked = now
        removed = await self._feed.removed(await self._feed.bounds())
        if removed > max(self.position, self._removed):
            self._removed = removed
            self._gap = Gap(self.position, removed + 1, REMOVED), self.position

    def _lose(self, bounds: Bounds) -> None:
        self._gap = Gap(self.position, bounds.last + 1, LOST), bounds.last
        self._origin = bounds.origin

    async def _follow(self) -> None:
        self._reached = (await self._feed.bounds()).last
        follower = self._feed.log.follow(self._subjects, after=self.position, credit=CREDIT)
        await follower.__aenter__()
        self._follower = follower

    async def _unfollow(self) -> None:
        follower, self._follower = self._follower, None
        if follower:
            with suppress(RotaError):
                await follower.__aexit__(None, None, None)
