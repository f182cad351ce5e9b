"""The log's beginning, up to a sequence, folded into fresh tables."""

from collections.abc import Callable, Sequence

from msgspec import Struct

from events.catalog import AnyEvent, decode_event
from events.jetstream.log import Recorded
from projections.tables import Tables
from rota.extension import Progress
from rota.replay import Replay


class Stored(Struct, frozen=True):
    """What the log has at a sequence: an event, or else why it is none."""

    sequence: int
    subject: str
    event: AnyEvent | None
    fault: str = ""


def ignore(_: Sequence[Stored]) -> None:
    """Look at nothing."""


async def fold(
    replay: Replay, tables: Tables, progress: Progress, look: Callable[[Sequence[Stored]], None] = ignore
) -> None:
    """Fold all that a replay has into tables, which stand at its end then; show what the log has to `look`."""
    while messages := await replay.take():
        found = [_stored(sequence, message.subject, message.data) for sequence, message in messages]
        look(found)
        recorded = [Recorded(one.sequence, one.event) for one in found if one.event]
        tables.advance(recorded, after=tables.position, until=replay.position)
        progress(replay.position, replay.end)
    # There may be no message at the end itself: it was removed, or it is of no interest.
    tables.advance([], after=tables.position, until=replay.end)


def _stored(sequence: int, subject: str, body: bytes) -> Stored:
    try:
        return Stored(sequence, subject, decode_event(body))
    except Exception as error:  # noqa: BLE001 - whatever it is, the message is no event
        return Stored(sequence, subject, None, str(error))
