"""One attempt of one job: from the message to the report."""

import asyncio
import logging
import traceback
from collections.abc import Callable
from concurrent.futures import Executor
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from rota.errors import GiveUpError
from rota.jetstream import Connection, until_available
from rota.jobs import Context, Job
from rota.protocol import (
    MAX_INLINE_BYTES,
    FailJob,
    JobFault,
    Payload,
    PayloadForm,
    ProgressJob,
    Report,
    Result,
    Rows,
    StartJob,
    SucceedJob,
    Work,
)

PAYLOADS = "ROTA_PAYLOADS"
HEADROOM_BYTES = 1024
TRACEBACK_CHARACTERS = 4000
MESSAGE_CHARACTERS = 4000
LONG = timedelta(seconds=1)
"""A job that is over before this has no start of its own in the log; its last event tells it."""

DECODERS: dict[PayloadForm, Callable[[bytes], Any]] = {
    "json": msgspec.json.decode,
    "messagepack": msgspec.msgpack.decode,
}
"""Of rows that are stored as a list of objects."""

log = logging.getLogger("rota.worker")


class Attempt:
    """A run of a handler; `run` returns its report and never raises but for cancellation."""

    def __init__(self, work: Work, job: Job[Any, Any], worker: str, delivery: int) -> None:
        self.work = work
        self.started_at = datetime.now(UTC)
        self._start_reported = False
        self._job = job
        self._facts: dict[str, Any] = {
            "id": work.id,
            "attempt": work.attempt,
            "worker": worker,
            "delivery": delivery,
            "causation_id": f"{work.id}.{work.version}",
        }
        self._context = Context(work, delivery, self._note_progress)
        self._progress: tuple[float, str] | None = None

    async def run(self, connection: Connection, threads: Executor) -> Report:
        """Run the handler with its params, and its rows if it is a batch job."""
        details = self.work.details
        try:
            rows = await self._rows(connection, details.rows) if details.rows else None
            large = await _fetched(connection, details.large_params, "params") if details.large_params else None
            params = msgspec.Raw(large) if large else details.params
            arguments = self._job.arguments(params, rows, self._context)
        except Exception as error:  # noqa: BLE001 - rows that Python cannot hold raise what they like
            return self.failed(error, final=True)
        limit = asyncio.timeout(details.timeout_seconds)
        try:
            async with limit:
                if self._job.is_async:
                    value = await self._job.handler(**arguments)
                else:
                    call = asyncio.get_running_loop().run_in_executor(
                        threads, lambda: self._job.handler(**arguments)
                    )
                    value = await call
            return await self._succeeded(connection, value)
        except TimeoutError as error:
            if not limit.expired():
                return self.failed(error)
            late = TimeoutError(f"The attempt took longer than {details.timeout_seconds:g} s")
            return self.failed(late, timed_out=True)
        except GiveUpError as error:
            return self.failed(error, final=True)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task and task.cancelling():
                raise
            # Nobody cancelled this attempt: something that the handler waited for was cancelled.
            return self.failed(error)
        except Exception as error:  # noqa: BLE001 - whatever a handler raises is its job's failure
            return self.failed(error)

    def news(self) -> list[Report]:
        """Return what a job that takes long has to tell since the last call: its start, its progress."""
        reports: list[Report] = []
        if not self._start_reported and datetime.now(UTC) - self.started_at >= LONG:
            reports.append(self.start())
        if self._progress:
            percent, message = self._progress
            self._progress = None
            reports.append(ProgressJob(percent=percent, message=message, **self._facts))
        return reports

    def start(self) -> StartJob:
        """Return the report that it has begun."""
        self._start_reported = True
        return StartJob(started_at=self.started_at, **self._facts)

    def failed(self, error: BaseException, *, timed_out: bool = False, final: bool = False) -> FailJob:
        """Return the report of a failure."""
        lines = traceback.format_exception(error) if error.__traceback__ else []
        fault = JobFault(
            type=type(error).__name__,
            message=_told(str(error)[:MESSAGE_CHARACTERS]),
            traceback=_told("".join(lines)[-TRACEBACK_CHARACTERS:]),
        )
        log.info("job %s failed in attempt %d: %s: %s", self.work.id, self.work.attempt, fault.type, fault.message)
        return FailJob(started_at=self.started_at, fault=fault, timed_out=timed_out, final=final, **self._facts)

    async def _succeeded(self, connection: Connection, value: Any) -> Report:
        try:
            body = msgspec.msgpack.encode(value)
        except (TypeError, ValueError, OverflowError) as error:
            raise GiveUpError(f"The result cannot be sent: {error}") from error
        if len(body) <= MAX_INLINE_BYTES:
            result = Result(value=msgspec.Raw(body))
        else:
            limit = connection.client.max_payload - HEADROOM_BYTES
            if len(body) > limit:
                raise GiveUpError(f"The result has {len(body)} bytes; the limit is {limit}")
            payload = Payload.of(f"rota.result.{self.work.id}", body)
            await until_available(lambda: connection.publish(payload.subject, body))
            result = Result(payload=payload)
        return SucceedJob(started_at=self.started_at, result=result, **self._facts)

    async def _rows(self, connection: Connection, rows: Rows) -> Any:
        """Return the job's rows as its handler takes them: a table, or dicts."""
        body = await _fetched(connection, rows.payload, "rows")
        # The batch was opened for the spec as it was then: both sides are looked at.
        wants_table = self._job.spec.rows == "arrow"
        if rows.form != "arrow" and not wants_table:
            return DECODERS[rows.form](body)
        import pyarrow as pa  # noqa: PLC0415 - an extra: only workers of batch jobs in Arrow need it

        if rows.form != "arrow":
            return pa.Table.from_pylist(DECODERS[rows.form](body))
        table = pa.ipc.open_stream(body).read_all()
        return table if wants_table else table.to_pylist()

    def _note_progress(self, percent: float, message: str) -> None:
        # Checked here, where it fails this job alone: a report that cannot be read would take others with it.
        self._progress = (float(percent), _told(str(message)[:MESSAGE_CHARACTERS]))


async def _fetched(connection: Connection, payload: Payload, what: str) -> bytes:
    """Return what a claim check is for; GiveUpError if it is not there as it was stored."""
    message = await until_available(lambda: connection.last(PAYLOADS, payload.subject))
    if message is None:
        raise GiveUpError(f"The {what} at {payload.subject} were removed")
    if not payload.fits(message.data):
        raise GiveUpError(f"The {what} at {payload.subject} do not have their digest")
    return message.data


def _told(text: str) -> str:
    """Return a text as it can be sent: file names, for one, may have what is no UTF-8."""
    return text.encode(errors="replace").decode()
