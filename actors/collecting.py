"""The collecting of a batch's results as the supervisor sees it: by a reader, with another when that one dies."""

import asyncio
import logging

from actors.batch_log import BatchLog
from actors.deaths import MAX_DEATHS
from actors.reader_pool import ReaderPool
from actors.watching import LostActorError
from events.batch_results import FailResults
from rota.jetstream import Connection

log = logging.getLogger("rota.supervisor")


class Collecting:
    """Has results collected."""

    def __init__(self, connection: Connection, pool: ReaderPool, stopping: asyncio.Event) -> None:
        self._connection = connection
        self._pool = pool
        self._stopping = stopping

    async def keep(self, batch: str, collection: str) -> None:
        """Have a collection written, or given up after MAX_DEATHS readers; once it has ended this does nothing."""
        for _ in range(MAX_DEATHS):
            if self._stopping.is_set():
                return
            try:
                await self._pool.run("collect", batch, collection)
            except LostActorError:
                continue
            return
        log.error("results %s of batch %s have ended %d readers and are given up", collection, batch, MAX_DEATHS)
        reason = f"Collecting the results has ended the process of its reader {MAX_DEATHS} times"
        events = BatchLog(self._connection, batch, caller="supervisor")
        await events.send([FailResults(id=batch, collection=collection, reason=reason)])
