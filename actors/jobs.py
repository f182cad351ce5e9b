"""The role of jobs: timers for what is due later, the withdrawal of what is cancelled, news for workflows."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from actors.roles import Change, Consequence
from actors.workflow_outputs import Outputs
from events.base import Event, Kind, event_id
from events.jetstream.log import Log, SequenceConflictError
from events.jetstream.timers import set_timer
from events.jetstream.topology import WORK
from events.job import (
    JobAttemptFailed,
    JobCancelled,
    JobEnded,
    JobFailed,
    JobRedriven,
    JobScheduled,
    JobStarted,
    JobState,
    JobSucceeded,
    JobTimedOut,
    ReleaseJob,
)
from events.subjects import work_of
from events.workflow import EndedPart, EndWorkflowJob, StartWorkflowJob
from rota.errors import UnavailableError
from rota.jetstream import Connection
from rota.protocol import JobFault, WorkflowPlace

WITHDRAW_AGAIN_SECONDS = (0.1, 1.0)


class Jobs:
    """Sets timers, withdraws work, and tells workflows of their jobs."""

    kind: Kind = "job"

    def __init__(self, connection: Connection, outputs: Outputs) -> None:
        self._connection = connection
        self._log = Log(connection)
        self._outputs = outputs
        self._withdrawing: dict[str, asyncio.Task[None]] = {}
        """By the ids of jobs that were cancelled just now."""

    def begin(self) -> None:
        """Do nothing: what it keeps is right whatever is stored."""

    def concerns(self, event: Event, state: JobState) -> bool:
        """Say whether a job of a workflow has begun or ended."""
        details = state.details
        if details.workflow is None:
            return False
        # Of a beginning the workflow needs to know only where a time limit hangs on it.
        has_limit = details.tell_start or details.timeout_seconds is not None
        return isinstance(event, JobEnded) or (has_limit and isinstance(event, JobStarted))

    async def then(self, changes: Sequence[Change]) -> list[Consequence]:
        """Return what workflows are told."""
        found = []
        for change in changes:
            for event in change.events:
                if isinstance(event, JobSucceeded):
                    self._outputs.note(event)
                if place := change.state.details.workflow:
                    found.append(Consequence(_told(event, place), event))
        return found

    async def before(self, changes: Sequence[Change]) -> None:
        """Set the timers of waiting jobs, and withdraw the work of cancelled ones.

        Withdrawn later, it could be handed out in between to a worker that was told of the end too early. Withdrawn
        for a decision that is then refused, it would be lost: so it conflicts if the log knows more already.
        """
        tasks = []
        for event in (event for change in changes for event in change.events):
            match event:
                case JobScheduled():
                    release = ReleaseJob(id=event.originator_id, attempt=1)
                    tasks.append(set_timer(self._connection, release, event.run_at, event_id(event)))
                case JobAttemptFailed() if event.retry_at > event.at:
                    release = ReleaseJob(id=event.originator_id, attempt=event.attempt + 1)
                    tasks.append(set_timer(self._connection, release, event.retry_at, event_id(event)))
                case JobRedriven():
                    # Its new work is not to be withdrawn with the old.
                    if again := self._withdrawing.pop(event.originator_id, None):
                        again.cancel()
        tasks += [self._withdraw(job, change.was) for job, change in _cancelled(changes)]
        if tasks:
            await asyncio.gather(*tasks)

    async def after(self, changes: Sequence[Change]) -> None:
        """Withdraw again what the server has offered since."""
        for job, _ in _cancelled(changes):
            self._withdraw_later(job)

    async def _withdraw(self, job: str, was: JobState | None) -> None:
        last = await self._log.last("job", job)
        if (last.event.originator_version if last else 0) != (was.version if was else 0):
            raise SequenceConflictError(f"The job {job} has gone on")
        await self._connection.purge(WORK, work_of(job))

    def _withdraw_later(self, job: str) -> None:
        task = asyncio.create_task(self._withdraw_again(job))
        self._withdrawing[job] = task

        def forget(done: asyncio.Task[None]) -> None:
            if self._withdrawing.get(job) is done:
                del self._withdrawing[job]

        task.add_done_callback(forget)

    async def _withdraw_again(self, job: str) -> None:
        """Purge once more: the server offers work a moment after `job.queued`, maybe after the first purge.

        Somebody, maybe another owner, may have redriven the job meanwhile: its new work stays.
        """
        for seconds in WITHDRAW_AGAIN_SECONDS:
            await asyncio.sleep(seconds)
            with suppress(UnavailableError):
                last = await self._log.last("job", job)
                if last is None or not isinstance(last.event, JobCancelled):
                    return
                await self._connection.purge(WORK, work_of(job))


def _cancelled(changes: Sequence[Change]) -> Iterator[tuple[str, Change]]:
    """Yield the jobs that are cancelled, and not redriven at once."""
    for change in changes:
        if change.state.status == "cancelled" and isinstance(change.events[-1], JobCancelled):
            yield change.events[-1].originator_id, change


def _told(event: Event, place: WorkflowPlace) -> StartWorkflowJob | EndWorkflowJob:
    """Return what the workflow of a job is told."""
    where: dict[str, Any] = {"id": place.id, "job": place.job, "run": place.run}
    fault: JobFault | None = None
    outcome: EndedPart = "cancelled"
    match event:
        case JobStarted():
            return StartWorkflowJob(attempt=event.attempt, started_at=event.started_at, **where)
        case JobSucceeded():
            outcome = "succeeded"
        case JobFailed():
            outcome, fault = "failed", event.fault
        case JobTimedOut():
            outcome, fault = "timed_out", event.fault
        case JobCancelled():
            fault = JobFault("Cancelled", event.reason)
    return EndWorkflowJob(outcome=outcome, fault=fault, **where)
