"""The role of batches: those of workflows tell their end."""

from collections.abc import Sequence

from actors.roles import Change, Consequence
from actors.workflow_batches import collected
from actors.workflow_outputs import Outputs
from events.base import Event, Kind
from events.batch import BatchCompleted, BatchCompletedWithFailures, BatchDetails, BatchFailed
from events.batch_control import BatchCancelled
from events.batch_results import ResultsCollected, ResultsFailed
from events.batch_state import BatchState
from events.catalog import AnyCommand
from events.workflow import EndedPart, EndWorkflowJob
from events.workflow_ids import COLLECTION
from rota.protocol import JobFault

COMPLETED = BatchCompleted | BatchCompletedWithFailures
ENDS = COMPLETED | BatchFailed | BatchCancelled
COLLECTED = ResultsCollected | ResultsFailed


class Batches:
    """Tells workflows of the ends of their batches."""

    kind: Kind = "batch"

    def __init__(self, outputs: Outputs) -> None:
        self._outputs = outputs

    def begin(self) -> None:
        """Do nothing: it keeps nothing."""

    def concerns(self, event: Event, state: BatchState) -> bool:
        """Say whether a batch of a workflow has ended, or its results are there."""
        return state.details.workflow is not None and isinstance(event, ENDS | COLLECTED)

    async def then(self, changes: Sequence[Change]) -> list[Consequence]:
        """Return what workflows are told, or that the results are wanted first."""
        found = []
        for change in changes:
            state: BatchState = change.state
            for event in change.events:
                if isinstance(event, COMPLETED | ResultsCollected):
                    results = event if isinstance(event, ResultsCollected) else None
                    self._outputs.note_batch(event.originator_id, state, results)
                found += [Consequence(command, event) for command in _following(event, state.details)]
        return found

    async def before(self, changes: Sequence[Change]) -> None:
        """Do nothing: all that follows is told."""

    async def after(self, changes: Sequence[Change]) -> None:
        """Do nothing, as above."""


def _following(event: Event, details: BatchDetails) -> list[AnyCommand]:
    """Return what follows from the end of a batch, or of a collection of its results."""
    place = details.workflow
    if place is None or (isinstance(event, COLLECTED) and not event.collection.startswith(COLLECTION)):
        return []
    if isinstance(event, COMPLETED) and (
        wanted := collected(event.originator_id, details, event.originator_version)
    ):
        return [*wanted]
    outcome: EndedPart = "succeeded"
    fault = None
    match event:
        case BatchFailed():
            outcome, fault = "failed", JobFault("BatchFailed", event.reason)
        case ResultsFailed():
            outcome, fault = "failed", JobFault("ResultsFailed", event.reason)
        case BatchCancelled():
            outcome, fault = "cancelled", JobFault("Cancelled", "The batch was cancelled")
    return [EndWorkflowJob(id=place.id, job=place.job, outcome=outcome, fault=fault)]
