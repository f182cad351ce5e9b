"""What is known of a spec, job, batch or workflow, however new it is.

Views lag behind the log, and the log behind commands.
"""

from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from datetime import UTC, datetime
from typing import Literal, TypeVar

from msgspec import Struct

from events.batch import BatchOpened, OpenBatch
from events.catalog import AnyCommand, AnyEvent
from events.jetstream.log import Recorded
from events.job import JobScheduled, ScheduleJob
from events.workflow import ScheduleWorkflow, WorkflowDetails, WorkflowScheduled
from gateway.edge import Edge
from gateway.problems import MAX_FAULTS
from gateway.translate import Specs
from projections.views import Views, fold
from rota.batch_protocol import BatchView, RowView
from rota.errors import NotFoundError, UnavailableError
from rota.protocol import JobView, SpecView
from rota.workflow_protocol import WorkflowView

MAX_FOLDED = 1000
"""Events of a batch that are folded for one answer, where the views do not have them yet."""

ID = r"{id:[A-Za-z0-9_-]{1,128}}"
"""The ids in paths; anything else could be a pattern of NATS subjects."""


Answer = TypeVar("Answer")
Subject = Literal["batch", "job", "workflow"]
"""What has a history and a view."""


class Found(Struct, frozen=True):
    """The history of one of these; as long as it is empty, the command that begins it."""

    events: list[Recorded]
    waiting: AnyCommand | None = None

    def views(self) -> Views:
        """Return the views of it alone, to be closed."""
        return fold(self.events or [Recorded(0, event) for event in _expected(self.waiting)])


async def find(edge: Edge, kind: Subject, id_: str) -> Found:
    """Return what the log has, or the command that waits; NotFoundError if there was never such an id."""
    events = await edge.log.load(kind, id_)
    waiting = None if events else await edge.bus.find_waiting(kind, id_)
    if not events and waiting is None:
        # Perhaps a shard has carried the command out in between.
        events = await edge.log.load(kind, id_)
        if not events:
            raise NotFoundError(f"There is no {kind} {id_}")
    return Found(events, waiting)


async def find_last(edge: Edge, kind: Subject, id_: str) -> Recorded | None:
    """Return the newest event; None if there is none yet, or none any more. NotFoundError as in `find`."""
    last = await edge.log.last(kind, id_)
    if last or await edge.bus.find_waiting(kind, id_):
        return last
    # Perhaps a shard has carried the command out in between.
    if last := await edge.log.last(kind, id_):
        return last
    with suppress(UnavailableError):
        if _viewed(edge.views(), kind, id_):
            return None
    raise NotFoundError(f"There is no {kind} {id_}")


async def find_job(edge: Edge, id_: str) -> JobView:
    """Return a job's view; NotFoundError if there was never such an id."""
    with suppress(UnavailableError):
        if view := edge.views().job(id_):
            return view
    with closing((await find(edge, "job", id_)).views()) as views:
        if view := views.job(id_):
            return view
    raise NotFoundError(f"There is no job {id_}")


async def find_batch(edge: Edge, id_: str) -> BatchView:
    """Return a batch's view; NotFoundError if there was never such an id."""
    with suppress(UnavailableError):
        if view := edge.views().batch(id_, datetime.now(UTC)):
            return view
    with closing((await find(edge, "batch", id_)).views()) as views:
        if view := views.batch(id_, datetime.now(UTC)):
            return view
    raise NotFoundError(f"There is no batch {id_}")


async def find_workflow(edge: Edge, id_: str) -> WorkflowView:
    """Return a workflow's view; NotFoundError if there was never such an id.

    UnavailableError if the views do not have it, and its history is too long to be read for one answer.
    """
    with suppress(UnavailableError):
        if view := edge.views().workflow(id_, datetime.now(UTC)):
            return view
    last = await find_last(edge, "workflow", id_)
    if last and last.event.originator_version > MAX_FOLDED:
        raise UnavailableError(f"The views do not have the workflow {id_} yet: try again in a moment")
    with closing((await find(edge, "workflow", id_)).views()) as views:
        if view := views.workflow(id_, datetime.now(UTC)):
            return view
    raise NotFoundError(f"There is no workflow {id_}")


