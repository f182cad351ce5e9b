"""Requests into commands: what they leave out comes from the spec, and all that is wrong is told at once."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

import msgspec
from msgspec import Raw, Struct, UnsetType

from events.ids import keyed_group, member
from events.job import ScheduleJob
from gateway.problems import Faults, unknown
from gateway.schemas import Schemas
from rota.batch_protocol import BatchRequest
from rota.jetstream import MAX_BATCH
from rota.protocol import MAX_INLINE_BYTES, JobDetails, JobRequest, SpecView

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
        params = packed(request, spec, schemas, place, faults)
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
            chosen(request.queue, spec.queue),
            params,
            chosen(request.retry, spec.retry),
            chosen(request.timeout_seconds, spec.timeout_seconds),
            request.labels,
        )
        commands.append(ScheduleJob(id=id_, details=details, run_at=run_at))
    if keyed > MAX_KEYED:
        faults.add_too_large("#/jobs", f"{keyed} jobs have a key; the limit is {MAX_KEYED} in a list")
    faults.check()
    return commands


def packed(request: JobRequest | BatchRequest, spec: SpecView, schemas: Schemas, place: str, faults: Faults) -> Raw:
    """Return the params as MessagePack, checked."""
    schemas.check(spec, request.params, place, faults)
    return packed_with_labels("Params", request.params, request.labels, f"{place}/params", faults)


def packed_with_labels(what: str, value: Any, labels: Mapping[str, str], place: str, faults: Faults) -> Raw:
    """Return a value as MessagePack that a job has together with its labels: both must not be too large."""
    packed = packed_value(what, value, place, faults)
    size = len(packed) + (len(_encode(labels)) if labels else 0)
    if size > MAX_INLINE_BYTES:
        faults.add_too_large(
            place,
            f"{what} and labels take {size} bytes as MessagePack; the limit is {MAX_INLINE_BYTES}. "
            f"Put the data where the worker can read it, and its address into the {what.lower()}",
        )
    return Raw(packed)


def packed_value(what: str, value: Any, place: str, faults: Faults) -> bytes:
    """Return a value as MessagePack; nothing if that cannot be, which is noted."""
    try:
        return _encode(value)
    except OverflowError:
        faults.add(place, "An integer is beyond 64 bits")
    except RecursionError:
        faults.add(place, f"{what} are nested too deeply")
    return b""


def chosen(value: T | UnsetType, default: T) -> T:
    """Return what a request says, or what holds if it says nothing."""
    return default if isinstance(value, UnsetType) else value
