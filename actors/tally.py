"""How many jobs of a batch have ended, by what the log says of them in its order."""

from events.batch import CountJobs
from events.batch_state import BatchState


class Tally:
    """Counts from where the batch's own state ends: a job that runs again has not ended.

    It is a fold over the events of jobs in the order of the log. So all who count say the same of each sequence,
    whenever they began, and a count that is told twice, or by two, does no harm.
    """

    def __init__(self, state: BatchState) -> None:
        self.succeeded, self.failed = state.succeeded, state.failed
        self._told = (self.succeeded, self.failed)

    @property
    def ended(self) -> int:
        """All that have ended."""
        return self.succeeded + self.failed

    @property
    def news(self) -> bool:
        """Whether there is something that the batch was not told."""
        return (self.succeeded, self.failed) != self._told

    def note(self, name: str) -> None:
        """Count an event of a job by its name: one that ended it, or `redriven`, which follows an end."""
        match name:
            case "succeeded":
                self.succeeded += 1
            case "redriven":
                self.failed -= 1
            case _:
                self.failed += 1

    def tell(self, batch: str, until: int) -> CountJobs:
        """Return what tells the batch how many have ended by a sequence of the log, that of the last noted."""
        self._told = (self.succeeded, self.failed)
        return CountJobs(id=batch, until=until, succeeded=self.succeeded, failed=self.failed)
