"""The application: its routes, and what is opened at its start and closed at its end."""

from collections.abc import AsyncIterator

from aiohttp import web

from events.config import Config
from events.jetstream.topology import prepare
from gateway import (
    bad_rows,
    batches,
    dead_letters,
    dry_runs,
    health,
    jobs,
    queues,
    results,
    specs,
    status,
    streams,
    workflows,
)
from gateway.edge import EDGE, Edge
from gateway.problems import answer_problems
from gateway.service import service
from rota.jetstream import Connection


def application(config: Config) -> web.Application:
    """Return the gateway. It starts without the projections; without NATS it raises UnavailableError."""
    app = web.Application(middlewares=[answer_problems], client_max_size=config.max_body_bytes)
    for resource in (
        jobs,
        dry_runs,
        batches,
        bad_rows,
        results,
        streams,
        workflows,
        dead_letters,
        queues,
        specs,
        status,
        health,
    ):
        app.add_routes(resource.routes)

    async def run(app: web.Application) -> AsyncIterator[None]:
        async with await Connection.open(config.nats_url, name="rota gateway") as connection:
            await prepare(connection, config)
            app[EDGE] = Edge(config, connection)
            async with service(app[EDGE]):
                yield
            await app[EDGE].close()

    async def stop(app: web.Application) -> None:
        app[EDGE].stop()

    app.cleanup_ctx.append(run)
    app.on_shutdown.append(stop)
    return app
