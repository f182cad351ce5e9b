"""Retention: what ended long ago is removed, from the views and then from the log.

`log.trimmed` is appended first: with it each fold of the log, old or new, forgets the same jobs, batches and
workflows. Their events are purged after that, oldest first, from a list in the views; if one is killed in between,
the next goes on with it. Deciding from the views is right here: what has ended so long ago has ended. Only what
somebody redrives between the decision and its event, some milliseconds, may be lost: it would have gone in that
moment.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from events.base import Origin
from events.jetstream.log import Append, Log, SequenceConflictError
from events.jetstream.purge import purge
from events.log import LOG, LOG_ID, TrimLog
from projections.removed import batches, ends, oldest_job, workflows
from projections.runner import Runner
from projections.sqlite import connect_read_only
from projections.tables import Tables
from rota.errors import UnavailableError
from rota.jetstream import Connection, JetStreamError
from rota.replay import last_before

PERIOD_SECONDS = 3600.0

JOBS_AT_A_TIME = 20_000
"""Jobs without a batch that one `log.trimmed` removes: meanwhile the views do not move on, for about 0.3 s."""

PURGED_AT_A_TIME = 100

log = logging.getLogger("rota.retention")


class Trimmed(Struct, frozen=True):
    """How much was removed."""

    jobs: int = 0
    batches: int = 0
    workflows: int = 0

    def __str__(self) -> str:
        return f"{self.jobs} jobs, {self.batches} batches and {self.workflows} workflows"


class Retention:
    """Removes jobs, batches and workflows some time after their end; several may do it at once."""

    def __init__(
        self,
        connection: Connection,
        tables: Tables,
        path: Path,
        keep: timedelta | None,
        now: Callable[[], datetime],
    ) -> None:
        """Take the tables with the path of their file, and how long what has ended is kept (None: for ever)."""
        self._connection = connection
        self._log = Log(connection)
        self._tables = tables
        self._path = path
        self._keep = keep
        self._now = now

    async def run(self) -> None:
        """Remove what has become old, every hour, until cancelled."""
        while True:
            try:
                await self.trim()
            except (JetStreamError, UnavailableError) as error:
                log.warning("what is old stays for now: %s", error)
            await asyncio.sleep(PERIOD_SECONDS)

    async def trim(self) -> Trimmed:
        """Remove what has become old, after what was removed from the views before and not from the log."""
        await self._purge()
        if self._keep is None:
            return Trimmed()
        before = self._now() - self._keep
        until = await last_before(self._connection, before)
        await self._catch_up()
        untils, trimmed = await asyncio.to_thread(_plan, self._path, until)
        for each in untils:
            oldest = await asyncio.to_thread(_oldest_job, self._path, each)
            if await self._append(TrimLog(id=LOG_ID, before=before, until=each, oldest_job=oldest)):
                await self._catch_up()
                await self._purge()
        if untils:
            log.info("%s are removed that had ended by %s", trimmed, before)
        return trimmed

    async def _append(self, command: TrimLog) -> bool:
        """Append what follows from the command; False if that is nothing, or somebody else was first."""
        state, expected = None, 0
        for recorded in await self._log.load("log", LOG_ID):
            state, expected = LOG.evolve(state, recorded.event), recorded.sequence
        origin = Origin(caller="retention", correlation_id=LOG_ID)
        decided = LOG.decide(state, command, self._now())
        events = [replace(event, origin=origin) for event in decided]
        if not events:
            return False
        try:
            await self._log.append([Append("log", LOG_ID, expected, events)])
        except SequenceConflictError:
            return False
        return True

    async def _catch_up(self) -> None:
        await Runner(self._log, self._tables).catch_up()

    async def _purge(self) -> None:
        """Remove from the streams what is gone from the views, in half of the time: the rest is for others."""
        clock = asyncio.get_running_loop().time
        while removed := self._tables.to_purge(PURGED_AT_A_TIME):
            started = clock()
            await purge(self._connection, removed)
            self._tables.forget(removed)
            await asyncio.sleep(clock() - started)


def _plan(path: Path, until: int) -> tuple[list[int], Trimmed]:
    """Return the sequences by which to remove what goes by the last of them, some at a time."""
    with closing(connect_read_only(path)) as views:
        last = ends(views, until)
        going = Trimmed(len(last), batches(views, until), workflows(views, until))
    if going == Trimmed():
        return [], going
    return [*last[JOBS_AT_A_TIME - 1 :: JOBS_AT_A_TIME], until], going


def _oldest_job(path: Path, until: int) -> int:
    with closing(connect_read_only(path)) as views:
        return oldest_job(views, until)
