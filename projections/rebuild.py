"""Rebuilding: the views are folded anew from the whole log, and replaced at once."""

from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from events.jetstream.log import Log
from projections.runner import Runner
from projections.tables import Tables


async def rebuild(events: Log, path: Path) -> int:
    """Fold the log into a file beside, then put it in place of the views; return the position reached.

    Until then the views stay as they are, also for a gateway that reads them; it sees the new ones with its
    next query, and a runner goes on from their position. If it is interrupted, nothing has changed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        TemporaryDirectory(dir=path.parent, prefix="rebuild-") as folder,
        closing(Tables.open(Path(folder) / path.name)) as fresh,
    ):
        await Runner(events, fresh).catch_up()
        with closing(Tables.open(path)) as views:
            views.replace(fresh)
        return fresh.position
