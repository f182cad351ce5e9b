"""Makes the work and the timers of the jobs that wait anew from the log, after a power cut, while Rota is stopped.

ROTA_NATS_URL names the server; without it one is started on the store of `scripts/up`, and stopped again.
"""

import argparse
import asyncio
import os
import sys
from contextlib import closing

from events.config import Config
from events.jetstream.log import Log
from events.jetstream.work import mend
from projections.tables import Tables
from rota.errors import RotaError
from rota.jetstream import Connection
from scripts.stack import StartError
from scripts.stopped import nats_alone


async def run(config: Config, url: str) -> None:
    async with await Connection.open(url, name="mend") as connection:
        work, timers = await mend(connection)
        end = await Log(connection).last_sequence()
    print(f"{work:,} jobs wait for workers, {timers:,} for their time")
    if config.views.exists():
        with closing(Tables.open(config.views)) as tables:
            if tables.position > end:
                tables.clear()
                print("The log has lost its end: the views are made anew")


def main() -> None:
    argparse.ArgumentParser(prog="scripts/mend", description=__doc__).parse_args()
    config = Config.read(os.environ)
    with nats_alone(config) as url:
        asyncio.run(run(config, url))


if __name__ == "__main__":
    try:
        main()
    except (RotaError, StartError, OSError) as problem:
        sys.exit(f"mend: {problem}")
