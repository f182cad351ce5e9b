"""What can be asked of batches, however it is asked."""

from typing import Any

from msgspec import structs

from events.batch import RedriveBatch
from events.batch_control import BatchControl, CancelBatch, ChangeBatch, PauseBatch, ResumeBatch
from events.ids import keyed_group
from events.sources import Connection
from gateway.batch_requests import batch_command, not_streamed, streamed_formats
from gateway.batch_states import find_state
from gateway.callers import Asker
from gateway.edge import Edge
from gateway.lookup import find_last, find_specs
from gateway.messages import CommandResponse
from gateway.operations import carry_out, group_for
from gateway.options import check_options
from gateway.problems import Faults
from gateway.repeats import check_batch
from rota.batch_protocol import BatchRequest, ChangeRequest, FailedJobs, RedriveRequest
from rota.errors import ConflictError, InvalidRequestError, RotaError

AT_WORK = ("reading", "sealed", "cancelling")


async def open_batch(edge: Edge, request: BatchRequest, asker: Asker) -> str:
    """Open a batch; when it returns the id, the batch is durable. KeyReusedError as for jobs."""
    specs = await find_specs(edge, [request.spec])
    id_ = keyed_group("batch", request.spec, request.key) if request.key else group_for(asker, "batch")
    command = batch_command(request, specs, edge.schemas, connections(edge), id_)
    if request.key or asker.key:
        await check_batch(edge, request, command)
    await edge.bus.send([command], caller=asker.caller)
    return id_


async def redrive_batch(edge: Edge, id_: str, request: RedriveRequest, asker: Asker) -> CommandResponse:
    """Have a batch go on that has failed, or completed with failures.

    ConflictError if that cannot be, as it is completed or cancelled, NotFoundError if there is none.
    """
    details, state = await find_state(edge, id_)
    at_work = state is None or state.status in AT_WORK
    if at_work and not (state and asker.key and asker.key == state.redrive_key):
        raise ConflictError(f"The batch {id_} is at work: redrive it when it has ended")
    faults = Faults()
    if details.stream and request.format not in (None, *streamed_formats()):
        faults.add("#/format", not_streamed(request.format))
    elif request.format is not None or request.options is not None:
        # What is left out stays as it was, and must go with what is given.
        check_options(
            request.format or details.format,
            details.options if request.options is None else request.options,
            faults,
        )
    jobs = request.jobs or (None if request.rows else FailedJobs())
    for place, file in (("#/jobs/file", jobs and jobs.file), ("#/rows/file", request.rows and request.rows.file)):
        if file is not None and state and all(known.path != file for known in state.files):
            faults.add(place, f"The batch has no file {file!r}")
    if jobs and jobs.first_row is not None and jobs.last_row is not None and jobs.last_row < jobs.first_row:
        faults.add("#/jobs/last_row", f"There is no row from {jobs.first_row} to {jobs.last_row}")
    faults.check()
    return await carry_out(edge, RedriveBatch(id=id_, key=asker.key, **_fields(request) | {"jobs": jobs}), asker)


async def pause_batch(edge: Edge, id_: str, reason: str, asker: Asker) -> CommandResponse:
    """Have a batch schedule no more jobs for now.

    ConflictError if all are scheduled, NotFoundError if there is none.
    """
    return await _steer(edge, PauseBatch(id=id_, reason=reason), asker)


async def resume_batch(edge: Edge, id_: str, asker: Asker) -> CommandResponse:
    """Have a paused batch go on; ConflictError if it has ended, NotFoundError if there is none."""
    return await _steer(edge, ResumeBatch(id=id_), asker)


async def change_batch(edge: Edge, id_: str, request: ChangeRequest, asker: Asker) -> CommandResponse:
    """Have a batch go on with other limits; ConflictError if it has ended, NotFoundError if there is none."""
    return await _steer(edge, ChangeBatch(id=id_, **_fields(request)), asker)


async def cancel_batch(edge: Edge, id_: str, reason: str, asker: Asker) -> CommandResponse:
    """Have a batch stopped with its jobs.

    ConflictError if it has ended in another way, NotFoundError if there is none.
    """
    return await _steer(edge, CancelBatch(id=id_, reason=reason), asker)


async def _steer(edge: Edge, command: BatchControl, asker: Asker) -> CommandResponse:
    await find_last(edge, "batch", command.id)
    return await carry_out(edge, command, asker)


def _fields(request: RedriveRequest | ChangeRequest) -> dict[str, Any]:
    return structs.asdict(request)


def connections(edge: Edge) -> dict[str, Connection]:
    """Return the configured connections; they are read each time, so that a new one needs no restart."""
    try:
        return edge.config.connections()
    except InvalidRequestError as error:
        raise RotaError(f"The connections cannot be read: {error}") from error
