"""One decision of a workflow: the events that follow from a command, and the state as it is with them."""

from datetime import datetime
from typing import Any

from events.base import Event
from events.workflow import StopOutcome, WorkflowJobsSkipped, WorkflowStopping
from events.workflow_evolution import evolve
from events.workflow_state import WorkflowState


class Turn:
    """The events of one decision, and the state with them."""

    def __init__(self, state: WorkflowState, id_: str, now: datetime) -> None:
        self.state = state
        self.events: list[Event] = []
        self._id = id_
        self.now = now

    def add(self, event: type[Any], **fields: Any) -> None:
        """Add an event."""
        added = event(originator_id=self._id, originator_version=self.state.version + 1, at=self.now, **fields)
        self.events.append(added)
        self.state = evolve(self.state, added)

    def stop(self, outcome: StopOutcome, reason: str) -> None:
        """Have the workflow end so."""
        self.add(WorkflowStopping, outcome=outcome, reason=reason)
        idle = tuple(
            number
            for number, job in enumerate(self.state.jobs)
            if not job.part.settled and not job.alive and job.fan_out is None
        )
        if idle:
            self.add(WorkflowJobsSkipped, jobs=idle)
