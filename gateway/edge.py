"""What the handlers of requests share."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web
from msgspec import Struct

from events.config import Config
from events.jetstream.bus import Bus
from events.jetstream.feed import Feed
from events.jetstream.log import Log, Recorded
from events.jetstream.payloads import Payloads
from gateway.belongings import Belongings
from gateway.frames import Shown
from gateway.schemas import Schemas
from projections.views import Views
from rota.jetstream import Connection


class Pace(Struct, frozen=True):
    """How long a stream of events is silent, and how long its reader may be."""

    heartbeat_seconds: float = 15.0
    write_seconds: float = 30.0
    """Time in which the reader has to take what was written, at most some 64 KiB or one event."""
    linger_seconds: float = 5.0
    """Time to hear why a stream was closed, for a reader that was too slow."""


class Edge:
    """The ways to the rest of Rota; whoever opened the connection closes it."""

    def __init__(self, config: Config, connection: Connection) -> None:
        self.config = config
        self.connection = connection
        self.bus = Bus(connection)
        self.log = Log(connection)
        self.payloads = Payloads(connection)
        self.schemas = Schemas()
        self.belongings = Belongings(connection)
        self.feed = Feed(connection, self.log, self._show)
        self.streams = 0
        """Streams of events that are open."""
        self.pace = Pace()
        self._views: Views | None = None
        self._waits: set[asyncio.Timeout] = set()
        self._stopping = False

    @property
    def stopping(self) -> bool:
        """Whether nothing that lasts should be begun or gone on with."""
        return self._stopping

    def views(self) -> Views:
        """Return the views; UnavailableError as long as the projections have not made them."""
        if self._views is None:
            self._views = Views.open(self.config.views)
        return self._views

    @asynccontextmanager
    async def patience(self, seconds: float) -> AsyncIterator[None]:
        """Let the block wait so long, or until the gateway stops, and go on after it."""
        try:
            async with asyncio.timeout(0 if self._stopping else seconds) as limit:
                self._waits.add(limit)
                try:
                    yield
                finally:
                    self._waits.discard(limit)
        except TimeoutError:
            if not limit.expired():
                raise

    def stop(self) -> None:
        """Let all that wait answer now."""
        self._stopping = True
        for limit in self._waits:
            if not limit.expired():
                limit.reschedule(asyncio.get_running_loop().time())

    async def close(self) -> None:
        """Stop reading the log, and close the views."""
        await self.feed.close()
        if self._views:
            self._views.close()

    def _show(self, recorded: Recorded) -> Shown:
        return Shown(recorded, self.belongings.note(recorded.event))


EDGE = web.AppKey("edge", Edge)


def edge_of(request: web.Request) -> Edge:
    """Return what the request's application shares."""
    return request.app[EDGE]
