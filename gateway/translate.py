"""Requests into commands: what they leave out comes from the spec, and all that is wrong is told at once."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TypeVar

import msgspec
from msgspec import Raw, Struct, UnsetType

from events.batch import BatchDetails, OpenBatch
from events.ids import keyed_group, member
from events.job import ScheduleJob
from events.sources import Connection
from gateway.files import check_files
from gateway.options import check_options
from gateway.problems import Faults, unknown
from gateway.schemas import Schemas
from rota.jetstream import MAX_BATCH
from rota.protocol import MAX_INLINE_BYTES, BatchRequest, JobDetails, JobRequest, SpecView

MAX_KEYED = MAX_BATCH - 1
"""Jobs with a key in one list: each is a message of its own, the others are one together."""

MAX_AHEAD = timedelta(days=3653)
"""As far as delay_seconds may reach."""

T = TypeVar("T")

_encode = msgspec.msgpack.Encoder().encode


class Specs(Struct):
    """The specs that a request names, and the names of all specs if one of those is unknown."""

    found: Mapping[str, SpecView]
    names: Sequence[str] = ()


def job_commands(
    requests: Sequence[JobRequest], specs: Specs, schemas: Schemas, group: str, now: datetime, *, listed: bool
) -> list[ScheduleJob]:
    """Return the commands that schedule the jobs; InvalidRequestError or TooLargeError names all that is wrong."""
    faults = Faults()
    commands: list[ScheduleJob] = []
    keyed = 0
    for index, request in enumerate(requests):
        if faults.enough:
            break
        place = f"#/jobs/{index}" if listed else "#"
        spec = specs.found.get(request.spec)
        if spec is None:
            faults.add(f"{place}/spec", unknown("spec", request.spec, specs.names))
            continue
        if spec.rows is not None:
            faults.add(f"{place}/spec", f"{spec.name} works on the rows of a batch: POST /batches")
            continue
        params = _packed(request, spec, schemas, place, faults)
        run_at = request.run_at or None
        if not isinstance(request.delay_seconds, UnsetType):
            if run_at:
                faults.add(f"{place}/delay_seconds", "delay_seconds and run_at exclude each other")
            run_at = now + timedelta(seconds=request.delay_seconds)
        if run_at and run_at > now + MAX_AHEAD:
            faults.add(f"{place}/run_at", f"run_at is more than {MAX_AHEAD.days} days ahead")
        if run_at and run_at <= now:
            run_at = None
        if request.key:
            id_ = keyed_group("job", spec.name, request.key)
            keyed += 1
        else:
            id_ = member(group, index) if listed else group
        details = JobDetails(
            spec.name,
            _or(request.queue, spec.queue),
            params,
            _or(request.retry, spec.retry),
            _or(request.timeout_seconds, spec.timeout_seconds),
            request.labels,
        )
        commands.append(ScheduleJob(id=id_, details=details, run_at=run_at))
    if keyed > MAX_KEYED:
        faults.add_too_large("#/jobs", f"{keyed} jobs have a key; the limit is {MAX_KEYED} in a list")
    faults.check()
    return commands


def batch_command(
    request: BatchRequest, specs: Specs, schemas: Schemas, connections: Mapping[str, Connection], id_: str
) -> OpenBatch:
    """Return the command that opens the batch; InvalidRequestError or TooLargeError names all that is wrong."""
    faults = Faults()
    check_files(request, connections, faults)
    check_options(request.format, request.options, faults)
    spec = specs.found.get(request.spec)
    if spec is None:
        faults.add("#/spec", unknown("spec", request.spec, specs.names))
        raise faults.refusal()
    if spec.rows is None:
        faults.add("#/spec", f"{spec.name} does not take rows; its handler needs a parameter for them")
    details = BatchDetails(
        spec=spec.name,
        queue=_or(request.queue, spec.queue),
        files=tuple(request.files),
        rows_per_job=request.rows_per_job,
        max_jobs_in_flight=request.max_jobs_in_flight,
        params=_packed(request, spec, schemas, "#", faults),
        connection=request.connection,
        format=request.format,
        options=request.options,
        retry=_or(request.retry, spec.retry),
        timeout_seconds=_or(request.timeout_seconds, spec.timeout_seconds),
        labels=request.labels,
        compression=request.compression,
        selection=request.selection,
        bad_rows=request.bad_rows,
        max_readers=request.max_readers,
    )
    faults.check()
    return OpenBatch(id=id_, details=details)


def _packed(
    request: JobRequest | BatchRequest, spec: SpecView, schemas: Schemas, place: str, faults: Faults
) -> Raw:
    """Return the params as MessagePack, checked."""
    schemas.check(spec, request.params, place, faults)
    try:
        packed = _encode(request.params)
    except OverflowError:
        faults.add(f"{place}/params", "An integer is beyond 64 bits")
        return Raw()
    except RecursionError:
        faults.add(f"{place}/params", "The params are nested too deeply")
        return Raw()
    size = len(packed) + (len(_encode(request.labels)) if request.labels else 0)
    if size > MAX_INLINE_BYTES:
        faults.add_too_large(
            f"{place}/params",
            f"Params and labels take {size} bytes as MessagePack; the limit is {MAX_INLINE_BYTES}. "
            "Put the data where the worker can read it, and its address into the params",
        )
    return Raw(packed)


def _or(value: T | UnsetType, default: T) -> T:
    return default if isinstance(value, UnsetType) else value
