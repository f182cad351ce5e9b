"""Workflows in audit: their histories are verified, shown as they were, and replayed; a log of their own."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from events.base import Event
from projections.verify import verify_views
from tests.integration.past import Past, Terminal, past_in, queued, succeeded
from tests.unit.workflow_model import World, fan_out, plain, workflow


@pytest_asyncio.fixture
async def past(tmp_path: Path) -> AsyncIterator[Past]:
    async with past_in(tmp_path) as past:
        yield past


@pytest.fixture
def rota(past: Past, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("ROTA_HOME", str(past.home))
    return Terminal(past, capsys)


def late_workflow() -> list[Event]:
    """Return the history of a workflow that goes on with defaults, and is told of the job after its end."""
    slow = plain(total_timeout_seconds=60.0, on_timeout="use_defaults", defaults=b"\x90")
    world = World(workflow(slow, fan_out(0)))
    world.expire(world.armed[0])
    world.go_on()
    for run in (0, 1):
        world.end((1, run))
    assert world.state.status == "succeeded"
    world.end((0, None))
    return list(world.history)


async def test_the_views_of_a_workflow_are_what_its_history_folds_to(past: Past) -> None:
    history = late_workflow()
    await past.store(*history[:2], queued("w-0"), *history[2:], succeeded("w-0"))
    await past.fold()

    verdict = await verify_views(past.connection, past.views, lambda *_: None)

    assert verdict.agrees
    assert (verdict.rows["workflows"], verdict.rows["workflow_jobs"], verdict.rows["workflow_runs"]) == (1, 2, 2)


async def test_workflows_are_shown_as_of_a_sequence(past: Past, rota: Terminal) -> None:
    history = late_workflow()
    sequences = await past.store(*history)
    end = sequences[-1]

    async def at(sequence: int, *wanted: str) -> list[tuple[str, str]]:
        _, out, _ = await rota("at", str(sequence), "workflows", *wanted, "--json")
        return [(line["id"], line["status"]) for line in map(json.loads, out.splitlines())]

    assert await at(sequences[1]) == [("w", "running")]
    assert await at(end) == await at(end, "--id", "w") == await at(end, "--name", "sum") == [("w", "succeeded")]
    assert await at(end, "--status", "running") == await at(end, "--name", "other") == []
    status, out, err = await rota("at", str(sequences[1]), "workflows")
    assert (status, err) == (0, f"rota: as of sequence {sequences[1]}\n")
    assert out.splitlines()[1].split()[:5] == ["w", "sum", "running", "0/2", "0%"]
    assert (await rota("at", str(end), "workflows", "--queue", "sums"))[0] == 1


async def test_the_history_of_a_workflow_is_replayed(past: Past, rota: Terminal) -> None:
    history = late_workflow()
    await past.store(*history, queued("j"))

    status, out, _ = await rota("replay", "--all", "--kind", "workflow", "--json")
    assert status == 0
    assert [json.loads(line)["type"] for line in out.splitlines()] == [
        "workflow.scheduled",
        "workflow.job_released",
        "workflow.job_timed_out",
        "workflow.fallback_applied",
        "workflow.job_released",
        "workflow.job_expanded",
        "workflow.job_released",
        "workflow.job_released",
        "workflow.job_succeeded",
        "workflow.job_succeeded",
        "workflow.job_succeeded",
        "workflow.succeeded",
        "workflow.job_succeeded",
    ]
    status, out, _ = await rota("replay", "w")
    assert (status, len(out.splitlines())) == (0, len(history))
