"""A worker runs jobs: a real NATS server, a shard and workers in this process."""

import asyncio
import hashlib
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pyarrow as pa
import pytest

import rota
from events.ids import batch_job_id
from events.jetstream.payloads import Payloads
from events.jetstream.topology import WORK
from events.job import (
    CancelJob,
    JobAttemptFailed,
    JobFailed,
    JobProgressed,
    JobStarted,
    JobSucceeded,
    JobTimedOut,
    ScheduleJob,
)
from events.spec import SpecRegistered
from events.subjects import work_of
from rota.jetstream import Connection
from rota.jobs import Context, Job
from rota.protocol import MAX_INLINE_BYTES, JobDetails, Payload, PayloadForm, RetryPolicy, Rows, RowsForm
from rota.worker import Worker
from tests.integration.write_side import WAIT_SECONDS, WriteSide, details, new_id, tags

pytestmark = pytest.mark.usefixtures("shard")

AT_ONCE = RetryPolicy(max_attempts=3, delay_seconds=0)


@asynccontextmanager
async def working(url: str, *jobs: Job[Any, Any], **options: Any) -> AsyncIterator[Worker]:
    """Run a worker; leaving stops it gracefully."""
    worker = Worker(jobs, **{"nats_url": url, "name": "w", **options})
    running = asyncio.create_task(worker.run(signals=False))
    try:
        yield worker
    finally:
        if not worker._stopping.is_set():
            worker.stop()
        await asyncio.wait_for(running, WAIT_SECONDS)


async def run(write_side: WriteSide, url: str, job: Job[Any, Any], params: Any = None, **others: Any) -> Any:
    """Schedule one job, have it run, and return its last event."""
    async with working(url, job):
        id_ = await write_side.schedule(job.name, params, **others)
        return (await ended(write_side, id_))[-1]


async def ended(write_side: WriteSide, id_: str) -> list[Any]:
    """Return a job's events when it has ended."""
    names = ("succeeded", "failed", "timed_out", "cancelled")
    waits = [asyncio.create_task(write_side.until(id_, f"job.{name}")) for name in names]
    done, rest = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)
    return list(done.pop().result())


def value(event: Any) -> Any:
    assert isinstance(event, JobSucceeded), event
    return msgspec.msgpack.decode(event.result.value)


async def payload(connection: Connection, found: Payload | None) -> bytes:
    assert found
    return await Payloads(connection).get(found)


def in_arrow(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue().to_pybytes())


async def with_rows(
    write_side: WriteSide, job: Job[Any, Any], rows: pa.Table, *, form: PayloadForm = "arrow", damaged: bool = False
) -> str:
    """Schedule a batch job with these rows, stored in this form."""
    encoders: dict[PayloadForm, Callable[[pa.Table], bytes]] = {
        "arrow": in_arrow,
        "json": lambda table: msgspec.json.encode(table.to_pylist()),
        "messagepack": lambda table: msgspec.msgpack.encode(table.to_pylist()),
    }
    body = encoders[form](rows)
    id_ = batch_job_id(new_id().partition("-")[0], 0, 3)
    subject = f"rota.payload.{id_}"
    await Payloads(write_side.connection).put([(subject, body[:-1] if damaged else body)])
    origin = Rows(
        "b", "a.csv", 0, 3, 300, rows.num_rows, Payload.of(subject, body), form, '"v1"', 70, {"n": "int64"}
    )
    await write_side.send(ScheduleJob(id=id_, details=details(job.name, {"table": "t"}, rows=origin)))
    return id_


@rota.job
async def add(a: int, b: int = 2) -> int:
    return a + b


@rota.job
def shout(text: str) -> str:
    return f"{text.upper()} in a thread: {threading.current_thread() is not threading.main_thread()}"


@pytest.mark.parametrize(
    ("job", "params", "result"),
    [(add, {"a": 1}, 3), (add, {"a": 1, "b": 5}, 6), (shout, {"text": "hey"}, "HEY in a thread: True")],
)
async def test_a_handler_is_called_with_the_params_and_its_result_is_stored(
    write_side: WriteSide, nats_url: str, job: Job[Any, Any], params: Any, result: Any
) -> None:
    event = await run(write_side, nats_url, job, params)

    assert value(event) == result
    assert (event.worker, event.attempt) == ("w", 1)
    assert event.started_at <= event.at


