"""The commands about workflows, against a server that gives the answers which the gateway documents."""

import asyncio
import json
import os
import pty
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import msgspec
import pytest

from rota import workflow_commands
from rota.errors import InvalidRequestError
from rota.show_workflow import drawing, progress
from rota.workflow_graph import graph_of, plan_of
from rota.workflow_protocol import WorkflowRequest, WorkflowView
from tests.unit.test_cli import ROTA, Rota
from tests.unit.test_cli import rota as rota  # noqa: PLC0414 - a fixture
from tests.unit.test_client import PlayedGateway, problem
from tests.unit.test_workflows_client import DONE, workflow

COMMANDS = ("cancel", "list", "pause", "rerun", "resume", "retry", "run", "show")
NOW = datetime(2025, 6, 1, 12, 1, 15, tzinfo=UTC)
FLOW = """\
name: nightly
params: {date: 2026-01-01}
jobs:
  - name: fetch
    spec: fetch_orders
    inputs: {date: {from: $params, output: date}}
  - name: resize
    spec: resize
    for_each: {from: fetch, output: files}
    inputs: {path: {from: $item}}
  - name: load
    batch: {spec: load_rows}
    files_from: {from: resize}
    after: [fetch]
"""
JOBS = [
    {
        "name": "fetch",
        "spec": "fetch_orders",
        "status": "succeeded",
        "job": "w1-0",
        "started_at": "2025-06-01T12:00:00Z",
        "ended_at": "2025-06-01T12:00:01.25Z",
        "critical": True,
    },
    {
        "name": "resize",
        "spec": "resize",
        "status": "running",
        "needs": ["fetch"],
        "started_at": "2025-06-01T12:00:01.3Z",
        "runs": {"succeeded": 40, "failed": 2, "running": 8, "total": 50},
        "critical": True,
    },
    {
        "name": "stats",
        "spec": "stats",
        "status": "failed",
        "needs": ["fetch"],
        "attempt": 3,
        "error": {"type": "ValueError", "message": "row 17 is bad"},
        "fallback": True,
    },
    {
        "name": "load",
        "spec": "load_rows",
        "status": "waiting",
        "needs": ["resize", "stats"],
        "after": ["fetch"],
        "waits_for": "for resize",
        "critical": True,
    },
]
COUNTS = {"succeeded": 1, "running": 1, "failed": 1, "waiting": 1, "total": 4}


@pytest.fixture
async def gateway() -> AsyncIterator[PlayedGateway]:
    async with PlayedGateway() as gateway:
        yield gateway


@pytest.fixture
def flow(tmp_path: Path) -> str:
    (tmp_path / "flow.yaml").write_text(FLOW)
    return str(tmp_path / "flow.yaml")


def shown(status: str = "running", **more: Any) -> dict[str, Any]:
    return workflow(status, jobs=JOBS, counts=COUNTS, critical_path=["fetch", "resize", "load"], **more)


def view(status: str = "running", **more: Any) -> WorkflowView:
    return msgspec.convert(shown(status, **more), WorkflowView)


@pytest.mark.parametrize("command", COMMANDS)
async def test_the_help_of_each_command_has_examples(rota: Rota, command: str) -> None:
    status, out, _ = await rota("workflow", command, "--help")
    assert status == 0
    assert f"examples:\n  rota workflow {command}" in out
    assert "--json" in out


async def test_the_help_names_all_commands(rota: Rota) -> None:
    _, out, _ = await rota("workflow", "--help")
    assert all(f"\n    {command} " in out for command in COMMANDS)
    assert (await rota("workflow"))[0] == 2


async def test_the_workflow_in_a_file_is_scheduled_with_other_params(
    rota: Rota, gateway: PlayedGateway, flow: str
) -> None:
    gateway.play("POST /workflows", {"id": "w1"}, status=202)
    params = ["--params", "date=2026-01-02", '{"limit": 5}', "--key", "k"]
    assert await rota("workflow", "run", flow, *params) == (0, "w1\n", "")
    assert (await rota("workflow", "run", flow, "--json"))[1] == '{"id":"w1"}\n'
    first, second = (body for _, body in gateway.asked)
    assert (first["params"], first["key"]) == ({"date": "2026-01-02", "limit": 5}, "k")
    assert first["jobs"][1]["for_each"] == {"from": "fetch", "output": "files"}
    assert (second["params"], "key" in second) == ({"date": "2026-01-01"}, False)


async def test_a_refused_workflow_names_the_lines_of_its_file(
    rota: Rota, gateway: PlayedGateway, flow: str
) -> None:
    wrong = [{"detail": "There is no spec resize", "pointer": "#/jobs/1/spec"}]
    gateway.play("POST /workflows", problem("invalid-request", 400, errors=wrong))
    says = f"rota: Why\n  {flow}, line 8, #/jobs/1/spec: There is no spec resize\n"
    assert await rota("workflow", "run", flow) == (1, "", says)


