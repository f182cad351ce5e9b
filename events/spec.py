"""The job spec: the named description of a kind of job. Its id is its name."""

from datetime import datetime
from typing import Any, assert_never

from msgspec import Struct

from events.base import Aggregate, Event
from rota.protocol import RegisterSpec, RetryPolicy, RowsForm

SpecCommand = RegisterSpec


class Definition(Struct, frozen=True, omit_defaults=True):
    """What a spec says."""

    description: str = ""
    params_schema: dict[str, Any] = {}
    """JSON Schema, draft 2020-12, of the params object."""
    rows: RowsForm | None = None
    queue: str = "default"
    retry: RetryPolicy = RetryPolicy()
    timeout_seconds: float | None = None
    result_schema: dict[str, Any] = {}
    """JSON Schema of what its jobs return; empty where that is not known."""


class SpecRegistered(Event, frozen=True, kw_only=True, tag="spec.registered"):
    """The spec was made known for the first time."""

    definition: Definition


class SpecChanged(Event, frozen=True, kw_only=True, tag="spec.changed"):
    """The spec was made known with another definition."""

    definition: Definition


SpecEvent = SpecRegistered | SpecChanged


class SpecState(Struct, frozen=True):
    """What later decisions need."""

    version: int
    definition: Definition


def decide(state: SpecState | None, command: SpecCommand, now: datetime) -> list[Event]:
    """Return what follows from the command; nothing if the definition is known."""
    definition = Definition(
        description=command.description,
        params_schema=command.params_schema,
        rows=command.rows,
        queue=command.queue,
        retry=command.retry,
        timeout_seconds=command.timeout_seconds,
        result_schema=command.result_schema,
    )
    if state is None:
        return [SpecRegistered(originator_id=command.id, originator_version=1, at=now, definition=definition)]
    if state.definition == definition:
        return []
    return [
        SpecChanged(originator_id=command.id, originator_version=state.version + 1, at=now, definition=definition)
    ]


def evolve(state: SpecState | None, event: SpecEvent) -> SpecState:  # noqa: ARG001 - the seam's signature
    """Return the state after the event."""
    match event:
        case SpecRegistered() | SpecChanged():
            return SpecState(event.originator_version, event.definition)
        case _:
            assert_never(event)


SPEC = Aggregate("spec", decide, evolve, SpecState)
