"""The SDK and the command line `rota`, through the whole of Rota."""

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import rota
from rota.batch_protocol import BatchRequest
from rota.errors import InvalidRequestError, JobFailedError, NotFoundError
from rota.protocol import MAX_JOBS_PER_REQUEST, JobRequest, JobStatus
from scripts.dataset import as_csv, orders, sums
from scripts.stack import free_port, program
from tests.acceptance import kinds
from tests.acceptance.system import System, assert_each_row_once, until

SHOP = """
import rota

@rota.job(queue="shop")
def greet(name: str, times: int = 1) -> str:
    \"\"\"Greet somebody.\"\"\"
    return " ".join([f"Hello {name}!"] * times)
"""


@pytest.fixture
def shop(system: System, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A worker that the command line runs, with jobs of a module in its own folder."""
    (tmp_path / "shop.py").write_text(SHOP)
    command = [program("rota"), "worker", "shop"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=tmp_path, env=system.stack.environment, stderr=log)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def test_the_client_schedules_and_waits(client: rota.Client) -> None:
    assert await client.wait(await client.schedule("add", {"a": 19, "b": 23}), timeout=20) == 42
    assert await client.wait(await client.schedule(kinds.add, {"a": 1, "b": 2}), timeout=20) == 3
    ids = await client.schedule_many([JobRequest(spec="add", params={"a": n, "b": n}) for n in range(20)])
    assert [await client.wait(id_, timeout=20) for id_ in ids] == [2 * n for n in range(20)]


async def test_the_client_schedules_the_longest_list(client: rota.Client) -> None:
    labels = {"why": "A body of more than a megabyte is as good as any other."}
    jobs = [JobRequest(spec="add", params={"a": n, "b": 1}, labels=labels) for n in range(MAX_JOBS_PER_REQUEST)]
    assert len(msgspec.json.encode(jobs)) > 1024 * 1024
    ids = await client.schedule_many(jobs)
    assert len(set(ids)) == MAX_JOBS_PER_REQUEST

    async def left() -> int:
        states: tuple[JobStatus, ...] = ("scheduled", "queued", "running")

        found = [[job async for job in client.jobs(spec="add", status=state)] for state in states]
        return sum(map(len, found))

    await until(left, lambda count: count == 0)
    for index in (0, 5_000, MAX_JOBS_PER_REQUEST - 1):
        assert await client.wait(ids[index], timeout=20) == index + 1


async def test_the_client_raises_what_went_wrong(client: rota.Client) -> None:
    failed = await client.schedule("stumble", {"times": 1}, retry=rota.RetryPolicy(max_attempts=1))
    with pytest.raises(JobFailedError, match="ValueError: attempt 1 stumbles"):
        await client.wait(failed, timeout=20)
    with pytest.raises(NotFoundError, match="There is no job nothing"):
        await client.get("nothing")
    with pytest.raises(InvalidRequestError) as caught:
        await client.schedule("add", {"a": "one", "b": 2})
    assert [problem.pointer for problem in caught.value.problems] == ["#/params/a"]


async def test_the_client_watches_a_job_to_its_end(client: rota.Client) -> None:
    id_ = await client.schedule("stumble", {"times": 1})
    expected = ["job.queued", "job.attempt_failed", "job.queued", "job.succeeded"]
    assert [event["type"] async for event in client.watch(id_)] == expected
    assert [event["type"] for event in await client.history(id_)] == expected


async def test_the_client_cancels_a_job(client: rota.Client) -> None:
    id_ = await client.schedule("sleep", {"seconds": 0}, queue="closed")
    await client.cancel(id_, "too late")
    with pytest.raises(JobFailedError, match="cancelled, Cancelled: too late"):
        await client.wait(id_, timeout=20)


async def test_the_client_opens_a_batch_and_watches_it(system: System, client: rota.Client) -> None:
    table = orders(4_200)
    path = system.put("client.csv", as_csv(table))
    request = BatchRequest(spec="tally", connection="lake", files=[path], rows_per_job=500)
    id_ = await client.batches.open(request)
    await assert_each_row_once(client, id_, [9], sums(table))
    assert [event["type"] async for event in client.batches.watch(id_)][-1] == "batch.completed"


def test_the_command_line_schedules_and_waits(system: System) -> None:
    done = system.run("schedule", "add", "--params", "a=19", "b=23", "--wait")
    assert (done.returncode, done.stdout.splitlines()[1:], done.stderr) == (0, ["42"], "")
    id_ = done.stdout.splitlines()[0]
    shown = json.loads(system.run("get", id_, "--json").stdout)
    assert (shown["id"], shown["status"], shown["result"]) == (id_, "succeeded", 42)
    listed = [json.loads(line) for line in system.run("list", "--spec", "add", "--json").stdout.splitlines()]
    assert listed[0]["id"] == id_
    watched = system.run("watch", id_)
    assert (watched.returncode, len(watched.stdout.splitlines())) == (0, 2)
    replayed = [json.loads(line) for line in system.run("replay", id_, "--json").stdout.splitlines()]
    assert [event["type"] for event in replayed] == ["job.queued", "job.succeeded"]


def test_the_command_line_ends_with_1_when_a_job_fails(system: System) -> None:
    done = system.run("schedule", "describe", "--queue", "closed")
    id_ = done.stdout.strip()
    assert system.run("cancel", id_, "--reason", "enough").returncode == 0
    assert system.run("watch", id_).returncode == 1
    done = system.run("schedule", "add", "--params", "a=one", "b=2", "--wait")
    assert (done.returncode, done.stdout) == (1, "")
    assert "#/params/a" in done.stderr
    assert system.run("get", "nothing").stderr == "rota: There is no job, no batch and no workflow nothing\n"


def test_the_command_line_ends_with_2_when_it_is_used_wrongly(system: System) -> None:
    assert system.run("schedul").returncode == 2
    assert system.run("worker", "shop", "--lease-seconds", "0").returncode == 2


def test_the_command_line_says_what_cannot_be_reached(system: System) -> None:
    nowhere = free_port()
    done = system.run("specs", "--url", f"http://127.0.0.1:{nowhere}")
    assert done.returncode == 1
    assert done.stderr.startswith(f"rota: No gateway answers at http://127.0.0.1:{nowhere}.")
    done = system.run("replay", "--all", "--nats-url", f"nats://127.0.0.1:{nowhere}")
    assert done.returncode == 1
    assert done.stderr.startswith(f"rota: No NATS server answers at nats://127.0.0.1:{nowhere}.")


def test_the_command_line_watches_a_batch_and_replays_it(system: System) -> None:
    path = system.put("line.csv", as_csv(orders(2_500)))
    done = system.run("batch", "tally", path, "--connection", "lake", "--rows-per-job", "1000", "--watch")
    assert (done.returncode, done.stderr) == (0, "")
    id_, progress = done.stdout.splitlines()
    assert progress.startswith("completed · 1/1 files · 2,500 rows · 3/3 jobs done")
    replayed = [json.loads(line) for line in system.run("replay", id_, "--json").stdout.splitlines()]
    assert [event["version"] for event in replayed] == list(range(1, len(replayed) + 1))
    assert (replayed[0]["type"], replayed[-1]["type"]) == ("batch.opened", "batch.completed")
    failed = system.run("batch", "tally", "none.csv", "--connection", "lake", "--watch")
    assert failed.returncode == 1
    assert "none.csv is not there" in failed.stderr


def test_the_command_line_lists_specs(system: System) -> None:
    names = {json.loads(line)["name"] for line in system.run("specs", "--json").stdout.splitlines()}
    assert set(kinds.__all__) <= names


async def test_the_command_line_runs_a_worker_until_it_is_told_to_stop(
    system: System, client: rota.Client, shop: subprocess.Popen[bytes]
) -> None:
    async def look() -> Any:
        return {spec.name: spec for spec in await client.specs()}

    specs = await until(look, lambda specs: "greet" in specs)
    assert (specs["greet"].queue, specs["greet"].description) == ("shop", "Greet somebody.")
    done = system.run("schedule", "greet", "--params", "name=Ann", "times=2", "--wait")
    assert done.stdout.splitlines()[1] == '"Hello Ann! Hello Ann!"'
    shop.send_signal(signal.SIGTERM)
    assert shop.wait(timeout=20) == 0
