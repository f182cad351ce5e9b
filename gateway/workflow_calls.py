"""What can be asked of workflows over NATS: each request and its answer."""

from collections.abc import Mapping

from gateway.bodies import check_plain, decode_list
from gateway.calls import Call, Operation, without_id
from gateway.lookup import find_workflow
from gateway.messages import (
    CancelWorkflowRequest,
    CommandResponse,
    IdRequest,
    PauseWorkflowRequest,
    RerunWorkflowRequest,
)
from gateway.problems import Faults
from gateway.workflow_operations import (
    cancel_workflow,
    pause_workflow,
    rerun_workflow,
    resume_workflow,
    retry_workflow,
    schedule_workflow,
    workflow_definition,
)
from rota.workflow_protocol import (
    RerunRequest,
    WorkflowJobRequest,
    WorkflowRequest,
    WorkflowResponse,
    WorkflowView,
)


async def _schedule(call: Call) -> WorkflowResponse:
    """Schedule a workflow; when its id is answered, its jobs will run."""
    request = decode_list(call.body, WorkflowRequest, WorkflowJobRequest, call.encoding)
    faults = Faults()
    check_plain(request.params, call.encoding, "#/params", faults)
    for number, job in enumerate(request.jobs):
        for name in ("inputs", "for_each", "files_from", "defaults"):
            if value := getattr(job, name):
                check_plain(value, call.encoding, f"#/jobs/{number}/{name}", faults)
    faults.check()
    return WorkflowResponse(await schedule_workflow(call.edge, request, call.asker))


async def _get(call: Call) -> WorkflowView:
    """Answer a workflow with its jobs; an id that was given out is always known."""
    return await find_workflow(call.edge, call.read(IdRequest).id)


async def _get_definition(call: Call) -> WorkflowRequest:
    """Answer a workflow as it was scheduled, as a request that can be sent again."""
    return await workflow_definition(call.edge, call.read(IdRequest).id)


async def _pause(call: Call) -> CommandResponse:
    """Have a workflow start no more jobs until it is resumed, and answer what became of that."""
    request = call.read(PauseWorkflowRequest)
    return await pause_workflow(call.edge, request.id, request.reason, call.asker)


async def _resume(call: Call) -> CommandResponse:
    """Let a paused workflow go on, and answer what became of that."""
    return await resume_workflow(call.edge, call.read(IdRequest).id, call.asker)


async def _cancel(call: Call) -> CommandResponse:
    """Stop a workflow with all that runs of it, and answer what became of that."""
    request = call.read(CancelWorkflowRequest)
    return await cancel_workflow(call.edge, request.id, request.reason, call.asker)


async def _retry(call: Call) -> CommandResponse:
    """Run again what has not succeeded of a workflow that has ended, and answer what became of that."""
    return await retry_workflow(call.edge, call.read(IdRequest).id, call.asker)


async def _rerun(call: Call) -> WorkflowResponse:
    """Schedule a workflow again, as another one whose id is answered."""
    request = call.read(RerunWorkflowRequest)
    call.check("#/params", request.params)
    asked = without_id(request, RerunRequest)
    return WorkflowResponse(await rerun_workflow(call.edge, request.id, asked, call.asker))


WORKFLOW_OPERATIONS: Mapping[str, Operation] = {
    "workflow.cancel": Operation(_cancel, CancelWorkflowRequest, CommandResponse),
    "workflow.definition": Operation(_get_definition, IdRequest, WorkflowRequest),
    "workflow.get": Operation(_get, IdRequest, WorkflowView),
    "workflow.pause": Operation(_pause, PauseWorkflowRequest, CommandResponse),
    "workflow.rerun": Operation(_rerun, RerunWorkflowRequest, WorkflowResponse),
    "workflow.resume": Operation(_resume, IdRequest, CommandResponse),
    "workflow.retry": Operation(_retry, IdRequest, CommandResponse),
    "workflow.schedule": Operation(_schedule, WorkflowRequest, WorkflowResponse),
}
