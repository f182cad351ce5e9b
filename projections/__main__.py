"""`python -m projections [rebuild]`: keeps the views at the end of the log, or makes them anew.

Prints `ready` when the views have reached the end that the log had at the start; runs until SIGTERM or SIGINT.
"""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing

from events.config import LOG_FORMAT, Config
from events.jetstream.log import Log
from events.jetstream.topology import prepare
from projections.rebuild import rebuild
from projections.runner import Runner
from projections.tables import Tables
from rota.errors import RotaError
from rota.jetstream import Connection

CANCEL_AGAIN_SECONDS = 1.0


async def run(config: Config, *, anew: bool) -> None:
    """Keep the views, or rebuild them, until it is done or a signal comes."""
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    stopped = asyncio.create_task(stopping.wait())
    work = asyncio.create_task(_rebuild(config) if anew else _keep(config))
    await asyncio.wait((work, stopped), return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    while not work.done():
        # One may be lost: wait_for of Python 3.11, in nats-py, forgets a cancellation that comes with its result.
        work.cancel()
        await asyncio.wait((work,), timeout=CANCEL_AGAIN_SECONDS)
    if not work.cancelled():
        work.result()
    elif anew:
        raise RotaError("the rebuild was stopped; the views are as they were")


async def _keep(config: Config) -> None:
    async with _log(config) as events:
        with closing(Tables.open(config.views)) as tables:
            runner = Runner(events, tables)
            await runner.catch_up()
            print("ready", flush=True)  # noqa: T201 - whoever started this waits for it
            await runner.run()


async def _rebuild(config: Config) -> None:
    async with _log(config) as events:
        print(f"rebuilt to {await rebuild(events, config.views)}", flush=True)  # noqa: T201


@asynccontextmanager
async def _log(config: Config) -> AsyncIterator[Log]:
    async with await Connection.open(config.nats_url, name="projections") as connection:
        await prepare(connection)
        yield Log(connection)


def main(arguments: list[str]) -> int:
    """Run the projections; return the exit status."""
    if arguments not in ([], ["rebuild"]):
        print("usage: python -m projections [rebuild]", file=sys.stderr)  # noqa: T201
        return 2
    try:
        config = Config.read(os.environ)
        logging.basicConfig(level=config.log_level, format=LOG_FORMAT)
        asyncio.run(run(config, anew=bool(arguments)))
    except RotaError as error:
        print(f"projections: {error}", file=sys.stderr)  # noqa: T201 - one clear line instead of a traceback
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
