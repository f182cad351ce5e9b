"""The rows of a stream of YAML documents, built out of the parser's events."""

from collections.abc import Callable, Iterator
from typing import Any

import yaml
from yaml._yaml import CParser

from actors.formats.block import BadRowError
from actors.formats.limits import Limits
from actors.formats.line_blocks import PAUSE, Row, Rows
from actors.formats.types import SHOWN_CHARACTERS
from actors.formats.yaml_values import Anchored, Collection, scalar_value
from events.batch import FileFault
from rota.errors import TooLargeError

VALUE = "value"
"""The column of a row that is no mapping."""
MAX_NODES = 1_000_000
"""Values of one row, with those that aliases repeat."""
MAX_ANCHORS = 100_000
ROWS_AT_ONCE = 1000
ENDS = {yaml.MappingEndEvent, yaml.SequenceEndEvent}
LISTS = ("seq", "omap", "pairs")


def rows_in(path: str, parser: CParser, limits: Limits, on_event: Callable[[], bool]) -> Iterator[Rows]:
    """Yield all rows of a stream; at what is wrong in it, yield those before and raise the error.

    `on_event` says whether the parser may have to wait before its next event.
    """
    builder = _Builder(path, limits)
    try:
        while (event := parser.get_event()) is not None:
            waits = on_event()
            builder.take(event)
            if len(builder.values) >= (1 if waits else ROWS_AT_ONCE):
                yield builder.taken()
                if waits:
                    yield PAUSE
    except yaml.YAMLError as error:
        yield builder.taken()
        raise _broken(path, error) from error
    except (BadRowError, TooLargeError):
        yield builder.taken()
        raise
    yield builder.taken()