async def test_a_worker_makes_its_specs_known(write_side: WriteSide, nats_url: str) -> None:
    @rota.job(name=f"known{new_id()[:20]}", queue="sums")
    async def known(a: int) -> None:
        """Be known."""

    async with working(nats_url, known):
        [registered] = await write_side.until(known.name, "spec.registered", "spec")

    assert isinstance(registered, SpecRegistered)
    assert (registered.definition.description, registered.definition.queue) == ("Be known.", "sums")


async def test_many_jobs_run_a_limited_number_at_a_time(write_side: WriteSide, nats_url: str) -> None:
    running, most = 0, 0
    full, go = asyncio.Event(), asyncio.Event()

    @rota.job
    async def crowd() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if running == 3:
            full.set()
        await go.wait()
        running -= 1

    async with working(nats_url, crowd, concurrency=3):
        ids = [await write_side.schedule("crowd") for _ in range(10)]
        await asyncio.wait_for(full.wait(), WAIT_SECONDS)
        go.set()
        for id_ in ids:
            await write_side.until(id_, "job.succeeded")

    assert most == 3


async def test_rows_come_as_dicts(write_side: WriteSide, nats_url: str) -> None:
    @rota.job
    def load_dicts(rows: list[dict[str, Any]], table: str, context: Context) -> Any:
        assert context.rows
        return [table, rows, context.rows.first_row]

    async with working(nats_url, load_dicts):
        id_ = await with_rows(write_side, load_dicts, pa.table({"n": [1, 2], "s": ["a", None]}))
        [*_, event] = await ended(write_side, id_)

    assert value(event) == ["t", [{"n": 1, "s": "a"}, {"n": 2, "s": None}], 300]
    assert event.batch == "b"


async def test_rows_come_as_an_arrow_table(write_side: WriteSide, nats_url: str) -> None:
    @rota.job
    async def load_arrow(rows: pa.Table, table: str) -> Any:
        return [rows.num_rows, rows.schema.names]

    async with working(nats_url, load_arrow):
        id_ = await with_rows(write_side, load_arrow, pa.table({"n": [1, 2], "s": ["a", None]}))
        [*_, event] = await ended(write_side, id_)

    assert value(event) == [2, ["n", "s"]]


@pytest.mark.parametrize("form", ["json", "messagepack"])
@pytest.mark.parametrize("stored", ["arrow", "json", "messagepack"])
async def test_rows_come_as_dicts_in_whichever_form_they_were_stored(
    write_side: WriteSide, nats_url: str, form: RowsForm, stored: PayloadForm
) -> None:
    @rota.job(rows=form)
    async def load_rows(rows: list[dict[str, Any]], table: str) -> Any:
        return rows

    async with working(nats_url, load_rows):
        id_ = await with_rows(write_side, load_rows, pa.table({"n": [1, 2], "s": ["a", None]}), form=stored)
        [*_, event] = await ended(write_side, id_)

    assert value(event) == [{"n": 1, "s": "a"}, {"n": 2, "s": None}]


@pytest.mark.parametrize("stored", ["json", "messagepack"])
async def test_a_handler_that_takes_a_table_gets_one_of_rows_that_were_stored_for_another(
    write_side: WriteSide, nats_url: str, stored: PayloadForm
) -> None:
    @rota.job
    async def load_table(rows: pa.Table, table: str) -> Any:
        return rows.to_pylist()

    async with working(nats_url, load_table):
        id_ = await with_rows(write_side, load_table, pa.table({"n": [1, 2]}), form=stored)
        [*_, event] = await ended(write_side, id_)

    assert value(event) == [{"n": 1}, {"n": 2}]


async def test_the_context_tells_where_rows_came_from(write_side: WriteSide, nats_url: str) -> None:
    @rota.job
    async def load_origin(rows: pa.Table, table: str, context: Context) -> Any:
        found = context.rows
        assert found
        return [found.batch, found.file, found.version, found.size, found.first_row, found.count, found.columns]

    async with working(nats_url, load_origin):
        id_ = await with_rows(write_side, load_origin, pa.table({"n": [1, 2]}))
        [*_, event] = await ended(write_side, id_)

    assert value(event) == ["b", "a.csv", '"v1"', 70, 300, 2, {"n": "int64"}]


