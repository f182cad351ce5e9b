"""Writes all that Rota has in NATS to a file, while it runs; ROTA_NATS_URL names the server."""

import argparse
import asyncio
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

from events.config import Config
from events.jetstream.backup import backup
from rota.errors import RotaError
from rota.jetstream import Connection
from scripts.restore import show


async def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/backup", description=__doc__)
    parser.add_argument("file", type=Path, help="is replaced if it is there, when the backup is whole")
    path = parser.parse_args().file
    config = Config.read(os.environ)
    async with await Connection.open(config.nats_url, name="backup") as connection:
        show(await backup(connection, path, lambda: datetime.now(UTC)))
    print(f"All of it is in {path}; {config.home}/connections.toml is not, nor the views.")


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except (RotaError, OSError) as problem:
        sys.exit(f"backup: {problem}")
