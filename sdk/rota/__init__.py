"""Rota's SDK: define jobs, run workers, schedule work and wait for it.

A function becomes a kind of job by a decorator:

    @rota.job
    async def add(a: int, b: int) -> int:
        return a + b

`rota worker MODULE` runs the jobs of a module; `rota.Client` schedules them and waits for their results, and
`rota.Workflow` puts jobs together whose inputs are the outputs of others.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rota.batch_protocol import BadRowsAgain, BatchRequest, FailedJobs, StreamRules, Tolerance
    from rota.client import Client
    from rota.errors import GiveUpError, JobFailedError, RotaError
    from rota.jobs import Context, Job, job
    from rota.protocol import JobRequest, RetryPolicy
    from rota.references import index, item
    from rota.worker import Worker
    from rota.workflow import Workflow
    from rota.workflow_protocol import WorkflowJobRequest, WorkflowRequest

_MODULES = {
    "BadRowsAgain": "rota.batch_protocol",
    "BatchRequest": "rota.batch_protocol",
    "Client": "rota.client",
    "Context": "rota.jobs",
    "FailedJobs": "rota.batch_protocol",
    "GiveUpError": "rota.errors",
    "Job": "rota.jobs",
    "JobFailedError": "rota.errors",
    "JobRequest": "rota.protocol",
    "RetryPolicy": "rota.protocol",
    "RotaError": "rota.errors",
    "StreamRules": "rota.batch_protocol",
    "Tolerance": "rota.batch_protocol",
    "Worker": "rota.worker",
    "Workflow": "rota.workflow",
    "WorkflowJobRequest": "rota.workflow_protocol",
    "WorkflowRequest": "rota.workflow_protocol",
    "index": "rota.references",
    "item": "rota.references",
    "job": "rota.jobs",
}

__all__ = [
    "BadRowsAgain",
    "BatchRequest",
    "Client",
    "Context",
    "FailedJobs",
    "GiveUpError",
    "Job",
    "JobFailedError",
    "JobRequest",
    "RetryPolicy",
    "RotaError",
    "StreamRules",
    "Tolerance",
    "Worker",
    "Workflow",
    "WorkflowJobRequest",
    "WorkflowRequest",
    "index",
    "item",
    "job",
]


def __getattr__(name: str) -> Any:
    """Import a name when it is used: the server needs the wire types alone, a worker no HTTP client."""
    if name not in _MODULES:
        raise AttributeError(f"module 'rota' has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULES[name]), name)
    globals()[name] = value
    return value
