"""Rota driven from Node, with the packages of NATS alone: nobody should need Rota's Python."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.system import System
from tests.node.packages import installed, node

SOURCE = Path(__file__).parent.parent / "node"


@pytest.fixture(scope="module")
def seen(system: System) -> Any:
    """Return what the client in Node has seen."""
    folder = installed()
    # Node looks for packages beside the file that asks for them.
    shutil.copy(SOURCE / "client.mjs", folder)
    run = subprocess.run(
        [node(), folder / "client.mjs", system.stack.nats_url],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def test_it_makes_its_kind_of_job_known(seen: Any) -> None:
    assert seen["registered"] == {"id": "shout", "status": "done"}


def test_it_schedules_and_its_worker_runs_the_jobs(seen: Any) -> None:
    one, (again, boom) = seen["one"], seen["two"]
    fault = {"type": "Boom", "message": "no voice"}
    assert seen["results"] == {
        one: {"id": one, "status": "succeeded", "result": {"text": "ONE", "delivery": 1}},
        again: {"id": again, "status": "succeeded", "result": {"text": "AGAIN", "delivery": 2}},
        boom: {"id": boom, "status": "failed", "error": fault},
    }


def test_it_is_told_what_is_wrong(seen: Any) -> None:
    assert (seen["wrong"]["status"], seen["wrong"]["errors"][0]["pointer"]) == (400, "#/params/text")
    assert (seen["late"]["status"], seen["late"]["type"]) == (409, "https://rota.dev/problems/conflict")


def test_it_finds_the_service(seen: Any) -> None:
    assert seen["service"] == "rota"
    assert "rota.api.job.schedule" in seen["endpoints"]
    assert seen["requests"] >= 7


def test_it_watches_each_job_from_its_first_event_to_its_last(seen: Any) -> None:
    for id_, last in zip([seen["one"], *seen["two"]], ["succeeded", "succeeded", "failed"], strict=True):
        events = [event for event in seen["events"] if event["event"]["id"] == id_]
        assert [event["type"] for event in events] == ["rota.job.queued.v1", f"rota.job.{last}.v1"]
        assert [event["id"] for event in events] == [f"{id_}.1", f"{id_}.2"]
        assert events[0]["subject"] == f"rota.status.job.{id_}.queued.node.normal.shout"
        assert events[0]["event"]["origin"]["caller"] == "client:node"
        assert events[1]["event"]["origin"]["caller"] == "worker:node-1"
        assert events[1]["event"]["origin"]["causation_id"] == f"{id_}.1"
    sequences = [event["sequence"] for event in seen["events"]]
    assert sequences == sorted(set(sequences))
