"""Random workflows with known ends, and what must hold of their histories whatever was killed."""

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

import rota
from events.catalog import AnyEvent
from events.job import JobQueued, JobSucceeded
from events.workflow import (
    WorkflowEnded,
    WorkflowFallbackApplied,
    WorkflowJobReleased,
    WorkflowJobSucceeded,
    WorkflowScheduled,
)
from events.workflow_evolution import evolve
from events.workflow_ids import job_id
from events.workflow_state import WorkflowState, before
from rota.protocol import RetryPolicy
from rota.references import Reference
from rota.workflow import WorkflowJob

NOWHERE = "nowhere"
"""A queue without workers."""
WAITING_SECONDS = 1.0
FALLBACK_SHARE = 0.6
AGAIN = RetryPolicy(max_attempts=3, delay_seconds=0.1)
KINDS = ("add", "add", "each", "late", "refuse", "stumble")


class ExpectedWorkflow(msgspec.Struct):
    """How a workflow must end: its status, and what its jobs have returned by their numbers.

    None stands for a job that has returned nothing, a list for the runs of a fan-out.
    """

    status: str
    returned: list[int | list[int] | None]


class _Made(msgspec.Struct):
    """A job that was added: the number that others get of it by a reference, None if they are skipped."""

    job: WorkflowJob
    output: Reference
    number: int | None


def random_workflow(chance: random.Random, labels: dict[str, str]) -> tuple[rota.Workflow, ExpectedWorkflow]:
    """Return a workflow of some jobs, of which some fail, some are late and some are fan-outs."""
    start = chance.randrange(100)
    flow = rota.Workflow("load", params={"start": start}, labels=labels)
    made: list[_Made] = []
    returned: list[int | list[int] | None] = []
    for place in range(chance.randrange(3, 9)):
        used = chance.sample(made, min(len(made), chance.randrange(3)))
        after = [one.job for one in used]
        runs = all(one.number is not None for one in used)
        numbers = [start, *(one.number or 0 for one in used)]
        summands = [flow.params["start"], *(one.output for one in used)]
        rules: dict[str, Any] = {"on_failure": "fail_dependents", "on_timeout": "fail_dependents"}
        if chance.random() < FALLBACK_SHARE:
            default = chance.randrange(100)
            rules = {"on_failure": "use_defaults", "on_timeout": "use_defaults", "defaults": default}
        instead = rules.get("defaults")
        name, kind = f"j{place}", chance.choice(KINDS)
        value: int | list[int] | None = None
        match kind:
            case "add":
                job = flow.job(name, "add", {"a": summands[0], "b": summands[-1]})
                value = instead = numbers[0] + numbers[-1]
                runs = len(used) == 0 or used[-1].number is not None
            case "each":
                job = flow.each(name, "add", [*summands, 1, 2], {"a": rota.item, "b": rota.index})
                value = [number + index for index, number in enumerate([*numbers, 1, 2])]
                instead = value[0]
            case "stumble":
                job = flow.job(name, "stumble", {"times": 1}, after=after, retry=AGAIN)
                value = instead = 2
            case "refuse":
                job = flow.job(name, "refuse", after=after, **rules)
            case _:
                limits: dict[str, Any] = {"queue": NOWHERE, "waiting_timeout_seconds": WAITING_SECONDS}
                job = flow.job(name, "add", {"a": 1, "b": 1}, after=after, **limits, **rules)
        output = job.output[0] if kind == "each" else job.output
        made.append(_Made(job, output, instead if runs else None))
        returned.append(value if runs else None)
    whole = all(one.number is not None for one in made)
    return flow, ExpectedWorkflow("succeeded" if whole else "partly_failed", returned)


def assert_workflows_ended_right(events: Sequence[AnyEvent], expected: Mapping[str, ExpectedWorkflow]) -> None:
    """Check each workflow by the log: how it has ended, what its jobs returned, and that none ran too early."""
    places: dict[str, list[int]] = defaultdict(list)
    for place, event in enumerate(events):
        places[event.originator_id].append(place)
    for id_, wanted in expected.items():
        own = [events[place] for place in places[id_]]
        assert own, f"the workflow {id_} was accepted and is lost"
        state = None
        for event in own:
            state = evolve(state, event)  # type: ignore[arg-type] # they are all of the workflow
        assert state is not None
        assert state.status == wanted.status, (id_, own)
        assert sum(isinstance(event, WorkflowScheduled) for event in own) == 1
        assert sum(isinstance(event, WorkflowEnded) for event in own) == 1
        released = [(event.job, event.run) for event in own if isinstance(event, WorkflowJobReleased)]
        assert len(released) == len(set(released)), own
        _assert_outputs(id_, events, places, wanted)
        _assert_order(id_, events, places, state)


def _assert_outputs(
    id_: str, events: Sequence[AnyEvent], places: Mapping[str, list[int]], wanted: ExpectedWorkflow
) -> None:
    def returned(job: str) -> Any:
        last = events[places[job][-1]] if places.get(job) else None
        return msgspec.msgpack.decode(last.result.value) if isinstance(last, JobSucceeded) else None

    for number, value in enumerate(wanted.returned):
        if isinstance(value, list):
            assert [returned(job_id(id_, number, run)) for run in range(len(value))] == value, (id_, number)
        else:
            assert returned(job_id(id_, number)) == value, (id_, number)


def _assert_order(
    id_: str, events: Sequence[AnyEvent], places: Mapping[str, list[int]], state: WorkflowState
) -> None:
    """Check that no job was queued before all that it waits for had an output, and once an attempt."""
    settled: dict[int, int] = {}
    for place in places[id_]:
        event = events[place]
        if isinstance(event, WorkflowFallbackApplied) or (
            isinstance(event, WorkflowJobSucceeded) and event.run is None
        ):
            settled.setdefault(event.job, place)
    for number, job in enumerate(state.details.jobs):
        runs = state.jobs[number].fan_out
        for run in range(len(runs.runs)) if runs else (None,):
            history = [(place, events[place]) for place in places.get(job_id(id_, number, run), ())]
            queued = [(place, event.attempt) for place, event in history if isinstance(event, JobQueued)]
            attempts = [attempt for _, attempt in queued]
            assert attempts == list(range(1, len(queued) + 1)), (id_, number)
            assert all(settled[other] < queued[0][0] for other in before(job) if queued), (id_, number)
