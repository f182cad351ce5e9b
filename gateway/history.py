"""The events of one job or batch, from the log and as they come."""

from typing import Annotated, Any, Literal

import msgspec
from aiohttp import web
from msgspec import Meta, Struct

from events.catalog import encode
from events.jetstream.log import Recorded
from events.jetstream.status import Watch
from gateway.answers import answer
from gateway.bodies import read_query
from gateway.edge import edge_of
from gateway.lookup import find

MAX_EVENTS = 1000
"""Events in one answer; `after` gets the ones that follow."""

WaitSeconds = Annotated[float, Meta(ge=0, le=60)]


class EventsQuery(Struct, frozen=True):
    """Which events: those beyond version `after`; if there are none, wait for one."""

    after: Annotated[int, Meta(ge=0)] = 0
    wait: WaitSeconds = 0


async def answer_events(request: web.Request, kind: Literal["batch", "job"]) -> web.Response:
    """Answer `GET /<kind>/{id}/events`."""
    query = read_query(request, EventsQuery)
    edge = edge_of(request)
    id_ = request.match_info["id"]
    async with Watch(edge.connection, edge.log, kind, id_) as watch:
        history = (await find(edge, kind, id_)).events
        async with edge.patience(query.wait):
            while len(history) <= query.after:
                history += await watch.wait(len(history))
    return answer({"events": [_shown(recorded) for recorded in history[query.after :][:MAX_EVENTS]]})


def _shown(recorded: Recorded) -> dict[str, Any]:
    # Decoding without a type turns the MessagePack values inside into plain ones, too.
    return {"sequence": recorded.sequence, **msgspec.msgpack.decode(encode(recorded.event))}
