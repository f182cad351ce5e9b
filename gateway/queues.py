"""Queues over HTTP."""

from aiohttp import web

from gateway.answers import answer
from gateway.edge import edge_of

routes = web.RouteTableDef()


@routes.get("/queues")
async def list_queues(request: web.Request) -> web.Response:
    """Answer the queues that have or had jobs, by name, with their jobs counted by state."""
    return answer({"queues": edge_of(request).views().queues()})
