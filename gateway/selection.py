"""Which events a stream is to show: read from the query, asked of the server, tested on each event."""

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Annotated, Any

import msgspec
from aiohttp import web
from msgspec import Meta, Struct, ValidationError
from msgspec.structs import fields

from events.catalog import EVENTS, split_tag
from events.subjects import aggregate_filter, ended_jobs_filter
from gateway.belongings import Belonging
from gateway.ends import JOB_ENDS
from gateway.frames import Shown
from gateway.lookup import Subject
from gateway.problems import Faults
from rota.protocol import Id, Name

TYPES = frozenset(split_tag(tag)[0] for tag in EVENTS)
BATCH_TYPES = frozenset(type_ for type_ in TYPES if type_.startswith("batch."))
JOB_TYPES = frozenset(type_ for type_ in TYPES if type_.startswith("job."))
OF_BATCH = JOB_ENDS | {"job.redriven"}
"""Types of events of jobs whose subjects name the batch."""

MAX_VALUES = 100
Position = Annotated[int, Meta(ge=0, le=1 << 62)]


class Values(Struct, frozen=True):
    """The query's parameters, each with the values that it may have."""

    job: tuple[Id, ...] = ()
    batch: tuple[Id, ...] = ()
    workflow: tuple[Id, ...] = ()
    queue: tuple[Name, ...] = ()
    spec: tuple[Name, ...] = ()
    type: tuple[str, ...] = ()
    after: Position | None = None


class Selection(Struct, frozen=True):
    """What an event has to be: for each filter that says something, one of its values."""

    job: frozenset[str] = frozenset()
    batch: frozenset[str] = frozenset()
    workflow: frozenset[str] = frozenset()
    queue: frozenset[str] = frozenset()
    spec: frozenset[str] = frozenset()
    types: frozenset[str] = TYPES

    @property
    def only(self) -> tuple[Subject, str] | None:
        """The one job, batch or workflow that it is about, with whose end the stream ends."""
        if len(self.job) + len(self.batch) + len(self.workflow) != 1:
            return None
        named: dict[Subject, frozenset[str]] = {"job": self.job, "batch": self.batch, "workflow": self.workflow}
        return next((kind, id_) for kind, ids in named.items() for id_ in ids)

    @property
    def belongs(self) -> bool:
        """Whether it asks for what an event belongs to."""
        return bool(self.batch or self.workflow or self.queue or self.spec)

    def fits(self, shown: Shown) -> bool:
        """Say whether an event fits by what it says itself."""
        return shown.type in self.types and (not self.job or (shown.of[0] == "job" and shown.of[1] in self.job))

    def fits_belonging(self, belonging: Belonging) -> bool:
        """Say whether an event fits by what it belongs to."""
        return (
            (not self.batch or belonging.batch in self.batch)
            and (not self.workflow or belonging.workflow in self.workflow)
            and (not self.queue or belonging.queue in self.queue)
            and (not self.spec or belonging.spec in self.spec)
        )

    def subjects(self) -> tuple[list[str], bool]:
        """Return on which subjects there may be such events, and whether those are few.

        The events that end what it is about are always among them.
        """
        if self.job:
            return [aggregate_filter("job", id_) for id_ in sorted(self.job)], True
        if self.batch:
            own = [aggregate_filter("batch", id_) for id_ in sorted(self.batch)]
            of_jobs = self.types & JOB_TYPES
            if of_jobs <= OF_BATCH:
                return own + [ended_jobs_filter(id_) for id_ in sorted(self.batch) if of_jobs], True
            return own + _of_types(of_jobs), False
        if self.workflow:
            own = [aggregate_filter("workflow", id_) for id_ in sorted(self.workflow)]
            others = self.types & (JOB_TYPES | BATCH_TYPES)
            return own + _of_types(others), not others
        return _of_types(self.types), False


def read_selection(request: web.Request) -> tuple[Selection, int | None]:
    """Read what to show, and after which sequence; InvalidRequestError names each parameter that is wrong."""
    types = {field.name: field.type for field in fields(Values)}
    faults = Faults()
    values: dict[str, Any] = {}
    for name in dict.fromkeys(request.query):
        given = request.query.getall(name)
        if name not in types:
            faults.add("#", f"There is no query parameter {name!r}; there is {', '.join(types)}")
        elif name == "after":
            values[name] = _converted("query parameter after", given[-1], types[name], faults)
        elif len(given) > MAX_VALUES:
            faults.add("#", f"The query parameter {name} has {len(given)} values; the limit is {MAX_VALUES}")
        else:
            values[name] = tuple(
                _converted(f"query parameter {name}", text, types[name].__args__[0], faults) for text in given
            )
    shown = _types(values.pop("type", ()), faults)
    # The header goes before the query: a browser that connects again sends both.
    last = request.headers.get("Last-Event-ID")
    if last:
        values["after"] = _converted("header Last-Event-ID", last, Position, faults)
    faults.check()
    after = values.pop("after", None)
    return Selection(**{name: frozenset(some) for name, some in values.items()}, types=shown), after


def _converted(what: str, text: str, type_: Any, faults: Faults) -> Any:
    try:
        return msgspec.convert(text, type_, strict=False)
    except ValidationError as error:
        faults.add("#", f"The {what} is {text!r}: {error}")
        return None


def _types(patterns: Sequence[str], faults: Faults) -> frozenset[str]:
    """Return the types that patterns like `job.queued` and `job.*` stand for; all if there is no pattern."""
    found: set[str] = set()
    for pattern in patterns:
        prefix = pattern.removesuffix("*") if pattern.endswith(".*") else None
        fitting = {type_ for type_ in TYPES if (type_.startswith(prefix) if prefix else type_ == pattern)}
        if not fitting:
            near = get_close_matches(pattern, TYPES, n=2)
            also = f"; did you mean {' or '.join(near)}?" if near else ""
            faults.add("#", f"The query parameter type is {pattern!r}: there are no such events{also}")
        found |= fitting
    return frozenset(found) if patterns else TYPES


def _of_types(types: frozenset[str]) -> list[str]:
    """Return the subjects of events of these types."""
    found: list[str] = []
    for kind in sorted({type_.partition(".")[0] for type_ in types}):
        wanted = sorted(type_ for type_ in types if type_.startswith(f"{kind}."))
        if len(wanted) == len([type_ for type_ in TYPES if type_.startswith(f"{kind}.")]):
            found.append(f"rota.event.{kind}.>")
            continue
        for type_ in wanted:
            subject = f"rota.event.{kind}.*.{type_.partition('.')[2]}"
            found += [subject, f"{subject}.>"]
    return found
