"""The events of one job, batch or workflow, from the log and as they come."""

from typing import Annotated, Any

from aiohttp import web
from msgspec import Meta, Struct

from events.jetstream.log import Recorded
from events.jetstream.status import Watch
from gateway.answers import answer
from gateway.bodies import read_query
from gateway.edge import edge_of
from gateway.frames import fields
from gateway.lookup import Subject, find_last
from gateway.selection import Position

MAX_EVENTS = 1000
"""Events in one answer; `after` gets the ones that follow."""

WaitSeconds = Annotated[float, Meta(ge=0, le=60)]


class EventsQuery(Struct, frozen=True):
    """Which events: those after a sequence; if there are none, wait for one."""

    after: Position = 0
    wait: WaitSeconds = 0


async def answer_events(request: web.Request, kind: Subject) -> web.Response:
    """Answer `GET /<kind>/{id}/events`."""
    query = read_query(request, EventsQuery)
    edge = edge_of(request)
    id_ = request.match_info["id"]
    async with Watch(edge.connection, edge.log, kind, id_) as watch:
        last = await find_last(edge, kind, id_)
        history: list[Recorded] = []
        if last and last.sequence > query.after:
            history = await edge.log.load(kind, id_, query.after, MAX_EVENTS)
        async with edge.patience(query.wait):
            while not history:
                history = await watch.wait(last.event.originator_version if last else 0)
    return answer({"events": [_shown(recorded) for recorded in history[:MAX_EVENTS]]})


def _shown(recorded: Recorded) -> dict[str, Any]:
    return {"sequence": recorded.sequence, **fields(recorded)}