async def test_rows_that_are_damaged_fail_the_job_for_good(write_side: WriteSide, nats_url: str) -> None:
    @rota.job
    async def load_damaged(rows: pa.Table, table: str) -> None: ...

    async with working(nats_url, load_damaged):
        id_ = await with_rows(write_side, load_damaged, pa.table({"n": [1]}), damaged=True)
        [*_, event] = await ended(write_side, id_)

    assert isinstance(event, JobFailed)
    assert "do not have their digest" in event.fault.message


async def test_params_that_do_not_fit_fail_the_job_for_good(write_side: WriteSide, nats_url: str) -> None:
    event = await run(write_side, nats_url, add, {"a": "one"}, retry=AT_ONCE)

    assert isinstance(event, JobFailed)
    assert (event.attempt, event.fault.type) == (1, "ValidationError")
    assert event.fault.message == "Expected `int`, got `str` - at `$.a`"


async def test_a_handler_that_raises_is_tried_again(write_side: WriteSide, nats_url: str) -> None:
    @rota.job
    async def third_time(context: Context) -> str:
        if context.attempt < 3:
            raise ValueError(f"no luck in attempt {context.attempt}")
        return f"attempt {context.attempt}"

    async with working(nats_url, third_time):
        id_ = await write_side.schedule("third_time", retry=AT_ONCE)
        history = await ended(write_side, id_)

    assert tags(history) == [
        "job.queued",
        "job.attempt_failed",
        "job.queued",
        "job.attempt_failed",
        "job.queued",
        "job.succeeded",
    ]
    assert isinstance(history[1], JobAttemptFailed)
    assert (history[1].fault.type, history[1].fault.message) == ("ValueError", "no luck in attempt 1")
    assert "third_time" in history[1].fault.traceback
    assert value(history[-1]) == "attempt 3"


async def test_a_handler_that_gives_up_is_not_tried_again(write_side: WriteSide, nats_url: str) -> None:
    @rota.job
    def hopeless() -> None:
        raise rota.GiveUpError("there is no such account")

    event = await run(write_side, nats_url, hopeless, retry=AT_ONCE)

    assert isinstance(event, JobFailed)
    assert (event.attempt, event.fault.message) == (1, "there is no such account")


async def test_an_async_handler_is_ended_when_its_time_is_over(write_side: WriteSide, nats_url: str) -> None:
    ended_by: list[str] = []

    @rota.job
    async def endless() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended_by.append("cancellation")
            raise

    event = await run(write_side, nats_url, endless, timeout_seconds=0.2)

    assert isinstance(event, JobTimedOut)
    assert event.fault.message == "The attempt took longer than 0.2 s"
    assert ended_by == ["cancellation"]


async def test_a_handler_in_a_thread_can_run_out_of_time(write_side: WriteSide, nats_url: str) -> None:
    free = threading.Event()

    @rota.job
    def endless_thread() -> None:
        free.wait(WAIT_SECONDS)

    event = await run(write_side, nats_url, endless_thread, timeout_seconds=0.2)
    free.set()

    assert isinstance(event, JobTimedOut)


async def test_a_time_out_of_the_handlers_own_is_an_ordinary_failure(write_side: WriteSide, nats_url: str) -> None:
    @rota.job
    async def impatient() -> None:
        raise TimeoutError("the other side does not answer")

    event = await run(write_side, nats_url, impatient, timeout_seconds=10)

    assert isinstance(event, JobFailed)
    assert event.fault.message == "the other side does not answer"


async def test_a_handler_that_is_cancelled_from_inside_fails(write_side: WriteSide, nats_url: str) -> None:
    @rota.job
    async def cancels_itself() -> None:
        waiting = asyncio.ensure_future(asyncio.Event().wait())
        waiting.cancel()
        await waiting

    event = await run(write_side, nats_url, cancels_itself)

    assert isinstance(event, JobFailed)
    assert event.fault.type == "CancelledError"