async def find_status(edge: Edge, kind: Subject, id_: str) -> str:
    """Return the status of one of these; errors as when it is looked for."""
    match kind:
        case "batch":
            return (await find_batch(edge, id_)).status
        case "job":
            return (await find_job(edge, id_)).status
        case "workflow":
            return (await find_workflow(edge, id_)).status


async def find_workflow_details(edge: Edge, id_: str) -> WorkflowDetails:
    """Return a workflow as it was scheduled; NotFoundError if there was never such an id, or it is removed."""
    details = await _scheduled(edge, id_)
    if details is None:
        waiting = await edge.bus.find_waiting("workflow", id_)
        # Perhaps a shard has carried the command out in between.
        details = waiting.details if isinstance(waiting, ScheduleWorkflow) else await _scheduled(edge, id_)
    if details is None:
        raise NotFoundError(f"There is no workflow {id_}")
    return details


async def find_row(edge: Edge, id_: str, file: str | None, row: int) -> RowView:
    """Return which job of a batch had a row, as the views know it; errors as of `Views.row`."""
    return await ask_batch(edge, id_, lambda views: views.row(id_, file, row))


async def ask_batch(edge: Edge, id_: str, query: Callable[[Views], Answer]) -> Answer:
    """Return what a query finds in the views of a batch, or in those of its log alone as long as that is short.

    Errors are those of the query: UnavailableError if the views do not have what the log has, and NotFoundError if
    there was never such a batch.
    """
    try:
        return query(edge.views())
    except UnavailableError:
        last = await find_last(edge, "batch", id_)
        if last and last.event.originator_version > MAX_FOLDED:
            raise
    with closing((await find(edge, "batch", id_)).views()) as views:
        return query(views)


async def find_spec(edge: Edge, name: str) -> SpecView | None:
    """Return a spec, or None."""
    with suppress(UnavailableError):
        if view := edge.views().spec(name):
            return view
    events = await edge.log.load("spec", name)
    if not events:
        return None
    with closing(fold(events)) as views:
        return views.spec(name)


async def find_specs(edge: Edge, names: Iterable[str]) -> Specs:
    """Return the specs of these names that there are; in their order, up to the first MAX_FAULTS that are not."""
    found: dict[str, SpecView] = {}
    missing = 0
    for name in dict.fromkeys(names):
        if spec := await find_spec(edge, name):
            found[name] = spec
        else:
            missing += 1
            if missing == MAX_FAULTS:
                break
    return Specs(found, spec_names(edge) if missing else ())


def spec_names(edge: Edge) -> list[str]:
    """Return the names of all specs that the views know."""
    with suppress(UnavailableError):
        return [spec.name for spec in edge.views().specs()]
    return []


async def _scheduled(edge: Edge, id_: str) -> WorkflowDetails | None:
    first = await edge.log.load("workflow", id_, limit=1)
    if first and isinstance(first[0].event, WorkflowScheduled):
        return first[0].event.details
    return None


def _viewed(views: Views, kind: Subject, id_: str) -> bool:
    """Say whether the views have it."""
    match kind:
        case "batch":
            return views.batch(id_) is not None
        case "job":
            return views.job(id_) is not None
        case "workflow":
            return views.workflow(id_) is not None


def _expected(command: AnyCommand | None) -> list[AnyEvent]:
    """Return the event that stands for a command which waits; a job shows as scheduled until a shard has it."""
    now = datetime.now(UTC)
    match command:
        case ScheduleJob():
            due = command.run_at or now
            return [
                JobScheduled(
                    originator_id=command.id, originator_version=1, at=now, details=command.details, run_at=due
                )
            ]
        case OpenBatch():
            return [BatchOpened(originator_id=command.id, originator_version=1, at=now, details=command.details)]
        case ScheduleWorkflow():
            details = command.details
            return [WorkflowScheduled(originator_id=command.id, originator_version=1, at=now, details=details)]
        case _:
            return []
