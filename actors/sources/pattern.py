"""Patterns of paths, taken one name at a time, so that a directory in which nothing can match is not read."""

import re
from collections.abc import Sequence
from fnmatch import translate

ANY_DEPTH = "**"

States = frozenset[int]
"""How many parts of a pattern the names so far may stand for."""


class Pattern:
    """A path in which `*`, `?` and `[...]` stand for letters of one name, and `**` for any number of directories.

    They do not stand for a dot at a name's start, unless `hidden` is set.
    """

    def __init__(self, text: str, *, hidden: bool) -> None:
        parts = [part for part in text.split("/") if part]
        if parts and parts[-1] == ANY_DEPTH:
            parts.append("*")
        self._parts = [None if part == ANY_DEPTH else re.compile(translate(part)) for part in parts]
        self._dotted = [hidden or part.startswith((".", "[.]")) for part in parts]
        self._hidden = hidden
        self.start = self._closed({0})

    def step(self, states: States, name: str) -> States:
        """Return the states after one more name."""
        dot = name.startswith(".")
        found = set()
        for state in states:
            if state == len(self._parts):
                continue
            part = self._parts[state]
            if part is None:
                if self._hidden or not dot:
                    found.add(state)
            elif part.match(name) and (self._dotted[state] or not dot):
                found.add(state + 1)
        return self._closed(found)

    def ends(self, states: States) -> bool:
        """Say whether the names so far match."""
        return len(self._parts) in states

    def goes_on(self, states: States) -> bool:
        """Say whether something below can match."""
        return any(state < len(self._parts) for state in states)

    def matches(self, names: Sequence[str]) -> bool:
        """Say whether a path matches."""
        states = self.start
        for name in names:
            states = self.step(states, name)
        return self.ends(states)

    def _closed(self, states: set[int]) -> States:
        """Add what `**` reaches when it stands for no directory."""
        found = set(states)
        for state in sorted(states):
            reached = state
            while reached < len(self._parts) and self._parts[reached] is None:
                reached += 1
                found.add(reached)
        return frozenset(found)


class Filter:
    """Patterns of which a path must match one, if there are any, and others of which it must match none.

    A pattern without a slash, but at its end, stands for names at any depth, others for paths below the directory
    that is read. One that ends with a slash stands for directories, with all that is in them.
    """

    def __init__(self, include: Sequence[str], exclude: Sequence[str]) -> None:
        self._include = [_compiled(text, "/**" if text.endswith("/") else "") for text in include]
        self._exclude_files = [_compiled(text) for text in exclude if not text.endswith("/")]
        self._exclude = [_compiled(text) for text in exclude]

    def takes(self, names: Sequence[str]) -> bool:
        """Say whether a file is read; the directories above it are asked for by `enters`."""
        if any(pattern.matches(names) for pattern in self._exclude_files):
            return False
        return not self._include or any(pattern.matches(names) for pattern in self._include)

    def enters(self, names: Sequence[str]) -> bool:
        """Say whether a directory is looked into."""
        return not any(pattern.matches(names) for pattern in self._exclude)


def _compiled(text: str, rest: str = "") -> Pattern:
    path = text.rstrip("/")
    return Pattern((path if "/" in path else f"{ANY_DEPTH}/{path}") + rest, hidden=True)