class _Builder:
    """Values that are not at their end.

    What makes a row bad, but not the document, is kept until the row's end: then it stands in place of the row.
    """

    def __init__(self, path: str, limits: Limits) -> None:
        self._path = path
        self._limits = limits
        self._anchors: dict[str, Anchored | None] = {}
        """None is a value that is not at its end."""
        self._stack: list[Collection] = []
        self._in_list = False
        self._fault: FileFault | None = None
        self._row_line = 1
        self._row_start = 0
        self._nodes = 0
        self._characters = 0
        self._before = 0
        self._anchored = 0
        self._handlers: dict[type, Callable[[Any], None]] = {
            yaml.AliasEvent: self._on_alias,
            yaml.DocumentStartEvent: self._on_document,
            yaml.MappingEndEvent: self._on_end,
            yaml.MappingStartEvent: self._on_mapping,
            yaml.ScalarEvent: self._on_scalar,
            yaml.SequenceEndEvent: self._on_end,
            yaml.SequenceStartEvent: self._on_sequence,
        }
        self.values: list[Row | FileFault] = []
        self._ends: list[int] = []
        self._lines: list[int] = []

    def taken(self) -> Rows:
        """Return the rows that are whole, and forget them."""
        rows = Rows(self.values, self._ends, self._lines.__getitem__, before=self._before)
        self._before = self._ends[-1] if self._ends else self._before
        self.values, self._ends, self._lines = [], [], []
        return rows

    def take(self, event: Any) -> None:
        """Take the next event of the parser."""
        kind = type(event)
        if not self._stack and kind not in ENDS:
            self._row_line, self._row_start = event.start_mark.line + 1, event.start_mark.index
            self._nodes = self._characters = 0
        elif event.end_mark.index - self._row_start > self._limits.row_bytes and self._stack:
            raise self._too_large(event, f"a row is larger than {self._limits.row_bytes} bytes (limit row_bytes)")
        if handle := self._handlers.get(kind):
            handle(event)

    def _on_mapping(self, event: Any) -> None:
        self._open(event, {}, ("map", "set"))

    def _on_sequence(self, event: Any) -> None:
        if self._stack or self._in_list:
            self._open(event, [], LISTS)
            return
        self._in_list = True  # the document's elements are rows
        self._check_tag(event, LISTS)

    def _on_document(self, _: Any) -> None:
        self._anchors, self._anchored = {}, 0

    def _on_scalar(self, event: Any) -> None:
        text: str = event.value
        if not self._stack and not self._in_list and not text and event.implicit[0] and not event.anchor:
            return  # a document without a value
        if self._stack and self._stack[-1].wants_key:
            self._count(event, 1, len(text))
            if event.anchor:
                self._anchor(event, Anchored(text, 1, len(text), 0, text))
            self._add_key(event, text, merges=text == "<<" and event.implicit[0])
            return
        value: Any = None
        try:
            value = scalar_value(event)
        except KeyError:
            self._bad(event, f"the tag {event.tag[:SHOWN_CHARACTERS]} is not known", text)
        except ValueError as error:
            self._bad(event, f"{text[:SHOWN_CHARACTERS]!r} is no value of its tag: {error}", text)
        self._count(event, 1, len(text))
        if event.anchor:
            self._anchor(event, Anchored(value, 1, len(text), 0, text))
        self._add(event, value, 0)

    def _on_alias(self, event: Any) -> None:
        found = self._anchors.get(event.anchor)
        if found is None:
            what = "itself" if event.anchor in self._anchors else "something that is not in the document before"
            self._bad(event, f"the alias *{event.anchor[:SHOWN_CHARACTERS]} stands for {what}")
            found = Anchored(None, 1, 0, 0, "")
        self._count(event, found.nodes, found.characters)
        self._check_depth(event, found.height)
        if self._stack and self._stack[-1].wants_key:
            if found.text is None:
                self._bad(event, "a key is a list or a mapping")
            self._add_key(event, found.text or "", merges=False)
        else:
            self._add(event, found.value, found.height)

    def _open(self, event: Any, value: Any, tags: tuple[str, ...]) -> None:
        self._check_depth(event, 1)
        self._check_tag(event, tags)
        self._count(event, 1, 0)
        if event.anchor:
            self._anchors[event.anchor] = None
        is_set = event.tag is not None and event.tag.endswith(":set")
        is_key = bool(self._stack) and self._stack[-1].wants_key
        if is_key:
            self._bad(event, "a key is a list or a mapping")
        self._stack.append(
            Collection(value, event.anchor, self._nodes - 1, self._characters, is_set=is_set, is_key=is_key)
        )

    def _on_end(self, event: Any) -> None:
        if not self._stack:
            self._in_list = False
            return
        ended = self._stack.pop()
        value = ended.whole()
        if isinstance(value, dict) and len(value) > self._limits.columns:
            raise self._too_large(event, f"a mapping has more than {self._limits.columns} keys (limit columns)")
        if ended.anchor:
            nodes, characters = self._nodes - ended.nodes, self._characters - ended.characters
            self._anchor(event, Anchored(value, nodes, characters, ended.height), ended.anchor)
        if ended.is_key:
            self._add_key(event, "?", merges=False)
        else:
            self._add(event, value, ended.height)

    def _add_key(self, event: Any, key: str, *, merges: bool) -> None:
        parent = self._stack[-1]
        if not merges and key in parent.value:
            self._bad(event, f"the key {key[:SHOWN_CHARACTERS]} comes twice in a mapping", key)
        parent.key, parent.merges = key, merges

    def _add(self, event: Any, value: Any, height: int) -> None:
        """Put a value where it belongs: it is a row, or part of the collection that is open."""
        if not self._stack:
            row = value if isinstance(value, dict) else {VALUE: value}
            self.values.append(self._fault or row)
            self._ends.append(event.end_mark.index)
            self._lines.append(self._row_line)
            self._fault = None
            return
        parent = self._stack[-1]
        parent.height = max(parent.height, height + 1)
        if not parent.add(value):
            self._bad(event, "<< stands for something that is no mapping")

    def _anchor(self, event: Any, anchored: Anchored, name: str | None = None) -> None:
        self._anchors[name or event.anchor] = anchored
        self._anchored += anchored.characters + anchored.nodes
        if len(self._anchors) > MAX_ANCHORS or self._anchored > self._limits.row_bytes:
            raise self._too_large(
                event, f"a document has more than {MAX_ANCHORS} anchors, or {self._limits.row_bytes} bytes of them"
            )

    def _count(self, event: Any, nodes: int, characters: int) -> None:
        self._nodes += nodes
        self._characters += characters
        if self._nodes > MAX_NODES:
            raise self._too_large(
                event, f"a row has more than {MAX_NODES} values, counting those that aliases repeat"
            )
        if self._characters > self._limits.row_bytes:
            raise self._too_large(
                event,
                f"a row is larger than {self._limits.row_bytes} bytes, counting what aliases repeat "
                "(limit row_bytes)",
            )

    def _check_depth(self, event: Any, height: int) -> None:
        if len(self._stack) + self._in_list + height > self._limits.depth:
            raise self._too_large(event, f"values are deeper than {self._limits.depth} levels (limit depth)")

    def _check_tag(self, event: Any, tags: tuple[str, ...]) -> None:
        tag = event.tag
        if tag is not None and tag != "!" and tag not in [f"tag:yaml.org,2002:{name}" for name in tags]:
            self._bad(event, f"the tag {tag[:SHOWN_CHARACTERS]} is not known here")

    def _bad(self, event: Any, reason: str, text: str | None = None) -> None:
        if self._fault is None:
            line = event.start_mark.line + 1
            shown = text[:SHOWN_CHARACTERS] if text is not None else None
            self._fault = FileFault(f"{self._path}, line {line}: {reason}", line=line, text=shown)

    def _too_large(self, event: Any, reason: str) -> TooLargeError:
        return TooLargeError(f"{self._path}, line {event.start_mark.line + 1}: {reason}")


def _broken(path: str, error: yaml.YAMLError) -> BadRowError:
    mark = getattr(error, "problem_mark", None)
    reason = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    if mark is None:
        return BadRowError(FileFault(f"{path}: the YAML is broken: {reason}"))
    return BadRowError(FileFault(f"{path}, line {mark.line + 1}: the YAML is broken: {reason}", line=mark.line + 1))
