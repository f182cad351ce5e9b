"""The log's own history: what was removed from it, and when. There is one, with the id LOG_ID.

Nobody sends its command: whoever removes events decides and appends `log.trimmed` first, so that all views know.
"""

from datetime import datetime

from msgspec import Struct

from events.base import Aggregate, Command, Event

LOG_ID = "events"


class TrimLog(Command, frozen=True, kw_only=True, tag="log.trim"):
    """Remove what had ended for good by a sequence of the log."""

    before: datetime
    until: int
    oldest_job: int


class LogTrimmed(Event, frozen=True, kw_only=True, tag="log.trimmed"):
    """What had ended by `until`, jobs, batches and workflows, is removed: from the views, and then from the log.

    A job or batch goes only together with what it is a part of, and a batch or workflow only when all its parts
    have ended. So what is removed follows from the events up to `until` alone, whatever of them was removed before.
    """

    before: datetime
    """They ended before this time."""
    until: int
    """Sequence of the last event before that time."""
    oldest_job: int
    """No job that stays has an event before this sequence."""


LogEvent = LogTrimmed


class LogState(Struct, frozen=True):
    """What later decisions need."""

    version: int
    before: datetime
    until: int


def decide(state: LogState | None, command: TrimLog, now: datetime) -> list[Event]:
    """Return what follows from the command; nothing if as much was removed before."""
    if state and command.until <= state.until:
        return []
    return [
        LogTrimmed(
            originator_id=command.id,
            originator_version=state.version + 1 if state else 1,
            at=now,
            before=command.before,
            until=command.until,
            oldest_job=command.oldest_job,
        )
    ]


def evolve(state: LogState | None, event: LogEvent) -> LogState:  # noqa: ARG001 - the seam's signature
    """Return the state after the event."""
    return LogState(event.originator_version, event.before, event.until)


LOG = Aggregate("log", decide, evolve, LogState)
