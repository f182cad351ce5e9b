"""Runs those jobs of a batch again that ended without success, as its redrive asks.

1. Which jobs they are is found in the log: those whose last end before `batch.redriven` was no success.
2. Each is told, with the redrive's number: a job that is told twice runs again once.
3. When `job.redriven` of each stands in the log, and the batch was told how many have ended by then, the redrive is
   finished. Until that the batch does not judge itself.

The invariant: what the batch knows as `failed` at a sequence of the log is the number of ends without success up
to there, less the number of `job.redriven` up to there (see `Tally`). It holds before, during and after a redrive,
also of one that a failure of the batch cut short: no step of it counts anything, so nothing is counted twice.

Whoever takes over after a kill does all three steps again, and comes to the same jobs: what happened after
`batch.redriven` does not choose them.
"""

import logging

from actors.batch_log import JOBS_A_MESSAGE, BatchLog, caught_up
from actors.flight import Place
from events.batch import FinishRedrive
from events.batch_state import BatchState, Redrive
from events.catalog import decode_event
from events.ids import batch_job_id
from events.jetstream.ends import rows_of_jobs
from events.job import JobCancelled, JobFailed, JobTimedOut, RedriveJob
from rota.follow import Follower
from rota.jetstream import Connection, Msg, until_available
from rota.protocol import Rows
from rota.pull import delivery

ENDS = ("cancelled", "failed", "timed_out", "redriven")

log = logging.getLogger("rota.reader")


class Redriver:
    """Makes the jobs of one redrive run again."""

    def __init__(self, connection: Connection, batch: BatchLog, state: BatchState, redrive: Redrive) -> None:
        self._connection = connection
        self._batch = batch
        self._number, self._wanted = redrive.number, redrive.jobs
        path = self._wanted.file
        self._files = {index for index, file in enumerate(state.files) if path in (None, file.path)}
        self._failed: set[Place] = set()
        """Jobs that have to run again, as far as the log has been read."""
        self._again: set[Place] = set()
        """Jobs that were redriven since."""
        self._at = self._until = 0
        """Sequences in the log of `batch.redriven`, and of the last `job.redriven` after it."""
        self._jobs: int | None = None
        """How many run again, as soon as the log says so of each."""

    def finished_by(self, sequence: int) -> FinishRedrive | None:
        """Return what tells the batch that all is done, if the log says so up to a sequence.

        The batch must have been told before how many of its jobs have ended by then.
        """
        if self._jobs is None or sequence < self._until:
            return None
        return FinishRedrive(id=self._batch.batch, redrive=self._number, jobs=self._jobs)

    async def run(self) -> None:
        """Have the jobs run again, and return when the log says so of each."""
        batch = self._batch
        self._at = await batch.redriven_at()
        headers_only = self._wanted.error is None
        after = await batch.opened_at()
        async with batch.follow_jobs(after, ENDS, headers_only=headers_only) as follower:
            async for message in caught_up(follower):
                self._note(message)
            chosen = await self._with_rows(sorted(self._failed))
            await self._tell(chosen)
            await self._until_again(follower, set(chosen))
        self._jobs = len(chosen)
        log.info("batch %s: %d jobs run again", batch.batch, self._jobs)

    def _note(self, message: Msg) -> None:
        """Note an event of a job."""
        place, sequence = self._batch.place_of(message), delivery(message).sequence
        if place is None or place[0] not in self._files:
            return
        redriven = message.subject.split(".")[4] == "redriven"
        if sequence > self._at:
            if redriven:
                self._again.add(place)
                self._until = sequence
        elif redriven or not self._fits(message):
            self._failed.discard(place)
        else:
            self._failed.add(place)

    def _fits(self, message: Msg) -> bool:
        """Say whether a job that ended so is to run again, whatever its rows are."""
        error = self._wanted.error
        if error is None:
            return True
        match decode_event(message.data):
            case JobFailed(fault=fault) | JobTimedOut(fault=fault):
                return error in fault.type or error in fault.message
            case JobCancelled(reason=reason):
                return error in "Cancelled" or error in reason
            case _:
                return False

    async def _with_rows(self, places: list[Place]) -> list[Place]:
        """Return the jobs that have a row of the wanted range."""
        first, last = self._wanted.first_row or 0, self._wanted.last_row
        if not first and last is None:
            return places
        ids = [batch_job_id(self._batch.batch, *place) for place in places]
        found = await until_available(lambda: rows_of_jobs(self._connection, ids))

        def has_one(rows: Rows | None) -> bool:
            return (
                rows is not None
                and rows.first_row + rows.count > first
                and (last is None or rows.first_row <= last)
            )

        return [place for place, id_ in zip(places, ids, strict=True) if has_one(found.get(id_))]

    async def _tell(self, places: list[Place]) -> None:
        """Tell those jobs that have not run again yet."""
        left = [place for place in places if place not in self._again]
        for start in range(0, len(left), JOBS_A_MESSAGE):
            await self._batch.send(
                [
                    RedriveJob(id=batch_job_id(self._batch.batch, *place), redrive=self._number)
                    for place in left[start : start + JOBS_A_MESSAGE]
                ]
            )

    async def _until_again(self, follower: Follower, places: set[Place]) -> None:
        missing = places - self._again
        while missing:
            for message in await follower.take():
                self._note(message)
                if place := self._batch.place_of(message):
                    missing -= {place} & self._again
