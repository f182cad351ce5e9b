"""The batch reader: finds the files of one batch, has them read, and follows the jobs to their end.

It reads one file at a time itself, and some small ones beside it, and offers the others to readers in other
processes, several at a time if many are left, as far as the batch wishes and there is room. All of them tell the
batch how far they are, so that who takes over goes on from the log.
It also does what people ask meanwhile: it pauses, goes on with other limits, has jobs run again, and cancels.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Literal

from actors.batch_log import STEERING, TELL_SECONDS, BatchLog
from actors.canceller import Canceller
from actors.file_list import list_files
from actors.file_reader import FileReader
from actors.flight import Flight, readers_of, share_of
from actors.offers import Offers
from actors.redriver import Redriver
from actors.remains import Remains
from actors.scheduled_jobs import ended_untold
from actors.tally import Tally
from events.batch_state import BatchState
from events.sources import Connection as SourceConnection
from rota.follow import Follower
from rota.jetstream import Connection, Msg
from rota.protocol import ENDED_BATCH
from rota.pull import delivery

TURNS = frozenset({"sealed", "completed", "completed_with_failures", "failed", "cancelled"})
"""What changes how a batch is followed, by the names of its events."""
PARTINGS = frozenset({"cancelling", "redriven"})
"""What has it led anew."""

Parting = Literal["cancelling", "ended", "redriven"]


class Reader:
    """Carries one batch to its end.

    With `leads_only` it reads no file itself: all are offered.
    """

    def __init__(
        self,
        connection: Connection,
        sources: Callable[[], dict[str, SourceConnection]],
        batch: str,
        offers: Offers | None = None,
        *,
        leads_only: bool = False,
    ) -> None:
        self._connection = connection
        self._log = BatchLog(connection, batch, caller="reader")
        self._sources = sources
        self._batch = batch
        self._leads_only = leads_only
        self._remains = Remains(connection, batch)
        self._offers = offers or Offers()

    async def run(self, *, alone: bool = True) -> bool:
        """Have the batch read, and follow it until it has ended, or another reader has to go on.

        `alone` says that nobody else reads the batch by now. False asks to be run again as soon as that is so: the
        batch is being cancelled.
        """
        state, seen = await self._log.state()
        if state is None:
            return True
        if state.status == "cancelling":
            if not alone:
                return False
            await Canceller(self._connection, self._log, state).run()
            state = await self._log.known_state()
        parting = "ended" if state.status == "cancelled" else await self._lead(state, seen)
        if parting == "ended":
            await self._remains.ended(await self._log.known_state())
        return parting != "cancelling"

    async def _lead(self, state: BatchState, seen: int) -> Parting:
        """Have the batch read; `seen` is the sequence of the state: what happened to the batch before is in it."""
        if state.status == "cancelling":
            return "cancelling"
        after = state.counted_until or await self._log.opened_at()
        self._state = state
        known = {index: file.jobs for index, file in enumerate(state.files)}
        limits = share_of(state.details, 1)
        early = await ended_untold(self._connection, self._batch, state)
        counted = sum(sequence <= state.counted_until for sequence in early.values())
        self._flight = Flight(
            before=state.jobs - (state.jobs_ended - counted),
            known=known,
            paused=state.paused,
            early=early,
            **limits,
        )
        async with self._log.follow(after, STEERING | TURNS | PARTINGS) as follower:
            self._tasks = [asyncio.create_task(self._read(state), name=f"read {self._batch}")]
            self._redriver = Redriver(self._connection, self._log, state, state.redrive) if state.redrive else None
            if self._redriver:
                self._tasks.append(asyncio.create_task(self._redriver.run(), name=f"redrive {self._batch}"))
            try:
                return await self._follow(follower, Tally(state), seen)
            finally:
                for task in self._tasks:
                    task.cancel()
                await asyncio.wait(self._tasks)

    async def _follow(self, follower: Follower, tally: Tally, seen: int) -> Parting:
        """Count the jobs that end, until the batch and all its jobs have ended or another reader goes on."""
        told_at = time.monotonic()
        while True:
            all_ended = self._state.status != "reading" and tally.ended >= self._state.jobs
            if self._state.status in ENDED_BATCH and all_ended:
                return "ended"
            if tally.news and (all_ended or time.monotonic() - told_at >= TELL_SECONDS):
                told_at = time.monotonic()
                await self._log.send([tally.tell(self._batch, follower.position)])
            if self._redriver and (finished := self._redriver.finished_by(follower.position)):
                # In this order, or the batch would end with the failures that are none any more.
                self._redriver = None
                await self._log.ask(tally.tell(self._batch, follower.position))
                await self._log.ask(finished)
            for message in await follower.take(timeout=TELL_SECONDS):
                _, _, kind, _, name, *_ = message.subject.split(".")
                if kind == "job":
                    await self._note(message, name, tally)
                elif delivery(message).sequence <= seen:
                    continue
                elif name == "cancelling":
                    return "cancelling"
                elif name == "redriven":
                    return "redriven"
                else:
                    await self._turn()
            for task in self._tasks:
                if task.done() and not task.cancelled():
                    task.result()

    async def _note(self, message: Msg, name: str, tally: Tally) -> None:
        """Note that a job has ended, or runs again."""
        place = self._log.place_of(message)
        if place is None:
            return  # it only says that it is of this batch
        tally.note(name)
        mine = place[0] not in self._offers.given
        if self._leads_only:
            pass
        elif name == "redriven":
            self._flight.redriven(place, mine=mine)
        else:
            self._flight.ended(place, mine=mine)
        if name == "succeeded":
            await self._remains.succeeded(*place)

    async def _turn(self) -> None:
        """Go on as the batch is by now."""
        self._state = state = await self._log.known_state()
        if state.status == "failed":
            self._offers.withdraw()
            for task in self._tasks:
                task.cancel()
        self._share(sum(not file.finished for file in state.files))

    def _share(self, unread: int) -> None:
        """Share the limits of the batch out among the readers of so many files."""
        details = self._state.details
        readers = readers_of(details, unread)
        limits = share_of(details, readers)
        self._flight.adapt(paused=self._state.paused, **limits)
        others = readers if self._leads_only else readers - 1
        self._offers.change(max_jobs=limits["max_jobs"], others=others)

    async def _read(self, state: BatchState) -> None:
        """Find the files, and read those that no other process takes."""
        if state.status != "reading":
            return
        files = list(state.files)
        if not state.listed:
            found = await list_files(self._log, state, self._sources)
            if found is None:
                return
            files += found
        unread = [index for index, file in enumerate(files) if not file.finished]
        self._share(len(unread))
        self._offers.put(unread)
        if self._leads_only:
            return
        reader = FileReader(
            self._log,
            state.details,
            sources=self._sources,
            connection=self._connection,
            flight=self._flight,
        )
        if not await reader.run_each(self._offers.take, files):
            self._offers.withdraw()
