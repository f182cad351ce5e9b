"""Cancels the jobs of a batch that somebody has cancelled, and ends it when all of them have ended.

Its readers have stopped by then. They may have scheduled more jobs than they told of: those that wait in the stream
of commands are let become jobs, and then each file's are counted on from what was told. Whoever takes over after a
kill begins anew: a job is cancelled once, and one that has ended stays as it is.
"""

import asyncio
from collections.abc import Iterator

from actors.batch_log import JOBS_A_MESSAGE, BatchLog, caught_up
from actors.flight import Place
from actors.scheduled_jobs import first_unscheduled, until_carried_out
from events.batch import AdvanceFile
from events.batch_control import FinishCancel
from events.batch_state import BatchState
from events.ids import batch_job_id
from events.jetstream.ends import rows_of_jobs
from events.job import CancelJob
from rota.follow import Follower
from rota.jetstream import Connection, Msg, until_available

FILES_AT_ONCE = 50
WAIT_SECONDS = 5.0
"""After this time without an end the jobs that are left are told again."""

ENDED, SUCCEEDED = 1, 2


class Canceller:
    """Cancels what is left of one batch."""

    def __init__(self, connection: Connection, batch: BatchLog, state: BatchState) -> None:
        self._connection = connection
        self._batch = batch
        self._reason = state.reason
        self._files = state.files
        self._unfinished = [index for index, file in enumerate(state.files) if not file.finished]
        self._ends = [bytearray(file.jobs) for file in state.files]
        """Of each job by its index: whether it has ended, and how."""
        self._early: dict[Place, int] = {}
        """The same of jobs that are not found yet."""

    async def run(self) -> None:
        """Return when no job is left and the batch was told so."""
        async with self._batch.follow_jobs(await self._batch.opened_at()) as follower:
            await self._let_redrives_come()
            while True:
                for start in range(0, len(self._unfinished), FILES_AT_ONCE):
                    some = self._unfinished[start : start + FILES_AT_ONCE]
                    await asyncio.gather(*(self._find_jobs(index) for index in some))
                # What was redriven since the consumer was made counts, too.
                await until_available(follower.look)
                async for message in caught_up(follower):
                    self._note(message)
                left = list(self._left())
                if not left:
                    break
                await self._cancel(left)
                await self._until_ended(follower, set(left))
        await self._tell_found()
        succeeded = sum(ends.count(SUCCEEDED) for ends in self._ends)
        jobs = sum(map(len, self._ends))
        await self._batch.ask(
            FinishCancel(id=self._batch.batch, jobs=jobs, succeeded=succeeded, failed=jobs - succeeded)
        )

    async def _let_redrives_come(self) -> None:
        """Wait for what a redrive has told jobs: else they would be queued when all have ended."""
        files = [index for index, file in enumerate(self._files) if file.jobs]
        for start in range(0, len(files), FILES_AT_ONCE):
            await asyncio.gather(
                *(
                    until_carried_out(self._connection, self._batch.batch, index, "redrive")
                    for index in files[start : start + FILES_AT_ONCE]
                )
            )

    async def _tell_found(self) -> None:
        """Tell the batch of the jobs that it does not know of, so that it counts their rows."""
        for index, ends in enumerate(self._ends):
            file, jobs = self._files[index], len(ends)
            if jobs == file.jobs:
                continue
            last = batch_job_id(self._batch.batch, index, jobs - 1)
            found = await until_available(lambda last=last: rows_of_jobs(self._connection, [last]))  # type: ignore[misc] # mypy cannot infer a lambda with a default
            if rows := found.get(last):
                reached = rows.first_row + rows.count
                # Nobody reads on: the position may stay behind.
                advance = AdvanceFile(
                    id=self._batch.batch,
                    file_index=index,
                    position=file.position,
                    rows=reached - file.passed,
                    jobs=jobs,
                    columns=file.columns,
                    passed=file.passed,
                )
                await self._batch.ask(advance)

    async def _find_jobs(self, file_index: int) -> None:
        """Find the jobs of a file that its reader did not come to tell of: they follow those that it told."""
        ends = self._ends[file_index]
        known = len(ends)
        jobs = await first_unscheduled(self._connection, self._batch.batch, file_index, known)
        ends.extend([self._early.pop((file_index, index), 0) for index in range(known, jobs)])

    def _note(self, message: Msg) -> None:
        """Note an event of a job."""
        place = self._batch.place_of(message)
        if place is None or place[0] >= len(self._ends):
            return
        name = message.subject.split(".")[4]
        end = {"succeeded": SUCCEEDED, "redriven": 0}.get(name, ENDED)
        file_index, index = place
        if index < len(self._ends[file_index]):
            self._ends[file_index][index] = end
        else:
            self._early[place] = end

    def _left(self) -> Iterator[Place]:
        """Return the jobs that have not ended."""
        for file_index, ends in enumerate(self._ends):
            index = ends.find(0)
            while index >= 0:
                yield file_index, index
                index = ends.find(0, index + 1)

    async def _cancel(self, places: list[Place]) -> None:
        for start in range(0, len(places), JOBS_A_MESSAGE):
            await self._batch.send(
                [
                    CancelJob(id=batch_job_id(self._batch.batch, *place), reason=self._reason, lenient=True)
                    for place in places[start : start + JOBS_A_MESSAGE]
                ]
            )

    async def _until_ended(self, follower: Follower, places: set[Place]) -> None:
        """Wait until jobs have ended, or none has for a while."""
        while places and (messages := await follower.take(timeout=WAIT_SECONDS)):
            for message in messages:
                self._note(message)
            places = {(file_index, index) for file_index, index in places if not self._ends[file_index][index]}
