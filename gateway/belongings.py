"""Which queue, spec, batch and workflow an event is about; only the first events of each say it themselves."""

import asyncio
from collections import OrderedDict
from contextlib import suppress

from msgspec import DecodeError, Struct

from events.base import Event, Kind
from events.batch import BatchOpened
from events.catalog import KINDS, decode_event
from events.jetstream.direct import scan
from events.jetstream.topology import EVENTS
from events.job import JobQueued, JobScheduled
from events.log import LogTrimmed
from events.spec import SpecChanged, SpecRegistered
from events.subjects import aggregate_filter
from projections.views import Views
from rota.errors import UnavailableError
from rota.jetstream import Connection

MAX_KNOWN = 20_000


class Belonging(Struct, frozen=True):
    """What something belongs to; a batch belongs to itself, and so does a workflow."""

    queue: str | None = None
    spec: str | None = None
    batch: str | None = None
    workflow: str | None = None


class Belongings:
    """What jobs, batches and workflows belong to, which never changes.

    Of the last MAX_KNOWN that were seen it is known at once, else from the views or the log.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._known: OrderedDict[tuple[Kind, str], Belonging] = OrderedDict()
        self._looking = asyncio.Lock()

    def note(self, event: Event) -> Belonging | None:
        """Return what an event says itself, or what was known before; None if it has to be looked up."""
        key = (KINDS[type(event)], event.originator_id)
        found = _said(event) or self._known.get(key)
        if found:
            self._keep(key, found)
        return found

    async def find(self, event: Event, views: Views | None) -> Belonging:
        """Return what an event's job, batch or workflow belongs to, as far as anybody knows."""
        # One at a time: all who follow the same events ask for the same.
        async with self._looking:
            return self.note(event) or await self._look_up((KINDS[type(event)], event.originator_id), views)

    async def find_workflow(self, batch: str) -> str | None:
        """Return the workflow that a batch is a part of."""
        async with self._looking:
            key: tuple[Kind, str] = ("batch", batch)
            return (self._known.get(key) or await self._look_up(key, None)).workflow

    async def _look_up(self, key: tuple[Kind, str], views: Views | None) -> Belonging:
        found = _viewed(key, views) or await self._logged(key) or Belonging()
        self._keep(key, found)
        return found

    def _keep(self, key: tuple[Kind, str], found: Belonging) -> None:
        self._known[key] = found
        self._known.move_to_end(key)
        if len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)

    async def _logged(self, key: tuple[Kind, str]) -> Belonging | None:
        """Ask the first event that the log has of it."""
        async for message in scan(self._connection, EVENTS, aggregate_filter(*key), page=1):
            with suppress(DecodeError):
                return _said(decode_event(message.data))
            return None
        return None


def _said(event: Event) -> Belonging | None:
    if KINDS[type(event)] == "workflow":
        return Belonging(workflow=event.originator_id)
    match event:
        case JobQueued(details=details) | JobScheduled(details=details):
            workflow = details.workflow.id if details.workflow else None
            return Belonging(details.queue, details.spec, details.batch, workflow)
        case BatchOpened(details=details):
            workflow = details.workflow.id if details.workflow else None
            return Belonging(details.queue, details.spec, event.originator_id, workflow)
        case SpecRegistered() | SpecChanged():
            return Belonging(spec=event.originator_id)
        case LogTrimmed():
            return Belonging()
        case _:
            return None


def _viewed(key: tuple[Kind, str], views: Views | None) -> Belonging | None:
    kind, id_ = key
    if views is None or kind != "job":
        return None
    with suppress(UnavailableError):
        if job := views.job(id_):
            return Belonging(job.queue, job.spec, job.batch, job.workflow)
    return None
