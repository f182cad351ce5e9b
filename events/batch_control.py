"""How a batch at work is controlled: commands of people, and what follows from them."""

from typing import Annotated

from msgspec import Meta

from events.base import Command, Event
from rota.batch_protocol import Count, Tolerance

Positive = Annotated[int, Meta(ge=1, lt=2**53)]

# Commands


class PauseBatch(Command, frozen=True, kw_only=True, tag="batch.pause"):
    """Schedule no more jobs; those that are scheduled run."""

    reason: str = ""


class ResumeBatch(Command, frozen=True, kw_only=True, tag="batch.resume"):
    """Schedule jobs again."""


class ChangeBatch(Command, frozen=True, kw_only=True, tag="batch.change"):
    """Go on with other limits; what is None stays as it is."""

    max_jobs_in_flight: Positive | None = None
    max_bytes_in_flight: Positive | None = None
    max_readers: Positive | None = None
    tolerance: Tolerance | None = None


class CancelBatch(Command, frozen=True, kw_only=True, tag="batch.cancel"):
    """Stop reading, withdraw the jobs that wait, and stop those that run."""

    reason: str = ""


class FinishCancel(Command, frozen=True, kw_only=True, tag="batch.finish_cancel"):
    """All jobs that the batch ever had have ended; sent by its reader."""

    jobs: Count
    succeeded: Count
    failed: Count


BatchControl = PauseBatch | ResumeBatch | ChangeBatch | CancelBatch | FinishCancel

# Events


class BatchPaused(Event, frozen=True, kw_only=True, tag="batch.paused"):
    """No more jobs are scheduled for now."""

    reason: str = ""


class BatchResumed(Event, frozen=True, kw_only=True, tag="batch.resumed"):
    """Jobs are scheduled again."""


class BatchChanged(Event, frozen=True, kw_only=True, tag="batch.changed"):
    """The batch goes on with other limits; what is None stays as it was."""

    max_jobs_in_flight: int | None = None
    max_bytes_in_flight: int | None = None
    max_readers: int | None = None
    tolerance: Tolerance | None = None


class BatchCancelling(Event, frozen=True, kw_only=True, tag="batch.cancelling"):
    """Somebody cancelled the batch: its jobs are being stopped."""

    reason: str = ""


class BatchCancelled(Event, frozen=True, kw_only=True, tag="batch.cancelled"):
    """All jobs of the cancelled batch have ended; `failed` counts the cancelled ones, too."""

    jobs: int
    succeeded: int
    failed: int
    reason: str = ""


BatchControlled = BatchPaused | BatchResumed | BatchChanged | BatchCancelling | BatchCancelled
