"""Events over HTTP as they happen, across lost connections: each once, in order."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import msgspec

from rota.errors import UnavailableError
from rota.http import FIRST_PAUSE_SECONDS, Event, Gateway
from rota.sse import Parser, ServerEvent

SILENCE_SECONDS = 45.0
"""The gateway says something each 15 seconds; after this silence the connection is taken for lost."""
MAX_PAUSE_SECONDS = 3.0

log = logging.getLogger("rota.client")


class Cloud(msgspec.Struct, frozen=True):
    """What is read of a CloudEvent in structured mode."""

    sequence: str
    data: dict[str, Any]


async def stream(
    gateway: Gateway, filters: Mapping[str, Sequence[str]], after: int | None
) -> AsyncGenerator[Event, None]:
    """Yield the events that fit, those after a sequence or those from now on, until what they are about has ended.

    Where events may be missing it yields one of the type `gap`, with `after`, `first` and `reason`. A lost
    connection is made again for as long as the gateway's patience; then UnavailableError.
    """
    clock = asyncio.get_running_loop().time
    place: str | None = None
    lost: float | None = None
    pause = FIRST_PAUSE_SECONDS
    while True:
        try:
            async with aclosing(_connected(gateway, filters, after, place)) as said:
                greeted = False
                async for moved, event in said:
                    place = moved
                    if event or greeted:
                        # A gateway that greets and closes, again and again, is not taken for one that is there.
                        lost, pause = None, FIRST_PAUSE_SECONDS
                    greeted = True
                    if event:
                        yield event
                return
        except UnavailableError as error:
            lost = lost or clock()
            if clock() + pause > lost + gateway.patience_seconds:
                raise
            log.info("%s; connecting again", error)
        await asyncio.sleep(pause)
        pause = min(pause * 2, MAX_PAUSE_SECONDS)


async def _connected(
    gateway: Gateway, filters: Mapping[str, Sequence[str]], after: int | None, place: str | None
) -> AsyncGenerator[tuple[str | None, Event | None], None]:
    """Yield what one connection gives: a place to resume after, and the event before it, if there is one.

    Ends if nothing follows any more; UnavailableError if the connection does not last.
    """
    query = [(name, value) for name, values in filters.items() for value in values]
    headers = {"Accept": "text/event-stream"}
    if place:
        headers["Last-Event-ID"] = place
    elif after is not None:
        query.append(("after", str(after)))
    parser = Parser()
    async with gateway.open("/events", query, headers, SILENCE_SECONDS) as pieces:
        if pieces is None:
            return
        async for piece in pieces:
            for said in parser.feed(piece):
                if said.type == "end":
                    return
                if said.type == "closed":
                    raise UnavailableError(f"The gateway closed the stream of events: {said.data}")
                yield said.id or place, _event(said)
            yield parser.last_id or place, None
    raise UnavailableError("The stream of events was cut off")


def _event(said: ServerEvent) -> Event:
    if said.type == "gap":
        return {"type": "gap", **msgspec.json.decode(said.data)}
    cloud = msgspec.json.decode(said.data, type=Cloud)
    return {"sequence": int(cloud.sequence), **cloud.data}
