"""The values of YAML while they are built."""

from typing import Any

import yaml
from msgspec import Struct

from actors.formats.yaml_scalars import plain_value, tagged_value


class Anchored(Struct, frozen=True):
    """A value that aliases may repeat, with what it costs, and its text if it may be a key."""

    value: Any
    nodes: int
    characters: int
    height: int
    text: str | None = None


class Collection(Struct):
    """A list or mapping that is not at its end; `nodes` and `characters` are those of its row before it."""

    value: Any
    anchor: str | None
    nodes: int
    characters: int
    is_set: bool = False
    is_key: bool = False
    height: int = 1
    key: str | None = None
    merges: bool = False
    merged: list[dict[str, Any]] = []

    @property
    def wants_key(self) -> bool:
        """Whether the next value in it is a key."""
        return self.key is None and isinstance(self.value, dict)

    def add(self, value: Any) -> bool:
        """Take the next element, or the value of the key; False if it cannot be merged."""
        if self.key is None:
            self.value.append(value)
            return True
        key, self.key = self.key, None
        if not self.merges:
            self.value[key] = value
            return True
        mappings = value if isinstance(value, list) else [value]
        self.merged += [mapping for mapping in mappings if isinstance(mapping, dict)]
        return all(isinstance(mapping, dict) for mapping in mappings)

    def whole(self) -> Any:
        """Return what it is at its end."""
        if self.is_set:
            return list(self.value)
        if not self.merged:
            return self.value
        merged: dict[str, Any] = {}
        for mapping in reversed(self.merged):  # the first has precedence
            merged.update(mapping)
        return {**merged, **self.value}


def scalar_value(event: yaml.ScalarEvent) -> Any:
    """Return the value of a scalar; ValueError if its tag has no such value, KeyError if there is no such tag."""
    if event.tag is not None:
        return tagged_value(event.tag, event.value)
    return plain_value(event.value) if event.implicit[0] else event.value
