"""The NATS service `rota`: requests on `rota.api.>`, answered in the encoding that they come in."""

import logging
from collections.abc import Mapping
from typing import Any

from multidict import CIMultiDict

from events.jetstream.bus import HEADROOM_BYTES
from events.jetstream.service import Endpoint, Handler, Reply, Service
from gateway.batch_calls import BATCH_OPERATIONS
from gateway.bodies import check_plain, check_size, decode_jobs
from gateway.callers import nats_asker
from gateway.calls import Call, Operation
from gateway.edge import Edge
from gateway.encodings import JSON, Encoding, encoding_of
from gateway.lookup import find_job
from gateway.messages import (
    CancelJobRequest,
    CommandResponse,
    IdRequest,
    JobResult,
    NoRequest,
    ResultRequest,
    SpecList,
    SpecRequest,
)
from gateway.operations import cancel_job, job_result, register_spec, schedule
from gateway.problems import Faults, document
from gateway.workflow_calls import WORKFLOW_OPERATIONS
from rota.errors import RotaError, TooLargeError, UnavailableError
from rota.protocol import CONTENT_TYPE, JobRequest, JobView, ScheduleRequest, ScheduleResponse

NAME = "rota"
VERSION = "1.0.0"
"""Version of the endpoints: the first number grows when a client may have to change."""
DESCRIPTION = "Schedules jobs, batches and workflows, and tells how they went"
PREFIX = "rota.api"

log = logging.getLogger("rota.gateway")


async def _schedule(call: Call) -> ScheduleResponse:
    """Schedule one job or a list; when the ids are answered, all of them are durable."""
    requests, listed = decode_jobs(call.body, call.encoding)
    faults = Faults()
    for index, request in enumerate(requests):
        place = f"#/jobs/{index}/params" if listed else "#/params"
        check_plain(request.params, call.encoding, place, faults)
    faults.check()
    return ScheduleResponse(await schedule(call.edge, requests, call.asker, listed=listed))


async def _get_job(call: Call) -> JobView:
    """Answer a job; an id that was given out is always known."""
    return await find_job(call.edge, call.read(IdRequest).id)


async def _get_result(call: Call) -> JobResult:
    """Answer how a job has ended, as soon as it has or the time to wait is over."""
    request = call.read(ResultRequest)
    return await job_result(call.edge, request.id, request.wait)


async def _cancel_job(call: Call) -> CommandResponse:
    """Cancel a job, and answer what became of it."""
    request = call.read(CancelJobRequest)
    return await cancel_job(call.edge, request.id, request.reason, call.asker)


async def _list_specs(call: Call) -> SpecList:
    """Answer all specs."""
    call.read(NoRequest)
    return SpecList(call.edge.views().specs())


async def _register_spec(call: Call) -> CommandResponse:
    """Make a kind of job known; the same again changes nothing."""
    request = call.read(SpecRequest)
    call.check("#/params_schema", request.params_schema)
    call.check("#/result_schema", request.result_schema)
    return await register_spec(call.edge, request, call.asker)


OPERATIONS: Mapping[str, Operation] = {
    **BATCH_OPERATIONS,
    "job.cancel": Operation(_cancel_job, CancelJobRequest, CommandResponse),
    "job.get": Operation(_get_job, IdRequest, JobView),
    "job.result": Operation(_get_result, ResultRequest, JobResult, waits=True),
    "job.schedule": Operation(_schedule, JobRequest | ScheduleRequest, ScheduleResponse),
    "spec.list": Operation(_list_specs, NoRequest, SpecList),
    "spec.register": Operation(_register_spec, SpecRequest, CommandResponse),
    **WORKFLOW_OPERATIONS,
}
"""What is done for a request on `rota.api.<name>`."""


def service(edge: Edge) -> Service:
    """Return the service, to be entered."""
    endpoints = [
        Endpoint(
            name=name.replace(".", "-"),
            subject=f"{PREFIX}.{name}",
            handle=_handler(edge, name, operation),
            busy=_busy if operation.waits else None,
        )
        for name, operation in OPERATIONS.items()
    ]
    return Service(edge.connection, NAME, VERSION, DESCRIPTION, endpoints)


def _handler(edge: Edge, name: str, operation: Operation) -> Handler:
    async def handle(body: bytes, headers: Mapping[str, str]) -> Reply:
        encoding = JSON
        try:
            named = CIMultiDict(headers.items())
            encoding = encoding_of(named.get(CONTENT_TYPE))
            if operation.bounded:
                check_size(body, edge.config.max_body_bytes)
            call = Call(edge, nats_asker(named), body, encoding)
            return _reply(edge, encoding, await operation.carry_out(call))
        except RotaError as error:
            if error.status == RotaError.status:
                log.exception("%s failed", name)
            return _refusal(error, encoding)
        except Exception:
            log.exception("%s failed", name)
            return _refusal(RotaError("The gateway's log says more"), encoding)

    return handle


def _reply(edge: Edge, encoding: Encoding, value: Any) -> Reply:
    body = encoding.encode(value)
    limit = edge.connection.client.max_payload - HEADROOM_BYTES
    if len(body) > limit:
        raise TooLargeError(f"The answer has {len(body)} bytes; the limit of the NATS server is {limit}")
    return Reply(body, {CONTENT_TYPE: encoding.media_type})


def _refusal(error: RotaError, encoding: Encoding) -> Reply:
    media_type = "application/problem+json" if encoding is JSON else encoding.media_type
    return Reply(encoding.encode(document(error)), {CONTENT_TYPE: media_type}, (error.status, error.detail))


def _busy(headers: Mapping[str, str]) -> Reply:
    encoding = JSON
    try:
        encoding = encoding_of(CIMultiDict(headers.items()).get(CONTENT_TYPE))
    except RotaError as error:
        return _refusal(error, JSON)
    return _refusal(UnavailableError("Too many requests wait; repeat this one later"), encoding)
