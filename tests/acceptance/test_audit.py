"""Audit of the whole system: who asked for what, whether the views are right, and what was before."""

import json
import re
from typing import Any

from pyarrow import parquet

from scripts.dataset import as_csv, orders
from scripts.stack import ROOT
from tests.acceptance.system import Http, System


def lines(system: System, *arguments: str) -> list[Any]:
    done = system.run(*arguments, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line) for line in done.stdout.splitlines()]


async def test_a_chain_leads_from_the_request_for_a_batch_to_the_reports_of_its_workers(
    system: System, http: Http
) -> None:
    path = system.put("chain.csv", as_csv(orders(2000)))
    id_ = await http.open_batch(spec="tally", files=[path], connection="lake", rows_per_job=1000)
    await http.ended_batch(id_)
    chain = lines(system, "replay", "--chain", id_)
    callers = {(event["depth"], event["type"], event["origin"]["caller"].partition(":")[0]) for event in chain}
    assert {
        (0, "batch.opened", "http"),
        (1, "job.queued", "reader"),
        (2, "job.succeeded", "worker"),
        (1, "batch.file_found", "reader"),
        (1, "batch.completed", "reader"),
    } <= callers
    assert {event["origin"]["correlation_id"] for event in chain} == {id_}
    job = lines(system, "replay", "--chain", f"{id_}_0-1")
    assert [event["type"] for event in job] == ["batch.opened", "job.queued", "job.succeeded"]
    assert [event["sequence"] for event in lines(system, "replay", "--correlation", id_)] == sorted(
        event["sequence"] for event in chain
    )


async def test_a_chain_shows_attempts_and_the_timers_between_them(system: System, http: Http) -> None:
    id_ = await http.schedule("stumble", {"times": 1})
    await http.outcome(id_)
    chain = [(event["depth"], event["type"]) for event in lines(system, "replay", "--chain", id_)]
    assert [one for one in chain if one[1] != "job.started"] == [
        (0, "job.queued"),
        (1, "job.attempt_failed"),
        (2, "job.queued"),
        (3, "job.succeeded"),
    ]


async def test_the_views_of_a_running_system_are_what_the_log_folds_to(system: System, http: Http) -> None:
    await http.outcome(await http.schedule("add", {"a": 1, "b": 2}))
    done = system.run("replay", "--verify")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(
        r"[\d,]+ events up to sequence \d+: 0 faults; [\d,]+ rows of views: 0 differences\n", done.stdout
    )


async def test_the_past_of_a_queue_is_shown(system: System, http: Http) -> None:
    id_ = await http.schedule("add", {"a": 1, "b": 2}, queue="urgent")
    await http.outcome(id_)
    (first, *_) = lines(system, "replay", id_)
    (then,) = lines(system, "at", str(first["sequence"]), "queues", "--queue", "urgent")
    assert then["jobs"]["queued"] >= 1
    (job,) = lines(system, "at", "0s", "jobs", "--id", id_)
    assert job["status"] == "succeeded"
    assert "urgent" in {queue["name"] for queue in lines(system, "queues")}


def test_the_log_is_exported(system: System) -> None:
    path = system.stack.home / "events.parquet"
    done = system.run("replay", "--all", "--kind", "spec", "--output", str(path), cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, "")
    assert set(parquet.read_table(path).column("type").to_pylist()) == {"spec.registered"}
