"""Workflows on a real NATS server, with a shard and workers in this process."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
import pytest_asyncio

import rota
from events.jetstream.topology import COMMANDS, PAYLOADS, WORK
from events.job import CancelJob, JobQueued, JobSucceeded
from events.workflow import (
    AdvanceWorkflow,
    CancelWorkflow,
    EndWorkflowJob,
    PauseWorkflow,
    ResumeWorkflow,
    RetryWorkflow,
    WorkflowAttemptExpired,
    WorkflowFallbackApplied,
    WorkflowJobFailed,
    WorkflowJobReleased,
    WorkflowJobsSkipped,
    WorkflowJobSucceeded,
    WorkflowJobTimedOut,
    WorkflowJobWithdrawn,
    WorkflowStopping,
)
from events.workflow_ids import job_id
from events.workflow_progress import AT_ONCE
from rota.protocol import MAX_INLINE_BYTES, JobFault, Result, RetryPolicy, StartJob, SucceedJob, Work
from rota.worker import Worker
from tests.integration.test_worker import working
from tests.integration.workflow_side import KINDS, end, ended, job, of, output, run, schedule, workflow
from tests.integration.write_side import WriteSide, sharding

pytestmark = pytest.mark.usefixtures("shard")


@pytest_asyncio.fixture(loop_scope="session")
async def worker(write_side: WriteSide, nats_url: str) -> AsyncIterator[Worker]:
    async with working(nats_url, *KINDS, concurrency=50) as worker:
        yield worker


@pytest.mark.usefixtures("worker")
async def test_what_a_job_returns_is_given_to_those_that_use_it(write_side: WriteSide) -> None:
    id_, events = await run(
        write_side,
        workflow(
            job("first", inputs={"value": {"stats": {"rows": [3, 4]}}}),
            job("part", inputs={"value": {"from": "first", "output": "stats.rows.1"}}),
            job(
                "inside",
                inputs={
                    "value": [{"whole": {"from": "first"}}, {"from": "part"}, {"from": "$params", "output": "day"}]
                },
            ),
            params={"day": "monday"},
        ),
    )
    assert end(events) == "Succeeded"
    assert await output(write_side, id_, 1) == 4
    assert await output(write_side, id_, 2) == [{"whole": {"stats": {"rows": [3, 4]}}}, 4, "monday"]


@pytest.mark.usefixtures("worker")
async def test_jobs_that_do_not_need_each_other_run_at_once(write_side: WriteSide) -> None:
    started = time.monotonic()
    _, events = await run(write_side, workflow(*(job(f"j{n}", "rest", {"seconds": 0.3}) for n in range(20))))
    assert end(events) == "Succeeded"
    assert time.monotonic() - started < 20 * 0.3 / 4


@pytest.mark.usefixtures("worker")
async def test_what_belongs_to_a_job_is_stored_with_what_caused_it(write_side: WriteSide) -> None:
    id_, _ = await run(write_side, workflow(job("a"), job("b", inputs={"value": {"from": "a"}})))
    [first] = [
        one for one in await write_side.log.load("job", job_id(id_, 0)) if isinstance(one.event, JobSucceeded)
    ]
    [queued] = [one for one in await write_side.log.load("job", job_id(id_, 1)) if isinstance(one.event, JobQueued)]
    succeeded = next(
        one
        for one in await write_side.log.load("workflow", id_)
        if isinstance(one.event, WorkflowJobSucceeded) and one.event.job == 0
    )
    assert [succeeded.sequence - first.sequence, queued.sequence - succeeded.sequence] == [1, 2]
    assert queued.event.origin
    assert queued.event.origin.causation_id == f"{id_}.{succeeded.event.originator_version + 1}"
    assert queued.event.origin.correlation_id == id_


@pytest.mark.usefixtures("worker")
async def test_an_output_that_is_not_there_fails_the_job_that_needs_it(write_side: WriteSide) -> None:
    id_, events = await run(
        write_side,
        workflow(
            job("first", inputs={"value": {"rows": 3}}),
            job("next", inputs={"value": {"from": "first", "output": "stats.rows"}}, on_failure="fail_dependents"),
        ),
    )
    assert end(events) == "PartlyFailed"
    [failed] = of(events, WorkflowJobFailed)
    assert failed.fault.type == "InputError"
    assert failed.fault.message == "first: stats is missing: the object there has rows"
    assert await write_side.log.last("job", job_id(id_, 1)) is None


@pytest.mark.usefixtures("worker")
async def test_large_outputs_and_inputs_are_kept_beside_the_log(write_side: WriteSide) -> None:
    text = "x" * (3 * MAX_INLINE_BYTES)
    id_, events = await run(
        write_side,
        workflow(
            job("first", inputs={"value": {"from": "$params", "output": "text"}}),
            job("next", inputs={"value": [{"from": "first"}, {"from": "first"}]}),
            params={"text": text},
        ),
    )
    assert end(events) == "Succeeded"
    [queued, _] = [one.event for one in await write_side.log.load("job", job_id(id_, 1))]
    assert isinstance(queued, JobQueued)
    assert queued.details.large_params
    assert queued.details.large_params.size > 2 * len(text)
    assert await write_side.messages(PAYLOADS, f"rota.payload.{id_}.>") == 2
    last = await write_side.log.last("job", job_id(id_, 1))
    assert last
    assert isinstance(last.event, JobSucceeded)
    assert last.event.result.payload


async def test_a_result_that_nobody_can_read_fails_who_uses_it_and_nothing_else(write_side: WriteSide) -> None:
    id_ = await schedule(
        write_side,
        workflow(
            job("a", "nobody"),
            job("b", inputs={"value": {"from": "a"}}, on_failure="use_defaults", defaults=1),
            job("c", "nobody"),
        ),
    )
    for number, value in ((0, b"\xa2\xff\xfe"), (2, b"\x01")):
        name = job_id(id_, number)
        await write_side.until(name, "job.queued")
        now = datetime.now(UTC)
        result = Result(msgspec.Raw(value))
        await write_side.send(SucceedJob(id=name, attempt=1, worker="odd", started_at=now, result=result))
    events = await ended(write_side, id_)
    assert end(events) == "Succeeded"
    [failed] = of(events, WorkflowJobFailed)
    assert (failed.job, failed.fault.type) == (1, "InputError")
    assert failed.fault.message.startswith("The output of a cannot be used: ")


# Fan-outs


@pytest.mark.usefixtures("worker")
async def test_a_fan_out_runs_for_each_item_and_is_gathered_in_order(write_side: WriteSide) -> None:
    id_, events = await run(
        write_side,
        workflow(
            job("list", inputs={"value": {"files": [{"n": n} for n in range(400)]}}),
            job(
                "each",
                inputs={
                    "value": [
                        {"from": "$item", "output": "n"},
                        {"from": "$index"},
                        {"from": "list", "output": "files.0"},
                    ]
                },
                for_each={"from": "list", "output": "files"},
            ),
            job("all", inputs={"value": {"from": "each"}}),
        ),
    )
    assert end(events) == "Succeeded"
    assert await output(write_side, id_, 2) == [[n, n, {"n": 0}] for n in range(400)]


@pytest.mark.usefixtures("worker")
async def test_a_fan_out_over_nothing_gives_an_empty_list(write_side: WriteSide) -> None:
    id_, events = await run(
        write_side, workflow(job("each", for_each=[]), job("all", inputs={"value": {"from": "each"}}))
    )
    assert end(events) == "Succeeded"
    assert await output(write_side, id_, 1) == []


@pytest.mark.usefixtures("worker")
async def test_tolerated_failures_of_a_fan_out_are_null(write_side: WriteSide) -> None:
    each = job(
        "each", "choose", {"value": {"from": "$item"}, "refused": [1]}, for_each=[0, 1, 2], tolerated_failures=1
    )
    id_, events = await run(write_side, workflow(each, job("all", inputs={"value": {"from": "each"}})))
    assert end(events) == "Succeeded"
    assert await output(write_side, id_, 1) == [0, None, 2]


@pytest.mark.usefixtures("worker")
async def test_no_more_runs_than_the_limit_are_at_work(write_side: WriteSide) -> None:
    each = job("each", "rest", {"seconds": 0.01}, for_each=[0] * 30, max_parallel=4)
    _, events = await run(write_side, workflow(each))
    assert end(events) == "Succeeded"
    most = alive = 0
    for event in events:
        alive += isinstance(event, WorkflowJobReleased) and event.run is not None
        alive -= isinstance(event, WorkflowJobSucceeded) and event.run is not None
        most = max(most, alive)
    assert most == 4


@pytest.mark.usefixtures("worker")
async def test_a_list_that_is_none_fails_the_fan_out(write_side: WriteSide) -> None:
    _, events = await run(
        write_side,
        workflow(
            job("list", inputs={"value": 7}), job("each", for_each={"from": "list"}, on_failure="fail_dependents")
        ),
    )
    assert [failed.fault.message for failed in of(events, WorkflowJobFailed)] == ["for_each is no list but a int"]


@pytest.mark.usefixtures("worker")
async def test_more_jobs_than_one_decision_takes_are_all_released(write_side: WriteSide) -> None:
    count = 2 * AT_ONCE + 50
    _, events = await run(
        write_side,
        workflow(job("first"), *(job(f"j{n}", inputs={"value": {"from": "first"}}) for n in range(count))),
    )
    assert end(events) == "Succeeded"
    assert len(of(events, WorkflowJobReleased)) == count + 1


# Rules


@pytest.mark.usefixtures("worker")
async def test_fail_workflow_cancels_what_runs(write_side: WriteSide) -> None:
    id_, events = await run(
        write_side,
        workflow(
            job("bad", "refuse"),
            job("long", "rest", {"seconds": 60}),
            job("next", inputs={"value": {"from": "bad"}}),
        ),
    )
    assert end(events) == "Failed"
    assert events[-1].reason == "The job bad has failed: ValueError: no"
    assert [event.job for event in of(events, WorkflowJobWithdrawn)] == [1]
    assert (await write_side.tags(job_id(id_, 1)))[-1] == "job.cancelled"


@pytest.mark.usefixtures("worker")
async def test_fail_dependents_skips_only_what_depends_on_it(write_side: WriteSide) -> None:
    id_, events = await run(
        write_side,
        workflow(
            job("bad", "refuse", on_failure="fail_dependents"),
            job("next", inputs={"value": {"from": "bad"}}),
            job("far", after=["next"]),
            job("other", inputs={"value": 5}),
            job("last", inputs={"value": {"from": "other"}}),
        ),
    )
    assert end(events) == "PartlyFailed"
    assert [(event.jobs, event.because) for event in of(events, WorkflowJobsSkipped)] == [((1, 2), 0)]
    assert await output(write_side, id_, 4) == 5


@pytest.mark.usefixtures("worker")
async def test_use_defaults_gives_them_to_what_depends_on_it(write_side: WriteSide) -> None:
    id_, events = await run(
        write_side,
        workflow(
            job("bad", "refuse", on_failure="use_defaults", defaults={"rows": 7}),
            job("next", inputs={"value": {"from": "bad", "output": "rows"}}),
        ),
    )
    assert end(events) == "Succeeded"
    assert len(of(events, WorkflowFallbackApplied)) == 1
    assert await output(write_side, id_, 1) == 7


@pytest.mark.usefixtures("worker")
async def test_a_late_result_is_recorded_and_changes_nothing(write_side: WriteSide) -> None:
    id_, events = await run(
        write_side,
        workflow(
            job(
                "late", "rest", {"seconds": 1.2, "value": "late"}, total_timeout_seconds=0.5,
                on_timeout="use_defaults", defaults="default",
            ),
            job("next", inputs={"value": {"from": "late"}}),
            job("slow", "rest", {"seconds": 2}),
        ),
    )  # fmt: skip
    assert end(events) == "Succeeded"
    assert await output(write_side, id_, 1) == "default"
    assert await output(write_side, id_, 0) == "late"
    assert [(event.job, event.late) for event in of(events, WorkflowJobSucceeded)] == [
        (1, False),
        (0, True),
        (2, False),
    ]


# Time limits


def seconds_until(events: list[Any], kind: type[Any]) -> float:
    """Return how long it took from the first release to an event."""
    return float((of(events, kind)[0].at - of(events, WorkflowJobReleased)[0].at) / timedelta(seconds=1))


async def test_a_job_that_no_worker_begins_in_time_has_timed_out(write_side: WriteSide) -> None:
    id_, events = await run(write_side, workflow(job("a", "nobody", waiting_timeout_seconds=0.6)))
    assert end(events) == "Failed"
    [timed_out] = of(events, WorkflowJobTimedOut)
    assert timed_out.limit == "waiting"
    assert 0.6 <= seconds_until(events, WorkflowJobTimedOut) < 1.6
    await write_side.until_messages(0, WORK)
    assert (await write_side.tags(job_id(id_, 0)))[-1] == "job.cancelled"


@pytest.mark.usefixtures("worker")
async def test_the_limit_of_waiting_does_not_hold_for_a_job_that_has_begun(write_side: WriteSide) -> None:
    _, events = await run(write_side, workflow(job("a", "rest", {"seconds": 0.9}, waiting_timeout_seconds=0.5)))
    assert end(events) == "Succeeded"
    await write_side.until_messages(0, COMMANDS)  # no timer is left


@pytest.mark.usefixtures("worker")
async def test_the_limit_in_all_holds_over_all_attempts(write_side: WriteSide) -> None:
    again = RetryPolicy(max_attempts=100, delay_seconds=0.2, backoff=1)
    _, events = await run(write_side, workflow(job("a", "refuse", retry=again, total_timeout_seconds=0.7)))
    assert end(events) == "Failed"
    assert [event.limit for event in of(events, WorkflowJobTimedOut)] == ["total"]
    assert 0.7 <= seconds_until(events, WorkflowJobTimedOut) < 1.7


async def test_an_attempt_ends_in_time_though_its_worker_does_not_say_so(write_side: WriteSide) -> None:
    id_ = await schedule(
        write_side,
        workflow(job("a", "stuck", timeout_seconds=0.5, retry=RetryPolicy(max_attempts=2, delay_seconds=0))),
    )
    async with silent_worker(write_side, "stuck") as started:
        assert await started() == 1
        assert await started() == 2
        events = await ended(write_side, id_)
    assert [event.attempt for event in of(events, WorkflowAttemptExpired)] == [1, 2]
    assert [event.limit for event in of(events, WorkflowJobTimedOut)] == ["running"]
    tags = await write_side.tags(job_id(id_, 0))
    assert tags == ["job.queued", "job.started", "job.attempt_failed", "job.queued", "job.started", "job.timed_out"]


@pytest.mark.usefixtures("worker")
async def test_the_whole_has_a_time_limit(write_side: WriteSide) -> None:
    _, events = await run(
        write_side,
        workflow(job("a", "rest", {"seconds": 60}), job("b", after=["a"]), timeout_seconds=0.6),
    )
    assert end(events) == "TimedOut"
    assert events[-1].reason == "It took longer than 0.6 s"
    assert 0.6 <= seconds_until(events, WorkflowStopping) < 1.6


# Control


async def test_a_cancelled_workflow_leaves_no_work_however_much_there_was(write_side: WriteSide) -> None:
    count = 2 * AT_ONCE + 20
    id_ = await schedule(write_side, workflow(*(job(f"j{n}", "nobody") for n in range(count))))
    await write_side.until_messages(count, WORK)
    await write_side.send(CancelWorkflow(id=id_, reason="enough"))
    events = await ended(write_side, id_)
    assert (end(events), events[-1].reason) == ("Cancelled", "enough")
    assert len(of(events, WorkflowJobWithdrawn)) == count
    await write_side.until_messages(0, WORK)


@pytest.mark.usefixtures("worker")
async def test_a_paused_workflow_starts_nothing_until_it_is_resumed(write_side: WriteSide) -> None:
    id_ = await schedule(write_side, workflow(job("a", "rest", {"seconds": 0.5}), job("b", after=["a"])))
    await write_side.send(PauseWorkflow(id=id_))
    await write_side.until(id_, "workflow.job_succeeded", "workflow")
    await write_side.send(ResumeWorkflow(id=id_))
    tags = [type(event).__name__ for event in await ended(write_side, id_)]
    paused = tags.index("WorkflowPaused")
    assert tags[paused:] == [
        "WorkflowPaused",
        "WorkflowJobSucceeded",
        "WorkflowResumed",
        "WorkflowJobReleased",
        "WorkflowJobSucceeded",
        "WorkflowSucceeded",
    ]


async def test_a_retry_keeps_what_has_succeeded(write_side: WriteSide, nats_url: str) -> None:
    mended: list[bool] = []

    @rota.job(retry=RetryPolicy(max_attempts=1))
    async def fickle(value: Any) -> Any:
        if not mended:
            raise ValueError("not yet")
        return value

    async with working(nats_url, *KINDS, fickle):
        id_, events = await run(
            write_side,
            workflow(
                job("a", inputs={"value": 1}),
                job("b", "fickle", {"value": {"from": "a"}}),
                job("c", inputs={"value": [{"from": "a"}, {"from": "b"}]}),
            ),
        )
        assert end(events) == "Failed"
        mended.append(True)
        await write_side.send(RetryWorkflow(id=id_))
        events = await ended(write_side, id_, times=2)
    assert end(events) == "Succeeded"
    assert await output(write_side, id_, 2) == [1, 1]
    assert (await write_side.tags(job_id(id_, 0))).count("job.queued") == 1
    assert await write_side.tags(job_id(id_, 1)) == [
        "job.queued",
        "job.failed",
        "job.redriven",
        "job.queued",
        "job.succeeded",
    ]


async def test_a_workflow_that_is_cancelled_and_retried_at_once_keeps_its_limits_and_its_work(
    write_side: WriteSide,
) -> None:
    id_ = await schedule(
        write_side, workflow(job("a", "nobody", waiting_timeout_seconds=60.0), timeout_seconds=90.0)
    )
    await write_side.until(job_id(id_, 0), "job.queued")
    await write_side.send(CancelWorkflow(id=id_), RetryWorkflow(id=id_))
    await write_side.until(job_id(id_, 0), "job.queued", times=2)
    await write_side.until_messages(2, COMMANDS)
    assert await write_side.messages(COMMANDS, "rota.timer.>") == 2
    assert await write_side.messages(WORK) >= 1
    await write_side.send(CancelWorkflow(id=id_))
    await write_side.until_messages(0, COMMANDS)


@pytest.mark.usefixtures("worker")
async def test_a_job_that_somebody_cancels_counts_as_failed(write_side: WriteSide) -> None:
    id_ = await schedule(
        write_side,
        workflow(
            job("a", "nobody", on_failure="use_defaults", defaults=3), job("b", inputs={"value": {"from": "a"}})
        ),
    )
    await write_side.until(job_id(id_, 0), "job.queued")
    await write_side.send(CancelJob(id=job_id(id_, 0), reason="not needed"))
    events = await ended(write_side, id_)
    assert end(events) == "Succeeded"
    assert [(event.fault.type, event.fault.message) for event in of(events, WorkflowJobFailed)] == [
        ("Cancelled", "not needed")
    ]
    assert await output(write_side, id_, 1) == 3


# Owners


@pytest.mark.usefixtures("worker")
async def test_commands_that_come_twice_change_nothing(write_side: WriteSide) -> None:
    id_, events = await run(
        write_side, workflow(job("a", inputs={"value": 1}), job("b", inputs={"value": {"from": "a"}}))
    )
    await write_side.send(
        EndWorkflowJob(id=id_, job=0, outcome="failed", fault=JobFault("Error", "late")), AdvanceWorkflow(id=id_)
    )
    await write_side.until_messages(0, COMMANDS)
    assert [one.event for one in await write_side.log.load("workflow", id_)] == events


@pytest.mark.usefixtures("worker")
async def test_workflows_go_on_when_shards_come_and_go(write_side: WriteSide) -> None:
    chain = [job("j0", inputs={"value": 0})]
    chain += [job(f"j{n}", "rest", {"seconds": 0.02, "value": {"from": f"j{n - 1}"}}) for n in range(1, 40)]
    ids = [await schedule(write_side, workflow(*chain)) for _ in range(8)]
    for _ in range(3):
        async with sharding(write_side.connection):
            await asyncio.sleep(0.3)  # while both have a share
    for id_ in ids:
        events = await ended(write_side, id_)
        assert end(events) == "Succeeded"
        assert len(of(events, WorkflowJobReleased)) == 40


@asynccontextmanager
async def silent_worker(write_side: WriteSide, spec: str) -> AsyncIterator[Callable[[], Awaitable[int]]]:
    """Be a worker that takes jobs of a spec, says that it has begun, and never anything else."""
    config = {"name": spec, "durable_name": spec, "ack_policy": "explicit"}
    config["filter_subject"] = f"rota.work.*.*.{spec}.*"
    await write_side.connection.call(f"CONSUMER.CREATE.{WORK}.{spec}", {"stream_name": WORK, "config": config})

    async def begin() -> int:
        message = await write_side.take(WORK, spec)
        work = msgspec.msgpack.decode(message.data, type=Work)
        now = datetime.now(UTC)
        await write_side.send(StartJob(id=work.id, attempt=work.attempt, worker="silent", started_at=now))
        return work.attempt

    yield begin
    await write_side.connection.call(f"CONSUMER.DELETE.{WORK}.{spec}")
