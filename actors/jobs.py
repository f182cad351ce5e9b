"""The role of jobs: timers for what is due later, and the withdrawal of what is cancelled."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from events.base import Event, Kind, event_id
from events.jetstream.timers import set_timer
from events.jetstream.topology import WORK
from events.job import JobAttemptFailed, JobCancelled, JobScheduled, ReleaseJob
from events.subjects import work_of
from rota.errors import UnavailableError
from rota.jetstream import Connection

WITHDRAW_AGAIN_SECONDS = (0.1, 1.0)


class Jobs:
    """Sets timers, and withdraws work."""

    kind: Kind = "job"

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._withdrawing: set[asyncio.Task[None]] = set()

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
                    again = asyncio.create_task(self._withdraw_again(event.originator_id))
                    self._withdrawing.add(again)
                    again.add_done_callback(self._withdrawing.discard)
        if tasks:
            await asyncio.gather(*tasks)

    async def _withdraw_again(self, job: str) -> None:
        """Purge once more: the server offers work a moment after `job.queued`, maybe after the first purge.

        It does no harm, since a job whose cancellation was sent is never queued again.
        """
        for seconds in WITHDRAW_AGAIN_SECONDS:
            await asyncio.sleep(seconds)
            with suppress(UnavailableError):
                await self._connection.purge(WORK, work_of(job))