@pytest.mark.parametrize(
    ("name", "status", "says"),
    [
        ("flow.txt", 2, "does not end in .yaml or .yml or .json"),
        ("nowhere.json", 1, "nowhere.json cannot be read: No such file or directory"),
        ("broken.yaml", 1, "broken.yaml, line 2: the YAML is broken"),
    ],
)
async def test_a_file_without_a_workflow_is_refused_before_anything_is_asked(
    rota: Rota, gateway: PlayedGateway, tmp_path: Path, *, name: str, status: int, says: str
) -> None:
    (tmp_path / "broken.yaml").write_text("jobs:\n  - [}\n")
    found, _, err = await rota("workflow", "run", str(tmp_path / name))
    assert (found, says in err, gateway.asked) == (status, True, [])


async def test_waiting_for_a_workflow_succeeds_only_if_it_does(
    rota: Rota, gateway: PlayedGateway, flow: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workflow_commands, "PROGRESS_SECONDS", 0.01)
    gateway.play("POST /workflows", {"id": "w1"}, status=202)
    gateway.play(
        "GET /workflows/w1", shown(), shown("paused"), workflow("succeeded", counts={"succeeded": 2, "total": 2})
    )
    assert await rota("workflow", "run", flow, "--wait") == (0, "w1\nsucceeded · 2/2 jobs done · 0.0 s\n", "")
    gateway.play("GET /workflows/w1", shown(), shown("partly_failed", error="stats has failed"))
    status, out, err = await rota("workflow", "run", flow, "--wait", "--json")
    assert (status, json.loads(out.splitlines()[1])["status"]) == (1, "partly_failed")
    assert err == (
        "rota: The workflow ended as partly failed: stats has failed. See rota workflow show w1; "
        "rota workflow retry w1 runs again what has not succeeded\n"
    )


async def test_workflows_are_listed(rota: Rota, gateway: PlayedGateway) -> None:
    gateway.play("GET /workflows", {"workflows": [workflow("failed")] * 3})
    status, out, _ = await rota("workflow", "list", "--status", "failed", "--name", "nightly", "--limit", "2")
    assert status == 0
    assert out.splitlines() == [
        "ID  NAME     STATUS  DONE  PROGRESS  SCHEDULED                 ENDED",
        *["w1  nightly  failed  1/2   50%       2025-06-01T12:00:00.000Z  2025-06-01T12:00:00.000Z"] * 2,
    ]
    assert gateway.asked == [("GET /workflows?status=failed&name=nightly&limit=100", None)]


async def test_a_workflow_is_steered(rota: Rota, gateway: PlayedGateway) -> None:
    for action in ("pause", "resume", "cancel", "retry"):
        gateway.play(f"POST /workflows/w1/{action}", DONE)
    gateway.play("POST /workflows/w1/rerun", {"id": "w2"}, status=202)
    assert await rota("workflow", "pause", "w1", "--reason", "full") == (0, "w1 will be paused\n", "")
    assert await rota("workflow", "resume", "w1") == (0, "w1 will go on\n", "")
    assert await rota("workflow", "cancel", "w1", "--json") == (0, '{"id":"w1"}\n', "")
    assert await rota("workflow", "retry", "w1") == (0, "w1 will go on\n", "")
    assert await rota("workflow", "rerun", "w1", "--params", "date=x", "--key", "k") == (0, "w2\n", "")
    assert gateway.asked == [
        ("POST /workflows/w1/pause", {"reason": "full"}),
        ("POST /workflows/w1/resume", None),
        ("POST /workflows/w1/cancel", {"reason": ""}),
        ("POST /workflows/w1/retry", {}),
        ("POST /workflows/w1/rerun", {"params": {"date": "x"}, "key": "k"}),
    ]


async def test_waiting_for_a_retry_does_not_take_the_end_before_it_for_its_own(
    rota: Rota, gateway: PlayedGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workflow_commands, "PROGRESS_SECONDS", 0.01)
    gateway.play("POST /workflows/w1/retry", DONE)
    views = [shown("failed"), shown("failed"), shown(retries=1), shown("succeeded", retries=1)]
    gateway.play("GET /workflows/w1", *views)
    status, out, _ = await rota("workflow", "retry", "w1", "--wait")
    assert (status, out.splitlines()[-1].partition(" ")[0]) == (0, "succeeded")


