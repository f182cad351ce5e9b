"""Answers requests for dry runs: an idle reader reads the heads of the files, no more than a few at a time."""

import asyncio
import logging
from contextlib import suppress
from typing import Self

from actors.reader_pool import ReaderPool
from actors.watching import LostActorError
from events.catalog import encode
from events.subjects import DRY_RUN
from rota.batch_protocol import DryRunView
from rota.errors import UnavailableError
from rota.jetstream import Connection, Msg

GROUP = "supervisors"
AT_ONCE = 2
MAX_WAITING = 100
"""Who asks does not wait for ever, so neither do that many requests."""

log = logging.getLogger("rota.supervisor")


class DryRuns:
    """Answers as long as it is entered; each request is answered by one of all supervisors."""

    def __init__(self, connection: Connection, pool: ReaderPool) -> None:
        self._connection = connection
        self._pool = pool
        self._places = asyncio.Semaphore(AT_ONCE)
        self._running: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._subscription = await self._connection.client.subscribe(DRY_RUN, queue=GROUP, cb=self._receive)
        return self

    async def __aexit__(self, *_: object) -> None:
        with suppress(UnavailableError):
            await self._connection.ignore(self._subscription)
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(self._running)

    async def _receive(self, message: Msg) -> None:
        if not message.reply:
            return
        if len(self._running) >= MAX_WAITING:
            await self._answer(message, _refusal("Too many dry runs wait; try again"))
            return
        task = asyncio.create_task(self._run(message), name="dry run")
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _run(self, message: Msg) -> None:
        async with self._places:
            try:
                answer: bytes = await self._pool.run("dry_run", message.data)
            except LostActorError:
                answer = _refusal(
                    "The process that read the heads of the files has ended: they may take more memory than "
                    "ROTA_READER_MEMORY_BYTES allows"
                )
            except Exception:
                log.exception("a dry run failed")
                answer = _refusal("The dry run failed; the log of the actors says why")
        await self._answer(message, answer)

    async def _answer(self, message: Msg, answer: bytes) -> None:
        with suppress(UnavailableError):
            await self._connection.send(message.reply, answer)


def _refusal(error: str) -> bytes:
    return encode(DryRunView(files=[], files_total=0, jobs=[], error=error))
