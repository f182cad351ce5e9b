"""`python -m actors`: prepares the streams, starts Ray and the actors, and keeps them running."""

import asyncio
import logging
import os
import signal
import sys

from actors.supervisor import Supervisor
from actors.system import System
from events.config import LOG_FORMAT, Config
from events.jetstream.topology import prepare
from rota.errors import RotaError
from rota.jetstream import Connection


async def main(config: Config, ray_address: str | None) -> None:
    """Run until SIGTERM or SIGINT."""
    async with await Connection.open(config.nats_url, name="actors") as connection:
        await prepare(connection, config)
        with System(ray_address) as system:
            supervisor = Supervisor(config, system, connection)
            for number in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(number, supervisor.stop)
            await supervisor.run(lambda: print("ready", flush=True))  # noqa: T201 - who starts it waits for this


if __name__ == "__main__":
    try:
        configuration = Config.read(os.environ)
        logging.basicConfig(level=configuration.log_level, format=LOG_FORMAT)
        asyncio.run(main(configuration, os.environ.get("RAY_ADDRESS")))
    except RotaError as error:
        sys.exit(f"actors: {error}")
