"""The params of a workflow's jobs, made of what other jobs have returned."""

import asyncio
import hashlib
from typing import Any

import msgspec
from msgspec import MsgspecError, Raw, Struct

from actors.workflow_outputs import Outputs
from events.file_paths import ADDRESS, wrong_path, wrong_url
from events.jetstream.payloads import Payloads
from events.references import (
    INDEX,
    ITEM,
    PARAMS,
    InvalidReferenceError,
    MissingOutputError,
    Reference,
    pick,
    references,
    resolve,
)
from events.subjects import inputs_subject
from events.workflow_ids import batch_id, job_id
from events.workflow_state import WorkflowState
from rota.errors import NotFoundError, RotaError
from rota.jetstream import Connection
from rota.protocol import MAX_INLINE_BYTES, Payload
from rota.workflow_protocol import MAX_JOBS

READS_AT_ONCE = 32
EMPTY = Raw(b"\x80")


class InputError(RotaError):
    """The inputs of a job cannot be made; the text says of which one and why."""


class Params(Struct, frozen=True):
    """Params as a MessagePack map, or behind a claim check where they are too large for an event."""

    value: Raw
    large: Payload | None = None


class Inputs:
    """Makes inputs for some jobs of one workflow; each output is read once."""

    def __init__(self, connection: Connection, outputs: Outputs, id_: str, state: WorkflowState) -> None:
        self._payloads = Payloads(connection)
        self._outputs = outputs
        self._id = id_
        self._state = state
        self._params = msgspec.msgpack.decode(state.details.params)
        self._values: dict[int, Any] = {}
        """Outputs, by the numbers of jobs."""
        self._lists: dict[int, list[Any]] = {}

    async def params(self, number: int, run: int | None = None) -> Params:
        """Return the params of a job, or of a run; InputError if they cannot be made."""
        inputs = msgspec.msgpack.decode(self._state.details.jobs[number].inputs)
        item = (await self.items(number))[run] if run is not None else None
        value = await self._resolved(inputs, number, item, run)
        try:
            body = msgspec.msgpack.encode(value)
        except (OverflowError, RecursionError, TypeError) as error:
            raise InputError(f"The inputs cannot be sent: {error}") from error
        if len(body) <= MAX_INLINE_BYTES:
            return Params(Raw(body))
        return Params(EMPTY, await self._put(number, run, body))

    async def items(self, number: int) -> list[Any]:
        """Return the list of a fan-out; InputError if it is none, or too long."""
        if number not in self._lists:
            given = msgspec.msgpack.decode(self._state.details.jobs[number].for_each)
            items = await self._resolved(given, number)
            if not isinstance(items, list):
                raise InputError(f"for_each is no list but a {type(items).__name__}")
            if len(items) > MAX_JOBS:
                raise InputError(f"for_each has {len(items)} items; the limit is {MAX_JOBS}")
            self._lists[number] = items
        return self._lists[number]

    async def files(self, number: int) -> list[str]:
        """Return the files of a batch that are the output of a job; InputError if they are none."""
        given = msgspec.msgpack.decode(self._state.details.jobs[number].files_from)
        files = await self._resolved(given, number)
        files = [files] if isinstance(files, str) else files
        if not isinstance(files, list) or not files or not all(isinstance(one, str) and one for one in files):
            raise InputError("files_from is no path and no list of paths")
        batch = self._state.details.jobs[number].batch
        name = batch.connection if batch else None
        for index, path in enumerate(files):
            is_address = name is None or ADDRESS.match(path)
            if said := wrong_url(path) if is_address else wrong_path(path, name or "", None):
                raise InputError(f"files_from/{index}: {said}")
        return files

    async def _resolved(self, value: Any, number: int, item: Any = None, index: int | None = None) -> Any:
        """Return a value of a job's with all references replaced: to jobs that it needs, and no others."""
        jobs = self._state.details.jobs
        own = {PARAMS: self._params, ITEM: item, INDEX: index}
        needed = {jobs[other].name: other for other in jobs[number].needs}
        for source in {one.source for _, one in references(value) if isinstance(one, Reference)}:
            if source in needed and needed[source] not in self._values:
                self._values[needed[source]] = await self._output(needed[source])

        def look_up(reference: Reference) -> Any:
            source = reference.source
            found = own[source] if source in own else self._values[needed[source]]
            try:
                return pick(found, reference.path)
            except MissingOutputError as error:
                raise InputError(f"{source}: {error}") from error

        try:
            return resolve(value, look_up)
        except (InvalidReferenceError, KeyError) as error:
            raise InputError(f"A reference leads nowhere: {error}") from error

    async def _output(self, number: int) -> Any:
        """Return the output of a job that has one."""
        job, spec = self._state.jobs[number], self._state.details.jobs[number]
        try:
            if job.fallback:
                return msgspec.msgpack.decode(spec.defaults)
            if spec.batch:
                id_ = batch_id(self._id, number, job.part.opened)
                return msgspec.msgpack.decode(await self._outputs.of_batch(id_))
            if job.fan_out is None:
                return msgspec.msgpack.decode(await self._outputs.of_job(job_id(self._id, number)))
            return await self._runs(number)
        except (MsgspecError, RecursionError, NotFoundError) as error:
            raise InputError(f"The output of {spec.name} cannot be read: {error}") from error

    async def _runs(self, number: int) -> list[Any]:
        """Return what the runs of a fan-out have returned, in the order of its list; null for those that failed."""
        fan_out = self._state.jobs[number].fan_out
        found: list[Any] = [None] * len(fan_out.runs if fan_out else ())
        good = [run for run, part in enumerate(fan_out.runs if fan_out else ()) if part.status == "succeeded"]
        for start in range(0, len(good), READS_AT_ONCE):
            some = good[start : start + READS_AT_ONCE]
            bodies = await asyncio.gather(*(self._outputs.of_job(job_id(self._id, number, run)) for run in some))
            for run, body in zip(some, bodies, strict=True):
                found[run] = msgspec.msgpack.decode(body)
        return found

    async def _put(self, number: int, run: int | None, body: bytes) -> Payload:
        """Keep params that are too large for an event."""
        limit = self._payloads.max_bytes
        if len(body) > limit:
            raise InputError(f"The inputs take {len(body)} bytes; the limit is {limit}")
        digest = hashlib.sha256(body).hexdigest()
        subject = inputs_subject(self._id, number, run, digest)
        await self._payloads.put([(subject, body)])
        return Payload(subject, len(body), digest)