async def test_a_retry_of_which_nothing_comes_is_not_waited_for_for_ever(
    rota: Rota, gateway: PlayedGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workflow_commands, "PROGRESS_SECONDS", 0.01)
    monkeypatch.setattr(workflow_commands, "BEGIN_SECONDS", 0.05)
    gateway.play("POST /workflows/w1/retry", DONE)
    gateway.play("GET /workflows/w1", shown("timed_out"))
    status, _, err = await rota("workflow", "retry", "w1", "--wait")
    assert (status, "nothing has come of it: the workflow is as it was, timed out" in err) == (1, True)


async def test_a_workflow_is_drawn_with_what_is_known_of_its_jobs(rota: Rota, gateway: PlayedGateway) -> None:
    resize = {**JOBS[1], "status": "succeeded", "ended_at": "2025-06-01T12:01:15Z"}
    jobs = [JOBS[0], resize, JOBS[2], JOBS[3] | {"status": "skipped", "waits_for": "skipped: stats has failed"}]
    counts = {"succeeded": 2, "failed": 1, "skipped": 1, "total": 4}
    gateway.play("GET /workflows/w1", shown("failed", error="stats has failed") | {"jobs": jobs, "counts": counts})
    status, out, err = await rota("workflow", "show", "w1")
    assert (status, err) == (0, "")
    assert (
        out
        == """\
nightly w1
failed · 4/4 jobs done · 2 of them without success · 0.0 s

                                        ┏━━━━━━━━━┓
                                        ┃ ✓ fetch ┃
                                        ┃   1.2 s ┃
                                        ┗━━━━┯━━━━┛
              ┌──────────────────────────────┴────┬─────────────────────┐
┏━━━━━━━━━━━━━┷━━━━━━━━━━━━━┓  ┌──────────────────┴──────────────────┐  │
┃ ✓ resize                  ┃  │ ✗ stats                             │  │
┃   42/50 runs · 1 min 14 s ┃  │   ValueError · defaults used · at…  │  │
┗━━━━━━━━━━━━━┯━━━━━━━━━━━━━┛  └──────────────────┬──────────────────┘  │
              └──────────────────────────────┬────┴─────────────────────┘
                                        ┏━━━━┷━━━━┓
                                        ┃ ↷ load  ┃
                                        ┃         ┃
                                        ┗━━━━━━━━━┛

✗ stats: ValueError: row 17 is bad
↷ load: skipped: stats has failed
stats has failed
critical path: fetch → resize → load
"""
    )


def test_a_drawing_on_a_terminal_is_coloured() -> None:
    lines = drawing(view(), NOW, 80, colour=True)
    assert lines[0] == "\x1b[1mnightly w1\x1b[m"
    assert "\x1b[31m✗ stats: ValueError: row 17 is bad\x1b[m" in lines


def test_of_very_many_jobs_only_some_are_told_of_one_by_one() -> None:
    job = {"spec": "s", "status": "queued", "waits_for": "for a worker of queue q"}
    jobs = [{"name": f"n{n}", **job} for n in range(1000)]
    lines = drawing(msgspec.convert(workflow(jobs=jobs), WorkflowView), NOW, 80, colour=False)
    assert lines[-2:] == ["◌ n9: waits for a worker of queue q", "… and 990 more jobs"]
    assert len(lines) < 20


def test_progress_tells_how_many_ended_without_success() -> None:
    counts = {"succeeded": 1, "skipped": 1, "timed_out": 1, "running": 2, "total": 1500}
    running = msgspec.convert(workflow(counts=counts), WorkflowView)
    says = "running · 3/1,500 jobs done · 2 of them without success · 2 running · 1 min 15 s"
    assert progress(running, NOW) == says


def test_the_graph_of_a_workflow_has_the_steps_of_its_critical_path_and_tooltips() -> None:
    graph = graph_of(view(), NOW)
    edges = {(edge.source, edge.target): (edge.data, edge.critical) for edge in graph.edges}
    assert edges == {
        (0, 1): (True, True),
        (0, 2): (True, False),
        (1, 3): (True, True),
        (2, 3): (True, False),
        (0, 3): (False, False),
    }
    assert [node.kind for node in graph.nodes] == ["job", "fan_out", "job", "job"]
    assert graph.nodes[2].says.splitlines() == [
        "stats: failed",
        "spec stats",
        "attempt 3",
        "ValueError: row 17 is bad",
        "its defaults stand for its output",
    ]


async def test_a_drawing_is_of_the_format_that_is_said_or_that_its_file_has(
    rota: Rota, gateway: PlayedGateway, tmp_path: Path
) -> None:
    gateway.play("GET /workflows/w1", shown())
    _, out, _ = await rota("workflow", "show", "w1", "--format", "mermaid")
    assert out.startswith('---\ntitle: "nightly w1, running"\n---\nflowchart LR\n')
    _, out, _ = await rota("workflow", "show", "w1", "--json")
    assert json.loads(out)["jobs"][1]["runs"]["total"] == 50
    picture = tmp_path / "flow.svg"
    says = f"The workflow is drawn in {picture}\n"
    assert await rota("workflow", "show", "w1", "--output", str(picture)) == (0, says, "")
    assert ET.parse(picture).getroot().tag.endswith("svg")
    text = tmp_path / "flow.drawing"
    await rota("workflow", "show", "w1", "--output", str(text), "--format", "text")
    assert "┃ ✓ fetch ┃" in text.read_text()
    status, _, err = await rota("workflow", "show", "w1", "--output", str(text))
    assert (status, "say with --format what it is to be" in err) == (2, True)


