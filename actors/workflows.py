"""The role of workflows: their jobs and batches, their time limits, and going on with what was too much at once."""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

from actors.roles import Change, Consequence
from actors.workflow_batches import NOT_AWAITED, started_batch, stopped_batch
from actors.workflow_inputs import InputError, Inputs
from actors.workflow_outputs import Outputs
from events.base import Event, Kind, event_id
from events.catalog import AnyCommand
from events.jetstream.bus import Bus
from events.jetstream.timers import cancel_timer, set_timer
from events.job import CancelJob, RedriveJob, ScheduleJob
from events.workflow import (
    AdvanceWorkflow,
    EndWorkflowJob,
    ExpandWorkflowJob,
    WorkflowAttemptExpired,
    WorkflowJob,
    WorkflowJobReleased,
    WorkflowJobWithdrawn,
)
from events.workflow_ids import job_id
from events.workflow_progress import has_more
from events.workflow_state import WorkflowState
from events.workflow_timers import touched_timers
from rota.jetstream import Connection
from rota.protocol import FailJob, JobDetails, JobFault, WorkflowPlace

CONCERNING = (WorkflowJobReleased, WorkflowJobWithdrawn, WorkflowAttemptExpired)


class Workflows:
    """Starts and withdraws what workflows ask for, and sets their timers."""

    kind: Kind = "workflow"

    def __init__(self, connection: Connection, outputs: Outputs) -> None:
        self._connection = connection
        self._bus = Bus(connection)
        self._outputs = outputs

    def begin(self) -> None:
        """Forget outputs that were not stored."""
        self._outputs.begin()

    def concerns(self, event: Event, _: WorkflowState) -> bool:
        """Say whether something has to be started or stopped."""
        return isinstance(event, CONCERNING)

    async def then(self, changes: Sequence[Change]) -> list[Consequence]:
        """Return the jobs and batches to be started and stopped."""
        found: list[Consequence] = []
        for change in changes:
            state: WorkflowState = change.state
            id_ = change.events[0].originator_id
            inputs = Inputs(self._connection, self._outputs, id_, state)
            for event in change.events:
                match event:
                    case WorkflowJobReleased():
                        commands = await self._released(event, state, inputs)
                    case WorkflowJobWithdrawn():
                        commands = list(_withdrawn(event, state))
                    case WorkflowAttemptExpired():
                        commands = [_expired(event, state.details.jobs[event.job])]
                    case _:
                        commands = []
                found += [Consequence(command, event) for command in commands]
        return found

    async def before(self, changes: Sequence[Change]) -> None:
        """Set timers, and have workflows asked to go on that have more to do than was decided."""
        tasks: list[Any] = []
        more: list[AnyCommand] = []
        for change in changes:
            id_ = change.events[0].originator_id
            cause = event_id(change.events[-1])
            known = touched_timers(id_, change.was, change.events)
            for command, due in touched_timers(id_, change.state, change.events).items():
                if command not in known:
                    tasks.append(set_timer(self._connection, command, due, cause))
            if has_more(change.state):
                more.append(AdvanceWorkflow(id=id_))
        if more:
            tasks.append(self._bus.send(more, caller="workflow"))
        if tasks:
            await asyncio.gather(*tasks)

    async def after(self, changes: Sequence[Change]) -> None:
        """Keep the outputs that were stored, and cancel the timers of what is over."""
        self._outputs.stored()
        for change in changes:
            id_ = change.events[0].originator_id
            due = touched_timers(id_, change.state, change.events)
            for command in touched_timers(id_, change.was, change.events):
                if command not in due:
                    await cancel_timer(self._connection, command)

    async def _released(self, event: WorkflowJobReleased, state: WorkflowState, inputs: Inputs) -> list[AnyCommand]:
        """Return what starts a job, a run, a fan-out or a batch; or says that it cannot be."""
        spec, job = state.details.jobs[event.job], state.jobs[event.job]
        try:
            if spec.batch:
                return await started_batch(self._connection, event, spec, inputs)
            if spec.fans_out and event.run is None:
                runs = None if job.fan_out else len(await inputs.items(event.job))
                return [] if runs is None else [ExpandWorkflowJob(id=event.originator_id, job=event.job, runs=runs)]
            id_ = job_id(event.originator_id, event.job, event.run)
            if event.again:
                return [RedriveJob(id=id_, redrive=event.retry)]
            params = await inputs.params(event.job, event.run)
        except InputError as error:
            return [_impossible(event, error)]
        details = JobDetails(
            spec=spec.spec,
            queue=spec.queue,
            params=params.value,
            retry=spec.retry,
            timeout_seconds=spec.timeout_seconds,
            labels=spec.labels,
            workflow=place_of(event, spec),
            large_params=params.large,
            tell_start=spec.waiting_timeout_seconds is not None,
        )
        return [ScheduleJob(id=id_, details=details)]


def place_of(event: WorkflowJobReleased, job: WorkflowJob) -> WorkflowPlace:
    """Return what a job or batch is told of the workflow that it belongs to."""
    return WorkflowPlace(event.originator_id, event.job, job.name, event.run)


def _impossible(event: WorkflowJobReleased, error: InputError) -> EndWorkflowJob:
    fault = JobFault("InputError", str(error))
    return EndWorkflowJob(
        id=event.originator_id,
        job=event.job,
        run=event.run,
        outcome="failed",
        fault=fault,
        made=False,
        at_once=True,
    )


def _withdrawn(event: WorkflowJobWithdrawn, state: WorkflowState) -> Iterator[AnyCommand]:
    """Yield what stops a job, run or batch; a fan-out itself is none."""
    job = state.details.jobs[event.job]
    if job.batch:
        yield stopped_batch(event, state)
    elif event.run is not None or not job.fans_out:
        id_ = job_id(event.originator_id, event.job, event.run)
        yield CancelJob(id=id_, reason=NOT_AWAITED, lenient=True)


def _expired(event: WorkflowAttemptExpired, job: WorkflowJob) -> FailJob:
    """Return the report that the worker did not send."""
    return FailJob(
        id=job_id(event.originator_id, event.job, event.run),
        attempt=event.attempt,
        worker="rota",
        started_at=event.started_at,
        fault=JobFault("TimeoutError", f"The attempt took longer than {job.timeout_seconds:g} s"),
        timed_out=True,
    )
