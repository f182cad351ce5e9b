"""Batches as parts of workflows: how they are started, stopped, and let go on."""

from typing import Any

from msgspec.structs import replace

from actors.workflow_inputs import InputError, Inputs
from events.batch import (
    BatchDetails,
    OpenBatch,
    RedriveBatch,
)
from events.batch_control import CancelBatch
from events.batch_results import CollectResults
from events.batch_state import BatchState
from events.catalog import AnyCommand
from events.jetstream.log import Log
from events.jetstream.repository import load_state
from events.jetstream.snapshots import Snapshots
from events.workflow import EndWorkflowJob, WorkflowJob, WorkflowJobReleased, WorkflowJobWithdrawn
from events.workflow_ids import COLLECTION, batch_id
from events.workflow_state import WorkflowState
from rota.batch_protocol import FailedJobs
from rota.jetstream import Connection
from rota.protocol import ENDED_BATCH, NIL, WorkflowPlace

NOT_AWAITED = "Its workflow does not wait for it any more"


async def started_batch(
    connection: Connection, event: WorkflowJobReleased, job: WorkflowJob, inputs: Inputs
) -> list[AnyCommand]:
    """Return what opens the batch of a job, or lets it go on; InputError if its inputs cannot be made."""
    id_ = batch_id(event.originator_id, event.job, event.opened)
    place = WorkflowPlace(event.originator_id, event.job, job.name)
    if event.again:
        state, _ = await load_state(Log(connection), Snapshots(connection), "batch", id_)
        return _again(id_, place, state)
    if job.batch is None:
        return []
    params = await inputs.params(event.job)
    if params.large:
        raise InputError(
            f"The params of a batch are in each of its jobs, and {params.large.size} bytes are too many"
        )
    changes: dict[str, Any] = {"params": params.value, "workflow": place}
    if job.files_from != NIL:
        changes["files"] = tuple(await inputs.files(event.job))
    return [OpenBatch(id=id_, details=replace(job.batch, **changes))]


def stopped_batch(event: WorkflowJobWithdrawn, state: WorkflowState) -> CancelBatch:
    """Return what stops the batch of a job."""
    id_ = batch_id(event.originator_id, event.job, state.jobs[event.job].part.opened)
    return CancelBatch(id=id_, reason=NOT_AWAITED)


def collected(batch: str, details: BatchDetails, number: int) -> list[CollectResults]:
    """Return what has the results of a batch collected, if its workflow wants them; the number makes the id new."""
    if details.results is None:
        return []
    wanted = details.results
    return [
        CollectResults(
            id=batch,
            collection=f"{COLLECTION}{number}",
            format=wanted.format,
            connection=wanted.connection,
            path=wanted.path,
            origin_columns=wanted.origin_columns,
        )
    ]


def _again(id_: str, place: WorkflowPlace, state: BatchState | None) -> list[AnyCommand]:
    """Return what lets a batch go on that has failed; somebody may have seen to it meanwhile."""
    if state is None:
        raise InputError(f"The batch {id_} was removed")
    if state.status == "failed" or (state.status == "completed_with_failures" and state.failed):
        return [RedriveBatch(id=id_, jobs=FailedJobs())]
    if state.status in ("cancelled", "cancelling"):
        raise InputError(f"The batch {id_} was cancelled")
    if state.status in ENDED_BATCH:
        # It was its results that could not be collected.
        done = EndWorkflowJob(id=place.id, job=place.job, outcome="succeeded", at_once=True)
        return [*collected(id_, state.details, state.version)] or [done]
    return []
