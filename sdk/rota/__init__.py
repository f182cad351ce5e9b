"""Rota's SDK: define jobs, run workers, schedule work and wait for it.

    import rota

    @rota.job
    async def add(a: int, b: int) -> int:
        return a + b
"""

from rota.client import Client
from rota.errors import JobFailedError, RotaError
from rota.job import Context, Job, job
from rota.protocol import JobRequest, RetryPolicy
from rota.worker import Worker

__all__ = [
    "Client",
    "Context",
    "Job",
    "JobFailedError",
    "JobRequest",
    "RetryPolicy",
    "RotaError",
    "Worker",
    "job",
]
