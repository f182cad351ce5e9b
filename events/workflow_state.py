"""The state of a workflow: what its events come to, for later decisions."""

from datetime import datetime
from typing import Literal

from msgspec import Struct

from events.workflow import EndedPart, StopOutcome, WorkflowDetails, WorkflowJob
from rota.workflow_protocol import WorkflowStatus

PartStatus = Literal["waiting", "released", "skipped"] | EndedPart
UNSETTLED = ("waiting", "released")


class Part(Struct, frozen=True, array_like=True):
    """A job of a workflow, or a run of a fan-out, and how far it is."""

    status: PartStatus = "waiting"
    retry: int = 0
    """The retry of the workflow that it was released in."""
    made: bool = False
    """Whether there is a job or a batch."""
    alive: bool = False
    """Whether that has not ended, as far as the workflow was told."""
    withdrawn: bool = False
    """Whether it was told to end."""
    released_at: datetime | None = None
    attempt: int = 0
    """The last attempt that has begun; it is told only where a time limit hangs on it."""
    started_at: datetime | None = None
    """When that began, unless it has taken too long."""
    opened: int = 0
    """Of a batch: the retry in which it was opened."""

    @property
    def settled(self) -> bool:
        """Whether it is known what has become of it."""
        return self.status not in UNSETTLED


class FanOut(Struct, frozen=True):
    """The runs of a fan-out."""

    runs: tuple[Part, ...]
    waiting: tuple[int, ...]
    """Runs that are not released."""
    alive: int = 0
    succeeded: int = 0
    failed: int = 0
    """Runs that have ended without success."""


class JobState(Struct, frozen=True, omit_defaults=True):
    """A job of a workflow."""

    part: Part = Part()
    missing: int = 0
    """Jobs that it waits for."""
    fallback: bool = False
    """Whether its defaults stand for its output."""
    fan_out: FanOut | None = None
    """Of a fan-out, once its list is known."""

    @property
    def has_output(self) -> bool:
        """Whether what depends on it may run."""
        return self.part.status == "succeeded" or self.fallback

    @property
    def alive(self) -> int:
        """How many jobs or batches of it have not ended."""
        return self.part.alive + (self.fan_out.alive if self.fan_out else 0)

    @property
    def leaving(self) -> bool:
        """Whether it was told to end and has not."""
        return self.part.alive and self.part.withdrawn

    @property
    def is_ready(self) -> bool:
        """Whether something of it can be released."""
        if self.part.settled or self.missing:
            return False
        return self.part.status == "waiting" or (self.fan_out is not None and bool(self.fan_out.waiting))

    def part_of(self, run: int | None) -> Part:
        """Return the state of a run, or of the job itself."""
        return self.fan_out.runs[run] if self.fan_out and run is not None else self.part


class WorkflowState(Struct, frozen=True):
    """What later decisions need. All of the first block from `ready` on follows from `jobs`."""

    version: int
    status: WorkflowStatus
    """Never `paused`: that is told apart."""
    details: WorkflowDetails
    after: tuple[tuple[int, ...], ...]
    """For each job those that wait for it."""
    jobs: tuple[JobState, ...]
    ready: tuple[int, ...]
    """Jobs of which something can be released."""
    doomed: tuple[int, ...] = ()
    """Jobs of which something has to be withdrawn."""
    alive: int = 0
    """Jobs, runs and batches that have not ended."""
    leaving: int = 0
    """Those that were told to end and have not."""
    unsettled: int = 0
    """Jobs of which it is not known what becomes of them."""
    runs: int = 0
    """Of all fan-outs whose lists are known."""

    paused: bool = False
    outcome: StopOutcome | None = None
    """How it ends that does not come to its end."""
    reason: str = ""
    began_at: datetime | None = None
    """When it was scheduled, or retried last."""
    retry: int = 0
    retry_key: str | None = None
    weight: int = 0
    """Bytes that its params, inputs and dependencies take, about."""

    def failures(self) -> int:
        """Return how many jobs have no output."""
        return sum(job.part.settled and not job.has_output for job in self.jobs)


def before(job: WorkflowJob) -> tuple[int, ...]:
    """Return the jobs that a job waits for."""
    return tuple({*job.needs, *job.after})
