"""The runner: follows the log and folds what comes into the tables."""

import asyncio
import logging

from msgspec import DecodeError

from events.catalog import AnyEvent, decode_event
from events.jetstream.log import Log, Recorded
from projections.tables import Tables
from rota.errors import UnavailableError
from rota.jetstream import RETRY_SECONDS, JetStreamError
from rota.pull import delivery

log = logging.getLogger("rota.projections")


class Runner:
    """Keeps tables at the end of the log, from their position on.

    What comes together is one transaction, rows and position. So an event is folded once, whatever is killed
    or delivered again, and if several runners share the tables. NATS may be away meanwhile. If the log is not
    the one that the tables are of, since NATS has lost its store, they are emptied and folded from its beginning.
    """

    def __init__(self, events: Log, tables: Tables) -> None:
        self._events = events
        self._tables = tables

    async def catch_up(self) -> None:
        """Fold the log to its end as it is now."""
        while not await self._try(to_end=True):
            pass

    async def run(self) -> None:
        """Fold what comes until cancelled."""
        while True:
            await self._try(to_end=False)

    async def _try(self, *, to_end: bool) -> bool:
        try:
            return await self._follow(to_end=to_end)
        except (JetStreamError, UnavailableError) as error:
            log.warning("the views wait: %s", error)
            await asyncio.sleep(RETRY_SECONDS)
            return False

    async def _follow(self, *, to_end: bool) -> bool:
        """Fold what comes. True when the end is reached; False when following has to begin again."""
        if not await self._is_same_log():
            await self._begin_again()
        end = await self._events.last_sequence()
        if to_end and self._tables.position >= end:
            return True
        async with self._events.follow(after=self._tables.position) as follower:
            while True:
                after = follower.position
                messages = await follower.take()
                places = [delivery(message) for message in messages]
                if any(place.order == 1 for place in places) and not await self._is_same_log():
                    # These are the first since NATS was away, and its store is not the one from before.
                    return False
                recorded = [
                    Recorded(place.sequence, event)
                    for place, message in zip(places, messages, strict=True)
                    if (event := _decode(place.sequence, message.subject, message.data))
                ]
                position = self._tables.advance(recorded, after=after, until=follower.position)
                if position < follower.position:
                    log.warning("older views were put in place: they are folded on from %d", position)
                    return False
                if to_end and position >= end:
                    return True

    async def _is_same_log(self) -> bool:
        """Say whether the tables' position is one in the log as it is now."""
        # First the tables: others may move them on meanwhile, beyond what was the end of the log.
        known, position = self._tables.origin, self._tables.position
        origin, end = await self._events.origin(), await self._events.last_sequence()
        return known == origin and position <= end

    async def _begin_again(self) -> None:
        origin = await self._events.origin()
        if self._tables.position:
            log.warning(
                "the views stand at %d of a log made at %s, which is gone or has lost its end: "
                "they are made anew from the log made at %s",
                self._tables.position,
                self._tables.origin,
                origin,
            )
        self._tables.clear(origin)


def _decode(sequence: int, subject: str, body: bytes) -> AnyEvent | None:
    """Return the event; what is none is logged and left out."""
    try:
        return decode_event(body)
    except DecodeError as error:
        # Its place in the log says more than the stack.
        log.error("message %d on %s is no event and not in the views: %s", sequence, subject, error)  # noqa: TRY400
        return None
