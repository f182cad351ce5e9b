"""The params of a workflow's jobs, made of what other jobs have returned."""

import asyncio
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
from msgspec import MsgspecError, Raw, Struct

from actors.workflow_outputs import Outputs
from events.file_paths import ADDRESS, wrong_path, wrong_url
from events.jetstream.payloads import DamagedPayloadError, Payloads
from events.references import (
    INDEX,
    ITEM,
    PARAMS,
    MissingOutputError,
    Reference,
    pick,
    references,
    resolve,
)
from events.subjects import inputs_subject
from events.workflow_ids import batch_id, job_id
from events.workflow_state import FanOut, WorkflowState
from rota.errors import NotFoundError, RotaError
from rota.jetstream import Connection
from rota.protocol import MAX_INLINE_BYTES, Payload
from rota.workflow_protocol import MAX_JOBS

READS_AT_ONCE = 8
MAX_BYTES = 64 * 1024 * 1024
"""Of the outputs, as MessagePack, that the inputs of some jobs are made of at once."""
EMPTY = Raw(b"\x80")

UNUSABLE = (
    DamagedPayloadError,
    KeyError,
    MsgspecError,
    NotFoundError,
    OverflowError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What making inputs raises if outputs, references or the params of the workflow are not what they should be."""


class InputError(RotaError):
    """The inputs of a job cannot be made; the text says of which one and why."""


@contextmanager
def usable(what: str) -> Iterator[None]:
    """Make an InputError of what is wrong with values that others have given."""
    try:
        yield
    except UNUSABLE as error:
        raise InputError(f"{what} cannot be used: {str(error) or type(error).__name__}") from error


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
        self._values: dict[int, Any] = {}
        """Outputs, by the numbers of jobs."""
        self._room = MAX_BYTES

    async def params(self, number: int, run: int | None = None) -> Params:
        """Return the params of a job, or of a run; InputError if they cannot be made."""
        with usable("The inputs"):
            inputs = msgspec.msgpack.decode(self._state.details.jobs[number].inputs)
            item = (await self.items(number))[run] if run is not None else None
            body = msgspec.msgpack.encode(await self._resolved(inputs, number, item, run))
        if len(body) <= MAX_INLINE_BYTES:
            return Params(Raw(body))
        return Params(EMPTY, await self._put(number, run, body))

    async def items(self, number: int) -> list[Any]:
        """Return the list of a fan-out; InputError if it is none, or too long."""
        # It is the same for all runs: what was released when the list was looked at first.
        key = (self._id, number, self._state.jobs[number].part.released_at)
        if (known := self._outputs.lists.get(key)) is not None:
            return known
        with usable("for_each"):
            given = msgspec.msgpack.decode(self._state.details.jobs[number].for_each)
            items = await self._resolved(given, number)
        if not isinstance(items, list):
            raise InputError(f"for_each is no list but a {type(items).__name__}")
        if len(items) > MAX_JOBS:
            raise InputError(f"for_each has {len(items)} items; the limit is {MAX_JOBS}")
        self._outputs.lists.put(key, items)
        return items

    async def files(self, number: int) -> list[str]:
        """Return the files of a batch that are the output of a job; InputError if they are none."""
        with usable("files_from"):
            given = msgspec.msgpack.decode(self._state.details.jobs[number].files_from)
            files = await self._resolved(given, number)
        files = [files] if isinstance(files, str) else files
        if files == []:
            raise InputError("files_from is an empty list: there is nothing to read")
        if not isinstance(files, list) or not all(isinstance(one, str) and one for one in files):
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
        sources = {one.source for _, one in references(value) if isinstance(one, Reference)}
        own = {ITEM: item, INDEX: index}
        if PARAMS in sources:
            own[PARAMS] = msgspec.msgpack.decode(self._state.details.params)
        needed = {jobs[other].name: other for other in jobs[number].needs}
        for source in sources:
            if source in needed and needed[source] not in self._values:
                self._values[needed[source]] = await self._output(needed[source])

        def look_up(reference: Reference) -> Any:
            source = reference.source
            found = own[source] if source in own else self._values[needed[source]]
            try:
                return pick(found, reference.path)
            except MissingOutputError as error:
                raise InputError(f"{source}: {error}") from error

        return resolve(value, look_up)

    async def _output(self, number: int) -> Any:
        """Return the output of a job that has one."""
        job, spec = self._state.jobs[number], self._state.details.jobs[number]
        with usable(f"The output of {spec.name}"):
            if job.fallback:
                return msgspec.msgpack.decode(spec.defaults)
            if spec.batch:
                id_ = batch_id(self._id, number, job.part.opened)
                return msgspec.msgpack.decode(await self._outputs.of_batch(id_))
            if job.fan_out is None:
                return await self._returned(number)
            return await self._runs(number, job.fan_out)

    async def _returned(self, number: int, run: int | None = None) -> Any:
        """Return what a job or a run has returned, if there is room for it."""
        body = await self._outputs.of_job(job_id(self._id, number, run), self._room)
        self._room -= len(body)
        return msgspec.msgpack.decode(body)

    async def _runs(self, number: int, fan_out: FanOut) -> list[Any]:
        """Return what the runs of a fan-out have returned, in the order of its list; null for those that failed."""
        found: list[Any] = [None] * len(fan_out.runs)
        good = [run for run, part in enumerate(fan_out.runs) if part.status == "succeeded"]
        for start in range(0, len(good), READS_AT_ONCE):
            some = good[start : start + READS_AT_ONCE]
            values = await asyncio.gather(*(self._returned(number, run) for run in some))
            for run, value in zip(some, values, strict=True):
                found[run] = value
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
