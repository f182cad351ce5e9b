"""A document of YAML as the values that JSON has, with the line of each: what YAML 1.2 calls its core schema.

Dates stay the texts that they are, `no` and `on` are no truth values, and a name that comes twice is an error.
"""

import math
import re
from collections.abc import Callable
from typing import Any

import yaml

from rota.errors import InvalidRequestError, TooLargeError

MAX_VALUES = 1_000_000
"""With those that aliases repeat."""
MAX_DEPTH = 100
MERGE = "<<"
INTEGERS = range(-(2**63), 2**64)
MAX_DIGITS = 20

Path = tuple[str | int, ...]

_WORDS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_TEXT_TAGS = ("!", "tag:yaml.org,2002:str")


def read_yaml(text: str, name: str) -> tuple[Any, dict[Path, int]]:
    """Return the value of a document, and the lines of the values in it by their paths.

    InvalidRequestError says in which line what is wrong; `name` is what the document is called there.
    """
    builder = _Builder(name)
    try:
        for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            builder.take(event)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        reason = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
        place = f"{name}, line {mark.line + 1}" if mark else name
        raise InvalidRequestError(f"{place}: the YAML is broken: {reason}") from error
    return builder.value, builder.lines


class _Open:
    """A mapping or a list that is not at its end."""

    def __init__(self, value: Any, path: Path, anchor: str | None, before: int) -> None:
        self.value = value
        self.path = path
        self.anchor = anchor
        self.before = before
        """How many values there were before it."""
        self.key: str | None = None
        self.merged: list[Any] = []

    @property
    def wants_key(self) -> bool:
        return isinstance(self.value, dict) and self.key is None

    def next_path(self) -> Path:
        return (*self.path, len(self.value) if isinstance(self.value, list) else self.key or "")


class _Builder:
    """Makes values of the parser's events."""

    def __init__(self, name: str) -> None:
        self.value: Any = None
        self.lines: dict[Path, int] = {(): 1}
        self._name = name
        self._stack: list[_Open] = []
        self._anchors: dict[str, tuple[Any, int] | None] = {}
        """Values by their anchors, with how many are in them; None is one that is not at its end."""
        self._count = 0
        self._documents = 0
        self._handlers: dict[type, Callable[[Any], None]] = {
            yaml.AliasEvent: self._alias,
            yaml.DocumentStartEvent: self._document,
            yaml.MappingEndEvent: self._end,
            yaml.MappingStartEvent: lambda event: self._begin(event, {}),
            yaml.ScalarEvent: self._scalar,
            yaml.SequenceEndEvent: self._end,
            yaml.SequenceStartEvent: lambda event: self._begin(event, []),
        }

    def take(self, event: Any) -> None:
        """Take the next event."""
        if handle := self._handlers.get(type(event)):
            handle(event)

    def _document(self, event: Any) -> None:
        self._documents += 1
        if self._documents > 1:
            raise self._wrong(event, "a second document begins; there may be one")

    def _begin(self, event: Any, value: Any) -> None:
        if self._stack and self._stack[-1].wants_key:
            raise self._wrong(event, "a name is a list or a mapping, and not a text")
        if len(self._stack) >= MAX_DEPTH:
            raise TooLargeError(f"{self._place(event)}: values are deeper than {MAX_DEPTH} levels")
        self._check_tag(event)
        path = self._stack[-1].next_path() if self._stack else ()
        self._stack.append(_Open(value, path, event.anchor, self._count))
        if event.anchor:
            self._anchors[event.anchor] = None
        self._add_count(event, 1)
        self.lines.setdefault(path, event.start_mark.line + 1)

    def _end(self, event: Any) -> None:
        ended = self._stack.pop()
        for merged in ended.merged:
            for name, value in merged.items():
                ended.value.setdefault(name, value)
        if ended.anchor:
            self._anchors[ended.anchor] = (ended.value, self._count - ended.before)
        self._put(event, ended.value)

    def _scalar(self, event: Any) -> None:
        self._add_count(event, 1)
        if self._stack and self._stack[-1].wants_key:
            self._name_it(event)
            return
        value = self._scalar_value(event)
        if event.anchor:
            self._anchors[event.anchor] = (value, 1)
        self._put(event, value)

    def _alias(self, event: Any) -> None:
        found = self._anchors.get(event.anchor)
        if found is None:
            what = "itself" if event.anchor in self._anchors else "something that does not stand before it"
            raise self._wrong(event, f"*{event.anchor} stands for {what}")
        if self._stack and self._stack[-1].wants_key:
            raise self._wrong(event, "a name is written out, not repeated with *")
        self._add_count(event, found[1])
        self._put(event, found[0])

    def _name_it(self, event: Any) -> None:
        parent, name = self._stack[-1], event.value
        if name in parent.value:
            raise self._wrong(event, f"{name!r} comes twice in a mapping")
        parent.key = name
        if name != MERGE:
            self.lines[parent.next_path()] = event.start_mark.line + 1

    def _put(self, event: Any, value: Any) -> None:
        if not self._stack:
            self.value = value
            return
        parent = self._stack[-1]
        if isinstance(parent.value, list):
            self.lines.setdefault(parent.next_path(), event.start_mark.line + 1)
            parent.value.append(value)
            return
        if parent.key == MERGE:
            merged = value if isinstance(value, list) else [value]
            if not all(isinstance(one, dict) for one in merged):
                raise self._wrong(event, f"{MERGE} stands for something that is no mapping")
            parent.merged += merged
        else:
            parent.value[parent.key] = value
        parent.key = None

    def _scalar_value(self, event: Any) -> Any:
        text: str = event.value
        self._check_tag(event)
        if event.style or event.tag:
            return text
        if text in _WORDS:
            return _WORDS[text]
        if not _FLOAT.fullmatch(text):
            return text
        whole = _INTEGER.fullmatch(text)
        number = int(text[: MAX_DIGITS + 1]) if whole else float(text)
        if number not in INTEGERS if whole else not math.isfinite(number):
            raise self._wrong(event, "a number is too large: put it in quotes to have it as a text")
        return number

    def _check_tag(self, event: Any) -> None:
        if event.tag is not None and not (event.tag in _TEXT_TAGS and isinstance(event, yaml.ScalarEvent)):
            raise self._wrong(event, f"the tag {event.tag} has no meaning here")

    def _add_count(self, event: Any, count: int) -> None:
        self._count += count
        if self._count > MAX_VALUES:
            says = f"there are more than {MAX_VALUES} values, counting those that aliases repeat"
            raise TooLargeError(f"{self._place(event)}: {says}")

    def _wrong(self, event: Any, what: str) -> InvalidRequestError:
        return InvalidRequestError(f"{self._place(event)}: {what}")

    def _place(self, event: Any) -> str:
        return f"{self._name}, line {event.start_mark.line + 1}"
