"""Deaths of readers that got nowhere, in a row: they tell a deadly file from readers that die of other things."""

from typing import Any

MAX_DEATHS = 5


class Deaths:
    """Counts how often readers have died one after the other while what they do made no progress."""

    def __init__(self) -> None:
        self._count = 0
        self._progress: Any = None

    def too_many(self, progress: Any) -> bool:
        """Note a death, and how far the dead one and those before had come; say whether to give up."""
        self._count = self._count + 1 if progress == self._progress else 1
        self._progress = progress
        return self._count >= MAX_DEATHS
