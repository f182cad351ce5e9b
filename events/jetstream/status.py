"""The news of one aggregate, as the server publishes each event that it has stored."""

import asyncio
from contextlib import suppress
from typing import Self

import nats.errors
from nats.aio.msg import Msg

from events.base import Kind
from events.catalog import decode_event
from events.jetstream.log import Log, Recorded
from rota.jetstream import Connection


class Watch:
    """Sees each event of an aggregate that is stored while it is entered; what came before is for the log.

    Status messages are lost with the connection, and by a client that is too slow: where one is missing, the
    log is read again, so that `wait` has no gaps.
    """

    def __init__(self, connection: Connection, log: Log, kind: Kind, id_: str) -> None:
        self._connection = connection
        self._log = log
        self._kind: Kind = kind
        self._id = id_
        self._arrived: list[Recorded] = []
        self._missed = False
        self._changed = asyncio.Event()

    async def __aenter__(self) -> Self:
        # The server takes this before any request that is sent later on the same connection.
        self._subscription = await self._connection.client.subscribe(
            f"rota.status.{self._kind}.{self._id}.>", cb=self._receive
        )
        self._connection.on_reconnect.add(self._miss)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._connection.on_reconnect.discard(self._miss)
        with suppress(nats.errors.Error):
            await self._subscription.unsubscribe()

    async def wait(self, after: int) -> list[Recorded]:
        """Return the events beyond version `after`, at least one, in order, as soon as there are any."""
        while True:
            self._changed.clear()
            arrived, self._arrived = self._arrived, []
            news = [recorded for recorded in arrived if recorded.event.originator_version > after]
            if self._missed or (news and news[0].event.originator_version != after + 1):
                self._missed = False
                history = await self._log.load(self._kind, self._id)
                news = [recorded for recorded in history if recorded.event.originator_version > after]
            if news:
                return news
            await self._changed.wait()

    async def _receive(self, message: Msg) -> None:
        sequence = int((message.headers or {})["Nats-Sequence"])
        self._arrived.append(Recorded(sequence, decode_event(message.data)))
        self._changed.set()

    def _miss(self) -> None:
        self._missed = True
        self._changed.set()
