"""Results of a batch, collected into a file: what is asked, and what comes of it.

It does not touch the batch's own state, and may be asked as often as one likes, also after its end.
"""

from events.base import Command, Event
from rota.batch_protocol import Manifest, ResultsFormat
from rota.protocol import Id, Name

# Commands


class CollectResults(Command, frozen=True, kw_only=True, tag="batch.collect_results"):
    """Write the results that there are into a file; `collection` names it among those of the batch."""

    collection: Id
    format: ResultsFormat
    connection: Name | None = None
    """None: the file is kept for download."""
    path: str | None = None
    origin_columns: bool = False


class FinishResults(Command, frozen=True, kw_only=True, tag="batch.finish_results"):
    """The file is written; sent by who collects."""

    collection: Id
    manifest: Manifest


class FailResults(Command, frozen=True, kw_only=True, tag="batch.fail_results"):
    """The file cannot be written, and there is none; sent by who collects."""

    collection: Id
    reason: str


BatchCollection = CollectResults | FinishResults | FailResults

# Events


class ResultsRequested(Event, frozen=True, kw_only=True, tag="batch.results_requested"):
    """Somebody wants the results in a file."""

    collection: str
    format: ResultsFormat
    connection: str | None = None
    path: str | None = None
    origin_columns: bool = False


class ResultsCollected(Event, frozen=True, kw_only=True, tag="batch.results_collected"):
    """The file is there, whole."""

    collection: str
    manifest: Manifest


class ResultsFailed(Event, frozen=True, kw_only=True, tag="batch.results_failed"):
    """There will be no file."""

    collection: str
    reason: str


BatchCollected = ResultsRequested | ResultsCollected | ResultsFailed
