"""The role of jobs: timers for what is due later, and the withdrawal of what is cancelled."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from events.base import Event, Kind, event_id
from events.jetstream.timers import set_timer
from events.jetstream.topology import WORK
from events.job import JobAttemptFailed, JobCancelled, JobRedriven, JobScheduled, ReleaseJob
from events.subjects import work_of
from rota.errors import UnavailableError
from rota.jetstream import Connection

WITHDRAW_AGAIN_SECONDS = (0.1, 1.0)


class Jobs:
    """Sets timers, and withdraws work."""

    kind: Kind = "job"

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._withdrawing: dict[str, asyncio.Task[None]] = {}
        """By the ids of jobs that were cancelled just now."""

    async def before(self, events: Sequence[Event]) -> None:
        """Set the timers of waiting jobs, and withdraw the work of cancelled ones."""
        tasks = []
        for event in events:
            match event:
                case JobScheduled():
                    release = ReleaseJob(id=event.originator_id, attempt=1)
                    tasks.append(set_timer(self._connection, release, event.run_at, event_id(event)))
                case JobAttemptFailed() if event.retry_at > event.at:
                    release = ReleaseJob(id=event.originator_id, attempt=event.attempt + 1)
                    tasks.append(set_timer(self._connection, release, event.retry_at, event_id(event)))
                case JobCancelled():
                    tasks.append(self._connection.purge(WORK, work_of(event.originator_id)))
                    self._withdraw_later(event.originator_id)
                case JobRedriven():
                    # Its new work is not to be withdrawn with the old.
                    if again := self._withdrawing.pop(event.originator_id, None):
                        again.cancel()
        if tasks:
            await asyncio.gather(*tasks)

    def _withdraw_later(self, job: str) -> None:
        task = asyncio.create_task(self._withdraw_again(job))
        self._withdrawing[job] = task

        def forget(done: asyncio.Task[None]) -> None:
            if self._withdrawing.get(job) is done:
                del self._withdrawing[job]

        task.add_done_callback(forget)

    async def _withdraw_again(self, job: str) -> None:
        """Purge once more: the server offers work a moment after `job.queued`, maybe after the first purge.

        It does no harm, since a job whose cancellation was sent is only queued again when it is redriven.
        """
        for seconds in WITHDRAW_AGAIN_SECONDS:
            await asyncio.sleep(seconds)
            with suppress(UnavailableError):
                await self._connection.purge(WORK, work_of(job))
