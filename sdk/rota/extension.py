"""What the command line can do where Rota's server is installed: the server brings it along as entry points."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from importlib.metadata import entry_points
from typing import Any, Literal, Protocol

from msgspec import Struct

from rota.batch_protocol import BatchView
from rota.errors import IncompatibleError
from rota.protocol import JobView, QueueView, SpecView
from rota.workflow_protocol import WorkflowView

GROUP = "rota.commands"

What = Literal["batches", "jobs", "queues", "specs", "workflows"]
"""What there are views of."""

Progress = Callable[[int, int], None]
"""Is told again and again how far the log was read, and how far it will be: two sequences."""


class LogFault(Struct, frozen=True):
    """A place where the log is not as it must be."""

    sequence: int
    detail: str


class Difference(Struct, frozen=True):
    """A place where the live views are not what the log folds to; the column is "" if it is a whole row."""

    table: str
    key: list[Any]
    """The values of the row's primary key."""
    column: str
    live: Any
    """What the views have."""
    log: Any
    """What the log folds to."""


class Verdict(Struct, frozen=True, kw_only=True):
    """What came of checking the log and the views; of what is wrong, the first places, and how many there are."""

    position: int
    """Sequence of the log at which the views were compared."""
    events: int
    rows: dict[str, int]
    """Rows that were compared, by table."""
    faults: list[LogFault]
    faults_total: int
    differences: list[Difference]
    differences_total: int

    @property
    def agrees(self) -> bool:
        """Whether the log is whole, and the views are what it folds to."""
        return not self.faults_total and not self.differences_total


class AsOf(Struct, frozen=True, kw_only=True):
    """Views as they were when the log ended at `sequence`."""

    sequence: int
    removed: bool
    """Whether events were removed from the log since, so that what belonged to them is missing."""
    found: list[JobView] | list[BatchView] | list[QueueView] | list[SpecView] | list[WorkflowView]


class Verify(Protocol):
    """The entry point `verify`."""

    def __call__(self, nats_url: str, progress: Progress) -> Awaitable[Verdict]:
        """Check the log, and compare the views of ROTA_HOME with what it folds to."""


class At(Protocol):
    """The entry point `at`."""

    def __call__(
        self, nats_url: str, point: int | datetime, what: What, filters: dict[str, Any], progress: Progress
    ) -> Awaitable[AsOf]:
        """Return what the views had when the log ended at a sequence, or at a time."""


def verify() -> Verify:
    """Return the server's check; IncompatibleError if the server is not installed here."""
    return _loaded("verify")  # type: ignore[no-any-return] # what is installed under this name


def at() -> At:
    """Return the server's look into the past; IncompatibleError if the server is not installed here."""
    return _loaded("at")  # type: ignore[no-any-return] # what is installed under this name


def _loaded(name: str) -> Any:
    for entry_point in entry_points(group=GROUP, name=name):
        return entry_point.load()
    raise IncompatibleError(
        "This needs the code of Rota's server, the package rota-server, which is not installed on this machine: "
        "run it from a clone of Rota after ./scripts/install"
    )
