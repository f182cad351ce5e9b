"""Whether the gateway lives, and whether it can serve."""

from aiohttp import web

from events.jetstream.topology import COMMANDS
from gateway.answers import answer
from gateway.edge import edge_of
from rota.errors import Problem, RotaError, UnavailableError

routes = web.RouteTableDef()


@routes.get("/healthz")
async def live(_: web.Request) -> web.Response:
    """Answer as long as the process does."""
    return answer({"status": "ok"})


@routes.get("/readyz")
async def ready(request: web.Request) -> web.Response:
    """Answer that all requests can be served; UnavailableError names what is missing."""
    edge = edge_of(request)
    missing: list[Problem] = []
    if not edge.connection.client.is_connected:
        missing.append(Problem("There is no connection to NATS"))
    else:
        try:
            await edge.connection.call(f"STREAM.INFO.{COMMANDS}")
        except RotaError as error:
            missing.append(Problem(error.detail))
    try:
        edge.views().position()
    except UnavailableError as error:
        missing.append(Problem(error.detail))
    if missing:
        raise UnavailableError("The gateway is not ready", problems=missing)
    return answer({"status": "ready"})
