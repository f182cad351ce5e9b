"""`python -m gateway`: serves HTTP until SIGTERM or SIGINT; then finishes what it is doing."""

import asyncio
import errno
import logging
import os
import signal
import sys

from aiohttp import web

from events.config import LOG_FORMAT, Config
from gateway.app import application
from rota.errors import IncompatibleError, RotaError

STOP_SECONDS = 10.0


async def serve(config: Config) -> None:
    """Listen, print `ready` and the address, and serve until a signal comes."""
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    runner = web.AppRunner(application(config), access_log=None, shutdown_timeout=STOP_SECONDS)
    await runner.setup()
    try:
        await _listen(runner, config)
        host, port = runner.addresses[0][:2]
        print(f"ready http://{host}:{port}", flush=True)  # noqa: T201 - whoever started this waits for it
        await stopping.wait()
    finally:
        await runner.cleanup()


async def _listen(runner: web.AppRunner, config: Config) -> None:
    try:
        await web.TCPSite(runner, config.host, config.port).start()
    except OSError as error:
        place = f"{config.host}:{config.port}"
        if error.errno == errno.EADDRINUSE:
            raise IncompatibleError(
                f"Something else listens at {place}. Stop it, or set ROTA_PORT to a free port (0 picks one)."
            ) from error
        raise IncompatibleError(
            f"The gateway cannot listen at {place}: {error.strerror}. Set ROTA_HOST."
        ) from error


def main() -> int:
    """Run the gateway; return the exit status."""
    try:
        config = Config.read(os.environ)
        logging.basicConfig(level=config.log_level, format=LOG_FORMAT)
        config.connections()
        asyncio.run(serve(config))
    except RotaError as error:
        print(f"gateway: {error}", file=sys.stderr)  # noqa: T201 - one clear line instead of a traceback
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