async def test_a_workflow_in_a_file_is_drawn_without_being_scheduled(
    rota: Rota, gateway: PlayedGateway, flow: str
) -> None:
    status, out, _ = await rota("workflow", "show", "--file", flow)
    assert (status, gateway.asked) == (0, [])
    assert (
        out
        == """\
nightly
3 jobs

      ┌─────────────────┐
      │ ○ fetch         │
      │   fetch_orders  │
      └────────┬────────┘
         ┌─────┴─────┐
┌────────┴────────┐  │
│ ○ resize        │  │
│   each: resize  │  │
└────────┬────────┘  │
         └─────┬─────┘
    ┌──────────┴──────────┐
    │ ○ load              │
    │   batch: load_rows  │
    └─────────────────────┘
"""
    )
    _, out, _ = await rota("workflow", "show", "--file", flow, "--json")
    assert msgspec.json.decode(out, type=WorkflowRequest).jobs[1].name == "resize"


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("{from: resize}", "{from: rezise}", "line 13, #/jobs/2/files_from: There is no job rezise"),
        ("after: [fetch]", "after: [fetsch]", "line 14, #/jobs/2/after: There is no job fetsch"),
        ("name: resize", "name: fetch", "line 7, #/jobs/1/name: There is a job fetch already"),
        ("fetch_orders", "x\n    after: [load]", "These jobs wait for each other: "),
    ],
)
async def test_a_file_whose_jobs_have_no_order_is_not_drawn(
    rota: Rota, tmp_path: Path, before: str, after: str, says: str
) -> None:
    (tmp_path / "flow.yaml").write_text(FLOW.replace(before, after))
    status, _, err = await rota("workflow", "show", "--file", str(tmp_path / "flow.yaml"))
    assert (status, says in err) == (1, True)


def test_a_cycle_is_shown_as_a_way_back_to_where_it_begins() -> None:
    jobs = [{"name": name, "spec": "s", "after": [before]} for name, before in ("ac", "ba", "cb")]
    with pytest.raises(InvalidRequestError) as info:
        plan_of(msgspec.convert({"jobs": jobs}, WorkflowRequest))
    ways = {f"These jobs wait for each other: {way}" for way in ("a → b → c → a", "b → c → a → b", "c → a → b → c")}
    assert {problem.detail for problem in info.value.problems} < ways


@pytest.mark.parametrize("more", [["--output", "x.svg"], ["--format", "mermaid"]])
async def test_what_is_no_text_is_not_watched(rota: Rota, gateway: PlayedGateway, more: list[str]) -> None:
    assert (await rota("workflow", "show", "w1", "--watch", *more))[0] == 2
    assert gateway.asked == []


async def test_watching_without_a_terminal_prints_the_end(
    rota: Rota, gateway: PlayedGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workflow_commands, "PROGRESS_SECONDS", 0.01)
    gateway.play("GET /workflows/w1", shown(), shown("failed"))
    status, out, err = await rota("workflow", "show", "w1", "--watch")
    assert (status, out.count("nightly w1"), "ended as failed" in err) == (1, 1, True)
    gateway.play("GET /workflows/w1", shown(), shown("succeeded"))
    status, out, _ = await rota("workflow", "show", "w1", "--watch", "--json")
    assert (status, json.loads(out)["status"]) == (0, "succeeded")


async def test_watching_on_a_terminal_draws_over_what_was_there(gateway: PlayedGateway) -> None:
    gateway.play("GET /workflows/w1", shown(), shown("succeeded"))
    main, side = pty.openpty()
    try:
        environment = os.environ | {"ROTA_URL": gateway.url, "TERM": "xterm", "COLUMNS": "60", "LINES": "10"}
        environment.pop("NO_COLOR", None)
        arguments = ("workflow", "show", "w1", "--watch")
        process = await asyncio.create_subprocess_exec(ROTA, *arguments, stdout=side, stderr=PIPE, env=environment)
        assert await process.wait() == 0
        said = os.read(main, 65536).decode()
    finally:
        os.close(main)
        os.close(side)
    first, second = said.split("\x1b[9A\x1b[J")
    assert first.count("\r\n") == 9
    assert first.endswith("…\r\n")
    assert "succeeded" in second
    assert "critical path" in second
