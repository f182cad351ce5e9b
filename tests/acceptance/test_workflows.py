"""Workflows by plain HTTP against the running stack, with real workers, sources and crashes."""

import asyncio
import os
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import rota
from scripts.dataset import as_csv, orders, sums
from tests.acceptance.system import Http, System, until
from tests.acceptance.workflow_load import NOWHERE

ENDED = ("succeeded", "partly_failed", "failed", "timed_out", "cancelled")


async def schedule(http: Http, *jobs: dict[str, Any], **fields: Any) -> str:
    answer = await http.post("/workflows", {"jobs": jobs, **fields})
    assert answer.status == 202, answer.body
    return str(answer.body["id"])


async def ended(http: Http, id_: str) -> Any:
    """Return the view of a workflow when it has ended."""

    async def look() -> Any:
        return (await http.get(f"/workflows/{id_}")).body

    return await until(look, lambda view: view["status"] in ENDED)


async def run(http: Http, *jobs: dict[str, Any], **fields: Any) -> Any:
    return await ended(http, await schedule(http, *jobs, **fields))


def job(view: Any, name: str) -> Any:
    return next(one for one in view["jobs"] if one["name"] == name)


async def output(http: Http, view: Any, name: str) -> Any:
    return (await http.outcome(job(view, name)["job"]))["result"]


def add(name: str, a: Any, b: Any = 0, **options: Any) -> dict[str, Any]:
    return {"name": name, "spec": "add", "inputs": {"a": a, "b": b}, **options}


def of(name: str, path: str = "") -> dict[str, str]:
    return {"from": name, "output": path}


async def test_a_diamond_runs_in_the_order_of_its_inputs(http: Http) -> None:
    view = await run(
        http,
        add("last", of("left"), of("right")),
        add("left", of("first"), 10),
        add("right", of("first"), 100),
        add("first", of("$params", "start"), 1),
        params={"start": 1},
    )
    assert view["status"] == "succeeded"
    assert view["progress"] == 1
    assert await output(http, view, "last") == 114
    assert job(view, "last")["needs"] == ["left", "right"]


async def test_what_cannot_be_run_is_refused_with_each_place(http: Http) -> None:
    answer = await http.post(
        "/workflows",
        {"jobs": [add("a", of("b")), add("b", of("a")), add("c", of("nobody")), {"name": "d", "spec": "ad"}]},
    )
    assert answer.status == 400
    found = {error["pointer"]: error["detail"] for error in answer.body["errors"]}
    assert "a -> b -> a" in " ".join(found.values()) or "b -> a -> b" in " ".join(found.values())
    assert {"#/jobs/2/inputs/a", "#/jobs/3/spec"} <= set(found)


async def test_a_fan_out_is_gathered_in_order(http: Http) -> None:
    view = await run(
        http,
        {"name": "each", "spec": "add", "inputs": {"a": {"from": "$item"}, "b": 1}, "for_each": [5, 3, 9]},
        {"name": "back", "spec": "give", "inputs": {"value": of("each")}},
    )
    assert view["status"] == "succeeded"
    assert job(view, "each")["runs"] == {"succeeded": 3, "total": 3}
    assert await output(http, view, "back") == [6, 4, 10]


async def test_a_batch_gives_its_counts_and_where_its_results_are(system: System, http: Http) -> None:
    table = orders(500)
    path = system.put("workflow/in.csv", as_csv(table))
    view = await run(
        http,
        {"name": "list", "spec": "give", "inputs": {"value": {"files": [path]}}},
        {
            "name": "load",
            "batch": {"spec": "echo", "connection": "lake", "rows_per_job": 100},
            "files_from": of("list", "files"),
            "results": {"format": "ndjson", "connection": "lake", "path": "workflow/out.ndjson"},
        },
        {"name": "told", "spec": "give", "inputs": {"value": of("load")}},
        {"name": "path", "spec": "give", "inputs": {"value": of("load", "results.path")}},
    )
    assert view["status"] == "succeeded", view
    told = await output(http, view, "told")
    assert (told["status"], told["rows"]) == ("completed", 500)
    assert told["jobs"] == {"succeeded": 5, "failed": 0, "total": 5}
    assert told["batch"] == job(view, "load")["batch"]
    assert await output(http, view, "path") == "workflow/out.ndjson"
    assert told["results"]["rows"] == sums(table)["rows"]


