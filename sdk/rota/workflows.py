"""The workflows of a client: jobs whose order follows from their inputs, scheduled, watched and steered as one."""

from collections.abc import AsyncGenerator
from typing import Any
from urllib.parse import quote

import msgspec
from msgspec.structs import replace

from rota.http import Event, Gateway
from rota.patience import ended, limit
from rota.protocol import CancelRequest
from rota.workflow import Workflow
from rota.workflow_protocol import (
    ENDED_WORKFLOW,
    RerunRequest,
    RetryRequest,
    WorkflowList,
    WorkflowRequest,
    WorkflowResponse,
    WorkflowStatus,
    WorkflowView,
)

ENDS = frozenset(f"workflow.{status}" for status in ENDED_WORKFLOW)


class Workflows:
    """The workflows of a client."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def schedule(
        self, flow: Workflow | WorkflowRequest, *, params: dict[str, Any] | None = None, key: str | None = None
    ) -> str:
        """Schedule a workflow and return its id; when it returns, it is stored.

        `params` take the place of the workflow's own of the same names. `key` is an idempotency key: the same
        workflow and key again are the same run.
        """
        request = flow.request() if isinstance(flow, Workflow) else flow
        if params:
            request = replace(request, params={**request.params, **params})
        if key is not None:
            request = replace(request, key=key)
        return self._id(await self._gateway.post("/workflows", request))

    async def get(self, id_: str) -> WorkflowView:
        """Return what is known of a workflow: each of its jobs, its progress, and its critical path."""
        return await self._gateway.get(_workflow(id_), WorkflowView)

    async def definition(self, id_: str) -> WorkflowRequest:
        """Return a workflow as it was scheduled."""
        return await self._gateway.get(f"{_workflow(id_)}/definition", WorkflowRequest)

    async def list(
        self, *, status: WorkflowStatus | None = None, name: str | None = None, page_size: int = 100
    ) -> AsyncGenerator[WorkflowView, None]:
        """Yield all workflows that these describe, newest first and without their jobs, asked for by the page."""
        async for page in self._gateway.pages(
            "/workflows", WorkflowList, status=status, name=name, limit=page_size
        ):
            for workflow in page.workflows:
                yield workflow

    async def wait(self, id_: str, timeout: float | None = None) -> WorkflowView:
        """Return the workflow when it has ended; TimeoutError if it has not after so many seconds.

        Its `status` says how: succeeded, partly_failed, failed, timed_out or cancelled. What a job of it returned
        is the result of its `job`: see `Client.wait`.
        """
        async with limit(timeout, f"Workflow {id_}"):
            return await ended(self.watch(id_), ENDS, lambda: self.get(id_), ENDED_WORKFLOW)

    def watch(self, id_: str) -> AsyncGenerator[Event, None]:
        """Yield a workflow's events, those from before and those to come, until it has ended.

        Those of its jobs are not among them: `Client.events` with `workflow` has them, too.
        """
        return self._gateway.follow(_workflow(id_), ENDS)

    async def pause(self, id_: str, reason: str = "") -> None:
        """Have a workflow start nothing more for now; what runs goes on. ConflictError if it has ended."""
        await self._gateway.post(f"{_workflow(id_)}/pause", CancelRequest(reason))

    async def resume(self, id_: str) -> None:
        """Have a paused workflow go on; ConflictError if it has ended."""
        await self._gateway.post(f"{_workflow(id_)}/resume")

    async def cancel(self, id_: str, reason: str = "") -> None:
        """Have a workflow stopped, with all that runs of it; ConflictError if it has ended."""
        await self._gateway.post(f"{_workflow(id_)}/cancel", CancelRequest(reason))

    async def retry(self, id_: str) -> None:
        """Run again what has not succeeded, with the outputs of all that has; ConflictError if nothing failed."""
        await self._gateway.post(f"{_workflow(id_)}/retry", RetryRequest())

    async def rerun(self, id_: str, *, params: dict[str, Any] | None = None, key: str | None = None) -> str:
        """Run all of a workflow again as another one, and return its id.

        Params that are left out stay as they were. `key` is an idempotency key, as for `schedule`.
        """
        request = RerunRequest(params=params or {})
        if key is not None:
            request = replace(request, key=key)
        return self._id(await self._gateway.post(f"{_workflow(id_)}/rerun", request))

    def _id(self, answer: bytes) -> str:
        return msgspec.json.decode(answer, type=WorkflowResponse).id


def _workflow(id_: str) -> str:
    return f"/workflows/{quote(id_, safe='')}"
