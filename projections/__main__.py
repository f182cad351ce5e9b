"""`python -m projections [rebuild]`: keeps the views at the end of the log, or makes them anew.

Prints `ready` when the views have reached the end that the log had at the start; runs until SIGTERM or SIGINT.
"""

import asyncio
import logging
import os
import signal
import sys
from contextlib import closing, suppress

from events.config import Config
from events.jetstream.log import Log
from events.jetstream.topology import prepare
from projections.rebuild import rebuild
from projections.runner import Runner
from projections.tables import Tables
from rota.errors import RotaError
from rota.jetstream import Connection


async def run(config: Config, *, anew: bool) -> None:
    """Do either until it is cancelled."""
    task = asyncio.current_task()
    assert task  # noqa: S101 - this is a coroutine
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    async with await Connection.open(config.nats_url, name="projections") as connection:
        await prepare(connection)
        events = Log(connection)
        if anew:
            print(f"rebuilt to {await rebuild(events, config.views)}", flush=True)  # noqa: T201
            return
        with closing(Tables.open(config.views)) as tables:
            runner = Runner(events, tables)
            await runner.catch_up()
            print("ready", flush=True)  # noqa: T201 - whoever started this waits for it
            await runner.run()


def main(arguments: list[str]) -> int:
    """Run the projections; return the exit status."""
    if arguments not in ([], ["rebuild"]):
        print("usage: python -m projections [rebuild]", file=sys.stderr)  # noqa: T201
        return 2
    try:
        config = Config.read(os.environ)
        logging.basicConfig(level=config.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
        with suppress(asyncio.CancelledError):
            asyncio.run(run(config, anew=bool(arguments)))
    except RotaError as error:
        print(f"projections: {error}", file=sys.stderr)  # noqa: T201 - one clear line instead of a traceback
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
