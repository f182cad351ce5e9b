"""Verification: whether the log is sound, and whether the live views are what it folds to."""

import asyncio
import os
import sqlite3
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Generic, TypeVar

from msgspec import Struct

from events.base import Kind
from events.config import Config
from projections.compare import compare
from projections.histories import Histories
from projections.prefix import Stored, fold
from projections.sqlite import connect, connect_read_only
from projections.tables import SCHEMA_VERSION, Tables
from rota.errors import ConflictError, IncompatibleError, UnavailableError
from rota.extension import Difference, LogFault, Progress, Verdict
from rota.jetstream import Connection
from rota.replay import Replay, last_on

SHOWN = 20
"""So many faults and differences are told; of the others only the number."""
ATTEMPTS = 3

TRIMMED = "rota.event.log.>"
"""Where the log says that something is removed from it."""

T = TypeVar("T")


async def verify(nats_url: str, progress: Progress) -> Verdict:
    """Check the log, and compare the views in ROTA_HOME with what it folds to."""
    config = Config.read(os.environ)
    async with await Connection.open(nats_url, name="rota verify") as connection:
        return await verify_views(connection, config.views, progress)


async def verify_views(connection: Connection, path: Path, progress: Progress) -> Verdict:
    """Check the log up to the position of the views in a file, and compare these with what it folds to.

    The views may move on meanwhile: a copy of them is compared, which lies beside them for so long. Raises
    UnavailableError if they cannot be compared now, IncompatibleError if the file is damaged.
    """
    for _ in range(ATTEMPTS):
        with _folder_beside(path) as folder:
            if verdict := await _attempt(connection, path, Path(folder), progress):
                return verdict
    raise UnavailableError("Each time, events were removed from the log while it was read; try again")


async def _attempt(connection: Connection, path: Path, folder: Path, progress: Progress) -> Verdict | None:
    """Return what is found; None if events were removed from the log after the copy was made."""
    live, fresh = folder / "live.sqlite", folder / "fresh.sqlite"
    try:
        origin, position = await asyncio.to_thread(_copy, path, live)
        async with Replay(connection, up_to=position) as replay:
            if replay.log.origin != origin or replay.log.last < position:
                raise ConflictError(
                    f"{path} has the views of another log than this NATS server has: either ROTA_HOME and "
                    "ROTA_NATS_URL do not belong together, or the projections have not made them anew yet"
                )
            with (
                closing(Tables.open(fresh)) as tables,
                closing(Histories(folder / "histories.sqlite")) as histories,
            ):
                tables.clear(origin)
                faults: First[LogFault] = First([])
                events = 0

                def look(stored: Sequence[Stored]) -> None:
                    nonlocal events
                    events += len(stored)
                    for fault in histories.check(stored):
                        faults.add(fault)

                await fold(replay, tables, progress, look)
                with closing(connect_read_only(fresh)) as views:
                    for fault in histories.finish(lambda kind, id_: _is_there(views, kind, id_)):
                        faults.add(fault)
        if await last_on(connection, TRIMMED) > position:
            return None
        # The connection has to answer the server meanwhile.
        differences, rows = await asyncio.to_thread(_compare, live, fresh)
    except sqlite3.DatabaseError as error:
        raise IncompatibleError(
            f"{path} cannot be read: {error}. If it is damaged, stop Rota and remove it: it is made again."
        ) from error
    return Verdict(
        position=position,
        events=events,
        rows=rows,
        faults=faults.shown,
        faults_total=faults.total,
        differences=differences.shown,
        differences_total=differences.total,
    )


def _folder_beside(path: Path) -> TemporaryDirectory[str]:
    """Return a folder that is gone at the end, with room for two more of these files."""
    if not path.is_file():
        raise UnavailableError(
            f"There are no views at {path}: run this on the machine of the projections, with their ROTA_HOME"
        )
    return TemporaryDirectory(dir=path.parent, prefix="verify-")


class First(Struct, Generic[T]):
    """The first SHOWN of many, and how many there are."""

    shown: list[T]
    total: int = 0

    def add(self, one: T) -> None:
        """Count one more."""
        self.total += 1
        if self.total <= SHOWN:
            self.shown.append(one)


def _copy(path: Path, to: Path) -> tuple[str, int]:
    """Copy live views in one state of them; return the origin of their log, and their position in it."""
    with closing(connect_read_only(path)) as source, closing(connect(to)) as copy:
        source.backup(copy)
        version = copy.execute("PRAGMA user_version").fetchone()[0]
        if version != SCHEMA_VERSION:
            raise UnavailableError(f"{path} has views of another version, which the projections will make anew")
        origin, position = copy.execute("SELECT origin, position FROM log").fetchone()
    return origin, position


def _compare(live: Path, fresh: Path) -> tuple[First[Difference], dict[str, int]]:
    found: First[Difference] = First([])
    rows: Counter[str] = Counter()
    for table, difference in compare(live, fresh):
        if difference:
            found.add(difference)
        else:
            rows[table] += 1
    return found, dict(rows)


def _is_there(views: sqlite3.Connection, kind: Kind, id_: str) -> bool:
    """Say whether what has this id was not removed from the views."""
    tables = {"batch": "batches", "job": "jobs", "workflow": "workflows"}
    if kind not in tables:
        return True
    query = f"SELECT 1 FROM {tables[kind]} WHERE id = ?"  # noqa: S608 - one of the names above
    return views.execute(query, (id_,)).fetchone() is not None
