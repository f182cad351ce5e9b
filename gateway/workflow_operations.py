"""What can be asked of workflows, however it is asked."""

import secrets

from events.ids import keyed_group
from events.workflow import CancelWorkflow, PauseWorkflow, ResumeWorkflow, RetryWorkflow, ScheduleWorkflow
from gateway.batch_operations import connections
from gateway.callers import Asker
from gateway.edge import Edge
from gateway.lookup import find_last, find_specs, find_workflow_details
from gateway.messages import CommandResponse
from gateway.operations import carry_out, group_for
from gateway.repeats import check_rerun, check_workflow
from gateway.workflow_details import request_of, rerun_of
from gateway.workflow_requests import specs_of, workflow_command
from rota.workflow_protocol import RerunRequest, WorkflowRequest


async def schedule_workflow(edge: Edge, request: WorkflowRequest, asker: Asker) -> str:
    """Schedule a workflow; when it returns the id, the workflow is durable. KeyReusedError as for jobs."""
    command = await _command(edge, request, _id_for(request.name, request, asker))
    if request.key or asker.key:
        await check_workflow(edge, request, command)
    await edge.bus.send([command], caller=asker.caller)
    return command.id


async def rerun_workflow(edge: Edge, id_: str, request: RerunRequest, asker: Asker) -> str:
    """Schedule a workflow again, as another one with the params that are given and else those that it had.

    NotFoundError if there is none, InvalidRequestError if its jobs cannot use these params, or do not go with what
    the specs are now: its places are those of the definition. KeyReusedError as above.
    """
    details = rerun_of(id_, await find_workflow_details(edge, id_), request.params)
    command = ScheduleWorkflow(id=_id_for(details.name, request, asker), details=details)
    await _command(edge, request_of(details), command.id)
    if request.key or asker.key:
        await check_rerun(edge, command)
    await edge.bus.send([command], caller=asker.caller)
    return command.id


async def workflow_definition(edge: Edge, id_: str) -> WorkflowRequest:
    """Return a workflow as a request that schedules the same; NotFoundError if there is none."""
    return request_of(await find_workflow_details(edge, id_))


async def retry_workflow(edge: Edge, id_: str, asker: Asker) -> CommandResponse:
    """Have a workflow run again what has not succeeded; the same key again changes nothing.

    ConflictError if it is at work or has succeeded, NotFoundError if there is none.
    """
    # With a key of its own a request that is delivered twice retries once, also when the retry has ended by then.
    key = asker.key or secrets.token_hex(8)
    return await _steer(edge, RetryWorkflow(id=id_, key=key), asker)


async def pause_workflow(edge: Edge, id_: str, reason: str, asker: Asker) -> CommandResponse:
    """Have a workflow start no more jobs for now; ConflictError if it has ended, NotFoundError if there is none."""
    return await _steer(edge, PauseWorkflow(id=id_, reason=reason), asker)


async def resume_workflow(edge: Edge, id_: str, asker: Asker) -> CommandResponse:
    """Have a paused workflow go on; ConflictError if it has ended, NotFoundError if there is none."""
    return await _steer(edge, ResumeWorkflow(id=id_), asker)


async def cancel_workflow(edge: Edge, id_: str, reason: str, asker: Asker) -> CommandResponse:
    """Have a workflow stopped with all that runs of it.

    ConflictError if it has ended in another way, NotFoundError if there is none.
    """
    return await _steer(edge, CancelWorkflow(id=id_, reason=reason), asker)


async def _command(edge: Edge, request: WorkflowRequest, id_: str) -> ScheduleWorkflow:
    """Return the command for a request, by the specs and connections as they are now."""
    specs = await find_specs(edge, specs_of(request.jobs))
    known = connections(edge) if any(job.batch for job in request.jobs) else {}
    return workflow_command(request, specs, edge.schemas, known, id_)


async def _steer(
    edge: Edge, command: CancelWorkflow | PauseWorkflow | ResumeWorkflow | RetryWorkflow, asker: Asker
) -> CommandResponse:
    await find_last(edge, "workflow", command.id)
    return await carry_out(edge, command, asker)


def _id_for(name: str, request: WorkflowRequest | RerunRequest, asker: Asker) -> str:
    """Return the id of a new workflow: the same for the same key."""
    return keyed_group("workflow", name, request.key) if request.key else group_for(asker, "workflow")