async def test_a_large_result_is_kept_apart_with_its_digest(write_side: WriteSide, nats_url: str) -> None:
    @rota.job
    async def verbose() -> str:
        return "x" * MAX_INLINE_BYTES

    event = await run(write_side, nats_url, verbose)

    assert isinstance(event, JobSucceeded)
    body = await payload(write_side.connection, event.result.payload)
    assert msgspec.msgpack.decode(body) == "x" * MAX_INLINE_BYTES
    assert event.result.payload
    assert event.result.payload.sha256 == hashlib.sha256(body).hexdigest()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: object(), "The result cannot be sent: Encoding objects of type object is unsupported"),  # noqa: PLW0108 - each its own
        (lambda: 2**70, "The result cannot be sent"),
        (lambda: b"x" * 9_000_000, "the limit is"),
    ],
    ids=["no type of MessagePack", "too great a number", "too large"],
)
async def test_a_result_that_cannot_be_sent_fails_the_job_for_good(
    write_side: WriteSide, nats_url: str, make: Callable[[], Any], message: str
) -> None:
    @rota.job
    async def odd() -> Any:
        return make()

    event = await run(write_side, nats_url, odd, retry=AT_ONCE)

    assert isinstance(event, JobFailed)
    assert event.attempt == 1
    assert message in event.fault.message


async def test_a_long_job_tells_of_its_start_and_progress(write_side: WriteSide, nats_url: str) -> None:
    finish = asyncio.Event()

    @rota.job
    async def lengthy(context: Context) -> None:
        context.progress(20)
        context.progress(40, "half way")
        await finish.wait()

    async with working(nats_url, lengthy):
        id_ = await write_side.schedule("lengthy")
        await write_side.until(id_, "job.started")
        await write_side.until(id_, "job.progressed")
        finish.set()
        history = await ended(write_side, id_)

    [started] = [event for event in history if isinstance(event, JobStarted)]
    progress = [(event.percent, event.message) for event in history if isinstance(event, JobProgressed)]
    assert progress == [(40, "half way")]
    assert history[-1].started_at == started.started_at


async def test_a_running_job_that_is_cancelled_is_stopped(write_side: WriteSide, nats_url: str) -> None:
    begun, stopped = asyncio.Event(), asyncio.Event()

    @rota.job
    async def unwanted() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    async with working(nats_url, unwanted):
        id_ = await write_side.schedule("unwanted")
        await asyncio.wait_for(begun.wait(), WAIT_SECONDS)
        await write_side.send(CancelJob(id=id_, reason="no need"))
        await asyncio.wait_for(stopped.wait(), WAIT_SECONDS)
        await write_side.until_messages(0, WORK, work_of(id_))

    assert await write_side.tags(id_) == ["job.queued", "job.cancelled"]


async def test_a_worker_that_stops_finishes_what_runs_and_gives_back_what_waits(
    write_side: WriteSide, nats_url: str
) -> None:
    begun, go = asyncio.Event(), asyncio.Event()
    ran: list[str] = []

    @rota.job
    async def orderly(context: Context) -> None:
        begun.set()
        await go.wait()
        ran.append(context.job_id)

    async with working(nats_url, orderly, concurrency=1) as worker:
        ids = [await write_side.schedule("orderly") for _ in range(3)]
        await asyncio.wait_for(begun.wait(), WAIT_SECONDS)
        worker.stop()
        go.set()
    assert len(ran) == 1

    # Long before its lease would run out.
    async with asyncio.timeout(10), working(nats_url, orderly, lease_seconds=30):
        for id_ in ids:
            await write_side.until(id_, "job.succeeded")
    assert sorted(ran) == sorted(ids)


async def test_a_worker_told_twice_to_stop_gives_up_what_runs_and_another_runs_it(
    write_side: WriteSide, nats_url: str
) -> None:
    begun = asyncio.Event()

    @rota.job
    async def stubborn(context: Context) -> int:
        begun.set()
        if context.delivery == 1:
            await asyncio.Event().wait()
        return context.delivery

    async with working(nats_url, stubborn) as worker:
        id_ = await write_side.schedule("stubborn")
        await asyncio.wait_for(begun.wait(), WAIT_SECONDS)
        worker.stop()
        worker.stop()
    async with working(nats_url, stubborn):
        [*_, event] = await write_side.until(id_, "job.succeeded")

    assert value(event) >= 2


