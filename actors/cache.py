"""The aggregates that a shard remembers: those that changed last, within bounds of number and bytes."""

from collections import OrderedDict
from typing import Any

from msgspec import Struct

from events.base import Kind
from events.catalog import AGGREGATES

MAX_ENTRIES = 50_000
MAX_BYTES = 256 * 1024 * 1024
"""Of what differs much among states, see `Aggregate.weigh`: the params of jobs, the files of batches."""

Identity = tuple[Kind, str]


class Entry(Struct, frozen=True):
    """An aggregate's state, and the log's sequence of its last event (0: none)."""

    state: Any
    sequence: int


class Cache:
    """States as they were when this shard stored their last event; another owner may have stored later ones."""

    def __init__(self, max_entries: int = MAX_ENTRIES, max_bytes: int = MAX_BYTES) -> None:
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._entries: OrderedDict[Identity, Entry] = OrderedDict()
        self._bytes = 0

    def get(self, identity: Identity) -> Entry | None:
        """Return what is remembered of an aggregate."""
        return self._entries.get(identity)

    def put(self, identity: Identity, entry: Entry) -> None:
        """Remember an aggregate, and forget those that have not changed for longest if it takes their room."""
        self.forget(identity)
        self._entries[identity] = entry
        self._bytes += _weight(identity, entry)
        while len(self._entries) > self._max_entries or self._bytes > self._max_bytes:
            self.forget(next(iter(self._entries)))

    def forget(self, identity: Identity) -> bool:
        """Forget an aggregate; say whether it was remembered."""
        entry = self._entries.pop(identity, None)
        if entry is None:
            return False
        self._bytes -= _weight(identity, entry)
        return True


def _weight(identity: Identity, entry: Entry) -> int:
    return AGGREGATES[identity[0]].weigh(entry.state)