async def test_a_batch_that_fails_goes_on_when_the_workflow_is_retried(
    system: System, http: Http, tmp_path: Path
) -> None:
    path = system.put("workflow/fussy.csv", "id,cents\n" + "".join(f"{n},{n}\n" for n in range(40)))
    inputs = {"refused": [7], "mended": str(tmp_path / "mended"), "runs": str(tmp_path / "runs")}
    batch = {"spec": "fussy", "connection": "lake", "files": [path], "rows_per_job": 10}
    id_ = await schedule(
        http,
        {"name": "load", "batch": {**batch, "tolerance": {"failed_jobs": 0}}, "inputs": inputs},
        {"name": "told", "spec": "give", "inputs": {"value": of("load", "jobs.succeeded")}},
    )
    view = await ended(http, id_)
    assert (view["status"], job(view, "told")["status"]) == ("failed", "skipped")
    (tmp_path / "mended").touch()
    await http.done(f"/workflows/{id_}/retry")
    view = await until_retried(http, id_)
    assert view["status"] == "succeeded", view
    assert await output(http, view, "told") == 4
    # What had succeeded was not done again.
    runs = (tmp_path / "runs").read_text().split()
    assert len(runs) == 5
    assert len(set(runs)) == 4


async def until_retried(http: Http, id_: str) -> Any:
    async def look() -> Any:
        return (await http.get(f"/workflows/{id_}")).body

    return await until(look, lambda view: view["status"] in ENDED and view.get("retries") == 1)


async def test_the_whole_runs_again_with_other_params(http: Http) -> None:
    id_ = await schedule(http, add("a", of("$params", "x"), of("$params", "y")), params={"x": 1, "y": 2})
    await ended(http, id_)
    answer = await http.post(f"/workflows/{id_}/rerun", {"params": {"y": 40}})
    assert answer.status == 202
    view = await ended(http, answer.body["id"])
    assert (view["rerun_of"], view["params"]) == (id_, {"x": 1, "y": 40})
    assert await output(http, view, "a") == 41
    refused = await http.post(f"/workflows/{id_}/rerun", {"params": {"y": "many"}})
    assert (refused.status, refused.body["errors"][0]["pointer"]) == (400, "#/jobs/0/inputs/b")


async def test_the_same_key_is_the_same_workflow(http: Http) -> None:
    first, second = [await schedule(http, add("a", 1), key="workflow once") for _ in range(2)]
    assert first == second
    await ended(http, first)  # what was under the key before is compared when it is in the log
    answer = await http.post("/workflows", {"jobs": [add("a", 2)], "key": "workflow once"})
    assert answer.status == 422


# Each rule, while the shard and nats-server are killed


LIMITS = {"queue": NOWHERE, "waiting_timeout_seconds": 2.0}
RULES: dict[str, tuple[dict[str, Any], str, str]] = {
    "fail_workflow": ({}, "failed", "skipped"),
    "fail_dependents": ({}, "partly_failed", "skipped"),
    "use_defaults": ({"defaults": 40}, "succeeded", "succeeded"),
}


async def test_each_rule_for_time_outs_is_kept_exactly_whatever_is_killed(system: System, http: Http) -> None:
    ids = {}
    for rule, (more, _, _) in RULES.items():
        ids[rule] = await schedule(
            http,
            add("late", 1, 2, on_timeout=rule, **LIMITS, **more),
            add("next", of("late"), 2),
            {"name": "other", "spec": "sleep", "inputs": {"seconds": 60 if rule == "fail_workflow" else 3}},
        )
    await kill_shards(system)
    system.stack.services["nats-server"].kill()
    system.stack.restart("nats-server")
    await kill_shards(system)
    up_at = await up(http)
    for rule, (_, status, following) in RULES.items():
        view = await ended(http, ids[rule])
        assert view["status"] == status, (rule, view)
        assert (job(view, "late")["status"], job(view, "next")["status"]) == ("timed_out", following), rule
        other = "cancelled" if rule == "fail_workflow" else "succeeded"
        assert job(view, "other")["status"] == other, rule
        events = await http.events(f"/workflows/{ids[rule]}")
        due = moment(events, "workflow.job_released") + timedelta(seconds=2)
        assert_in_time(due, moment(events, "workflow.job_timed_out"), up_at)
    assert await output(http, await ended(http, ids["use_defaults"]), "next") == 42


