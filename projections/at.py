"""Views of the past: the log folded up to a sequence or a time, and what the views would have shown then."""

from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from projections.prefix import fold
from projections.tables import Tables
from projections.verify import TRIMMED
from projections.views import Views
from rota.batch_protocol import BatchView
from rota.errors import InvalidRequestError
from rota.extension import AsOf, Progress, What
from rota.jetstream import Connection
from rota.protocol import JobView, QueueView, SpecView
from rota.replay import Replay, extent, last_before, last_on
from rota.workflow_protocol import WorkflowView

FILTERS: dict[What, frozenset[str]] = {
    "batches": frozenset({"id", "limit", "spec", "status"}),
    "jobs": frozenset({"batch", "id", "limit", "queue", "spec", "status", "workflow"}),
    "queues": frozenset({"limit", "queue"}),
    "specs": frozenset({"limit", "spec"}),
    "workflows": frozenset({"id", "limit", "name", "status"}),
}


async def at(
    nats_url: str, point: int | datetime, what: What, filters: Mapping[str, Any], progress: Progress
) -> AsOf:
    """Return what the views had when the log ended at a sequence, or as it was at a time.

    A time means all events that NATS had stored before it. The log is folded anew, into a temporary file.
    InvalidRequestError if the point is beyond the log's end, or a filter means nothing here.
    """
    if senseless := sorted(filters.keys() - FILTERS[what]):
        raise InvalidRequestError(f"There are no {what} by {' and '.join(senseless)}")
    async with await Connection.open(nats_url, name="rota at") as connection:
        sequence = await _sequence(connection, point)
        one_job = what == "jobs" and "id" in filters
        # One job does not depend on others.
        subject = f"rota.event.job.{filters['id']}.>" if one_job else ">"
        with TemporaryDirectory(prefix="rota-at-") as folder:
            path = Path(folder) / "views.sqlite"
            with closing(Tables.open(path)) as tables:
                async with Replay(connection, [subject], up_to=sequence) as replay:
                    await fold(replay, tables, progress)
                with closing(Views.open(path)) as views:
                    found = _query(views, what, dict(filters))
        return AsOf(sequence=sequence, removed=await last_on(connection, TRIMMED) > sequence, found=found)


async def _sequence(connection: Connection, point: int | datetime) -> int:
    if isinstance(point, datetime):
        if point > datetime.now(UTC):
            raise InvalidRequestError(f"{point.isoformat()} is yet to come")
        return await last_before(connection, point)
    last = (await extent(connection)).last
    if point > last:
        raise InvalidRequestError(f"The log ends at sequence {last}")
    return point


def _query(
    views: Views, what: What, filters: dict[str, Any]
) -> list[JobView] | list[BatchView] | list[QueueView] | list[SpecView] | list[WorkflowView]:
    id_ = filters.pop("id", None)
    match what:
        case "jobs":
            jobs = [views.job(id_)] if id_ else views.jobs(**filters).jobs
            return [job for job in jobs if job and _fits(job, filters)]
        case "batches":
            batches = [views.batch(id_)] if id_ else views.batches(**filters).batches
            return [batch for batch in batches if batch and _fits(batch, filters)]
        case "queues":
            return [queue for queue in views.queues() if filters.get("queue") in (None, queue.name)]
        case "specs":
            return [spec for spec in views.specs() if filters.get("spec") in (None, spec.name)]
        case "workflows":
            workflows = [views.workflow(id_)] if id_ else views.workflows(**filters).workflows
            return [workflow for workflow in workflows if workflow and _fits(workflow, filters)]


def _fits(one: JobView | BatchView | WorkflowView, filters: Mapping[str, Any]) -> bool:
    return all(getattr(one, name) == value for name, value in filters.items() if name != "limit")
