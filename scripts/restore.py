"""Puts a backup into an empty NATS, while Rota does not run.

ROTA_NATS_URL names the server; without it one is started on the store of `scripts/up`, and stopped again.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from events.config import Config
from events.jetstream.backup import Copied, restore
from projections.tables import Tables
from rota.errors import RotaError
from rota.jetstream import Connection
from scripts.stack import StartError
from scripts.stopped import nats_alone


def show(copied: Sequence[Copied]) -> None:
    """Print a line for each stream."""
    for one in copied:
        print(f"  {one.stream:<18} {one.messages:>12,} messages {one.bytes / 1e6:>10,.1f} MB")


async def put_back(config: Config, url: str, path: Path) -> None:
    async with await Connection.open(url, name="restore") as connection:
        copied, waiting = await restore(connection, path)
    show(copied)
    print(f"  {waiting:,} jobs wait for workers")
    if config.views.exists():
        # They are of another log; the projections make them anew.
        with closing(Tables.open(config.views)) as tables:
            tables.clear()


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/restore", description=__doc__)
    parser.add_argument("file", type=Path, help="what scripts/backup has written")
    path = parser.parse_args().file
    config = Config.read(os.environ)
    with nats_alone(config) as url:
        asyncio.run(put_back(config, url, path))


if __name__ == "__main__":
    try:
        main()
    except (RotaError, StartError, OSError) as problem:
        sys.exit(f"restore: {problem}")