async def test_each_rule_for_failures_is_kept_whatever_is_killed(system: System, http: Http) -> None:
    ids = {}
    for rule, (more, _, _) in RULES.items():
        ids[rule] = await schedule(
            http,
            {"name": "first", "spec": "sleep", "inputs": {"seconds": 1.5}},
            {"name": "bad", "spec": "refuse", "after": ["first"], "on_failure": rule, **more},
            add("next", of("bad"), 2),
            {"name": "other", "spec": "sleep", "inputs": {"seconds": 60 if rule == "fail_workflow" else 3}},
        )
    await kill_shards(system)
    for rule, (_, status, following) in RULES.items():
        view = await ended(http, ids[rule])
        assert view["status"] == status, (rule, view)
        assert (job(view, "bad")["status"], job(view, "next")["status"]) == ("failed", following), rule
        other = "cancelled" if rule == "fail_workflow" else "succeeded"
        assert job(view, "other")["status"] == other, rule


async def test_the_time_limit_of_the_whole_outlives_restarts(system: System, http: Http) -> None:
    id_ = await schedule(http, {"name": "long", "spec": "sleep", "inputs": {"seconds": 60}}, timeout_seconds=2.5)
    await kill_shards(system)
    system.stack.services["nats-server"].kill()
    system.stack.restart("nats-server")
    up_at = await up(http)
    view = await ended(http, id_)
    assert (view["status"], job(view, "long")["status"]) == ("timed_out", "cancelled")
    events = await http.events(f"/workflows/{id_}")
    due = moment(events, "workflow.scheduled") + timedelta(seconds=2.5)
    assert_in_time(due, moment(events, "workflow.stopping"), up_at)


async def up(http: Http) -> datetime:
    """Return when all is there again, as soon as it is: a job runs to its end."""
    await http.outcome(await http.schedule("add", {"a": 1, "b": 2}))
    return datetime.now(UTC)


def assert_in_time(due: datetime, at: datetime, up_at: datetime) -> None:
    """Check that something happened at its time, or else as soon as somebody was there to see to it."""
    assert due <= at < max(due, up_at) + timedelta(seconds=1)


async def kill_shards(system: System) -> None:
    """Kill all shards, and wait until there are others."""

    async def look() -> list[int]:
        return system.stack.actor_pids("ShardHost")

    killed = await until(look, bool)
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    await until(look, lambda found: bool(set(found) - set(killed)))


def moment(events: list[Any], type_: str) -> datetime:
    """Return when the first event of a type happened."""
    return next(datetime.fromisoformat(event["at"]) for event in events if event["type"] == type_)


async def test_the_client_and_the_command_line_know_workflows(
    system: System, client: rota.Client, tmp_path: Path
) -> None:
    flow = rota.Workflow("sums", params={"start": 1})
    first = flow.job("first", "add", {"a": flow.params["start"], "b": 1})
    flow.each("each", "add", [first.output, 5], {"a": rota.item, "b": rota.index})
    id_ = await client.workflows.schedule(flow, params={"start": 4})
    assert (await client.workflows.wait(id_, timeout=30)).status == "succeeded"
    file = tmp_path / "flow.yaml"
    file.write_text(
        "name: sums\njobs:\n- name: a\n  spec: add\n  inputs: {a: 1, b: 2}\n"
        "- name: b\n  spec: add\n  inputs: {a: {from: a}, b: 1}\n"
    )
    ran = await asyncio.to_thread(system.run, "workflow", "run", str(file), "--wait")
    assert ran.returncode == 0, ran.stderr
    watched = await asyncio.to_thread(system.run, "watch", id_, "--json")
    assert watched.returncode == 0, watched.stderr
    assert '"workflow.succeeded"' in watched.stdout
    jobs = await asyncio.to_thread(system.run, "list", "--workflow", id_, "--json")
    assert len(jobs.stdout.splitlines()) == 3
    shown = await asyncio.to_thread(system.run, "workflow", "show", id_)
    assert "first" in shown.stdout
    assert "each" in shown.stdout
