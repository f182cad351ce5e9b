"""Dry runs of batches: the actors look at the files, and nothing is stored."""

import msgspec
from aiohttp import web

from events.catalog import encode
from events.subjects import DRY_RUN
from gateway.answers import answer
from gateway.batch_operations import connections
from gateway.batch_requests import batch_command
from gateway.bodies import decode, read_body
from gateway.callers import Asker, http_asker
from gateway.edge import Edge, edge_of
from gateway.lookup import find_specs
from rota.batch_protocol import BatchRequest, DryRunView
from rota.errors import InvalidRequestError, Problem, UnavailableError
from rota.protocol import CALLER

WAIT_SECONDS = 60.0

routes = web.RouteTableDef()


@routes.post("/batches/dry-run")
async def post_dry_run(request: web.Request) -> web.Response:
    """Answer what a batch would be."""
    asked = decode(await read_body(request), BatchRequest)
    return answer(await dry_run_batch(edge_of(request), asked, http_asker(request)))


async def dry_run_batch(edge: Edge, request: BatchRequest, asker: Asker) -> DryRunView:
    """Return what a batch would be; the request is checked as if it were to open one, and nothing is stored.

    InvalidRequestError also for a stream, UnavailableError if no actor answers within WAIT_SECONDS.
    """
    if request.stream is not None:
        raise InvalidRequestError(
            "Only files can be looked at before a batch is opened",
            problems=[
                Problem(
                    "The data of a stream is not there yet: send some of it to a batch, or put it in a file",
                    "#/stream",
                )
            ],
        )
    specs = await find_specs(edge, [request.spec])
    command = batch_command(request, specs, edge.schemas, connections(edge), "dry-run")
    body, headers = encode(command.details), {CALLER: asker.caller}
    found = b""
    try:
        async with edge.patience(WAIT_SECONDS):
            # That nobody listens is told at once; that nobody answers is for the patience to say.
            reply = await edge.connection.request(DRY_RUN, body, headers, timeout=2 * WAIT_SECONDS)
            found = reply.data
    except UnavailableError as error:
        raise UnavailableError("Nobody reads files at the moment: do the actors run?") from error
    if not found:
        raise UnavailableError(f"The actors did not answer within {WAIT_SECONDS:g} s: ask again")
    return msgspec.msgpack.decode(found, type=DryRunView)
