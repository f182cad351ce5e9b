"""`python -m projections [rebuild|trim]`: keeps the views at the end of the log.

Prints `ready` when the views have reached the end that the log had at the start; runs until SIGTERM or SIGINT, and
removes every hour what is older than ROTA_KEEP_EVENTS_DAYS. `rebuild` makes the views anew and ends, `trim` removes
what is old and ends.
"""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime, timedelta
from typing import Literal

from events.config import LOG_FORMAT, Config
from events.jetstream.log import Log
from events.jetstream.topology import prepare
from projections.rebuild import rebuild
from projections.retention import Retention
from projections.runner import Runner
from projections.tables import Tables
from rota.errors import RotaError
from rota.jetstream import Connection

CANCEL_AGAIN_SECONDS = 1.0

Task = Literal["keep", "rebuild", "trim"]


async def run(config: Config, task: Task) -> None:
    """Do a task until it is done or a signal comes."""
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    stopped = asyncio.create_task(stopping.wait())
    tasks = {"keep": _keep, "rebuild": _rebuild, "trim": _trim}
    work = asyncio.create_task(tasks[task](config))
    await asyncio.wait((work, stopped), return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    while not work.done():
        # One may be lost: wait_for of Python 3.11, in nats-py, forgets a cancellation that comes with its result.
        work.cancel()
        await asyncio.wait((work,), timeout=CANCEL_AGAIN_SECONDS)
    if not work.cancelled():
        work.result()
    elif task == "rebuild":
        raise RotaError("the rebuild was stopped; the views are as they were")
    elif task == "trim":
        raise RotaError("the removal was stopped; the next one goes on with it")


async def _keep(config: Config) -> None:
    async with _connection(config) as connection:
        with closing(Tables.open(config.views)) as tables:
            runner = Runner(Log(connection), tables)
            await runner.catch_up()
            print("ready", flush=True)  # noqa: T201 - whoever started this waits for it
            # No TaskGroup: it would cancel each of them once only.
            tasks = [
                asyncio.create_task(runner.run(), name="runner"),
                asyncio.create_task(_retention(config, connection, tables).run(), name="retention"),
            ]
            try:
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
                for task in done:
                    task.result()
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)


async def _rebuild(config: Config) -> None:
    async with _connection(config) as connection:
        print(f"rebuilt to {await rebuild(Log(connection), config.views)}", flush=True)  # noqa: T201


async def _trim(config: Config) -> None:
    async with _connection(config) as connection:
        with closing(Tables.open(config.views)) as tables:
            trimmed = await _retention(config, connection, tables).trim()
            print(f"removed {trimmed}", flush=True)  # noqa: T201


def _retention(config: Config, connection: Connection, tables: Tables) -> Retention:
    keep = timedelta(days=config.keep_events_days) if config.keep_events_days else None
    return Retention(connection, tables, config.views, keep, lambda: datetime.now(UTC))


@asynccontextmanager
async def _connection(config: Config) -> AsyncIterator[Connection]:
    async with await Connection.open(config.nats_url, name="projections") as connection:
        await prepare(connection, config)
        yield connection


def main(arguments: list[str]) -> int:
    """Run the projections; return the exit status."""
    tasks: dict[tuple[str, ...], Task] = {(): "keep", ("rebuild",): "rebuild", ("trim",): "trim"}
    if (task := tasks.get(tuple(arguments))) is None:
        print("usage: python -m projections [rebuild|trim]", file=sys.stderr)  # noqa: T201
        return 2
    try:
        config = Config.read(os.environ)
        logging.basicConfig(level=config.log_level, format=LOG_FORMAT)
        asyncio.run(run(config, task))
    except RotaError as error:
        print(f"projections: {error}", file=sys.stderr)  # noqa: T201 - one clear line instead of a traceback
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