async def test_a_job_whose_worker_was_lost_goes_to_another(write_side: WriteSide, nats_url: str) -> None:
    @rota.job
    async def lost_once(context: Context) -> list[int]:
        return [context.attempt, context.delivery]

    async with working(nats_url, lost_once, lease_seconds=0.5):
        pass
    id_ = await write_side.schedule("lost_once")
    # Somebody takes the job and is never heard of again.
    taken = await write_side.take(WORK, "default:lost_once")
    assert taken.subject.endswith(id_)

    async with working(nats_url, lost_once, lease_seconds=0.5):
        [*_, event] = await write_side.until(id_, "job.succeeded")

    assert value(event) == [1, 2]


async def test_a_job_that_takes_longer_than_its_lease_keeps_it(write_side: WriteSide, nats_url: str) -> None:
    finish = asyncio.Event()
    runs: list[int] = []

    @rota.job
    async def slow(context: Context) -> None:
        runs.append(context.delivery)
        await finish.wait()

    async with working(nats_url, slow, lease_seconds=0.6), working(nats_url, slow, lease_seconds=0.6):
        id_ = await write_side.schedule("slow")
        # It is reported after a second: by then the lease would have run out.
        await write_side.until(id_, "job.started")
        finish.set()
        await write_side.until(id_, "job.succeeded")

    assert runs == [1]


async def test_a_job_with_details_that_a_worker_does_not_know_is_run(write_side: WriteSide, nats_url: str) -> None:
    found: list[JobDetails] = []

    @rota.job
    async def labelled(context: Context) -> None:
        found.append(context.details)

    await run(write_side, nats_url, labelled, labels={"team": "x"}, queue="default")

    assert found[0].labels == {"team": "x"}


async def test_reports_of_one_group_that_are_large_together_are_all_stored(
    write_side: WriteSide, nats_url: str
) -> None:
    count, go = 200, asyncio.Event()

    @rota.job
    async def large() -> bytes:
        await go.wait()
        return b"x" * (MAX_INLINE_BYTES - 100)

    group = new_id().partition("-")[0]
    ids = [f"{group}-{index}" for index in range(count)]
    async with working(nats_url, large, concurrency=count) as worker:
        await write_side.send(*(ScheduleJob(id=id_, details=details("large")) for id_ in ids))
        async with asyncio.timeout(WAIT_SECONDS):
            while len(worker._running) < count:
                await asyncio.sleep(0.01)
        go.set()
        for id_ in (ids[0], ids[-1]):
            await write_side.until(id_, "job.succeeded")


@pytest.mark.parametrize("text", ["\udce9", "x" * 9_000_000])
async def test_any_text_of_a_failure_can_be_told(write_side: WriteSide, nats_url: str, text: str) -> None:
    @rota.job
    async def breaks() -> None:
        raise ValueError(text)

    event = await run(write_side, nats_url, breaks)

    assert isinstance(event, JobFailed)
    assert event.fault.type == "ValueError"


async def test_progress_that_is_no_number_fails_the_job_alone(write_side: WriteSide, nats_url: str) -> None:
    @rota.job
    async def vague(context: Context) -> None:
        context.progress("half")  # type: ignore[arg-type] # what a handler without types may do

    event = await run(write_side, nats_url, vague)

    assert isinstance(event, JobFailed)
    assert event.fault.type == "ValueError"


@pytest.mark.parametrize("body", [b"\xc1", msgspec.msgpack.encode({"id": "x", "version": 1, "attempt": 1})])
async def test_work_that_cannot_be_read_takes_no_place(write_side: WriteSide, nats_url: str, body: bytes) -> None:
    @rota.job
    def add(a: int) -> int:
        return a + 1

    for number in range(3):
        await write_side.connection.publish(f"rota.event.job.x{number}.queued.default.normal.add", body)
    await write_side.until_messages(3, WORK)

    async with working(nats_url, add, concurrency=1):
        id_ = await write_side.schedule("add", {"a": 1})
        assert value((await ended(write_side, id_))[-1]) == 2
