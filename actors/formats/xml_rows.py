"""The rows of an XML document, from its text: by the parser's events, or by a pattern where rows are flat."""

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Any

from actors.formats.block import BadRowError
from actors.formats.limits import Limits
from actors.formats.line_blocks import PAUSE, Rows
from actors.formats.xml_builder import RowBuilder
from actors.formats.xml_shape import Shape
from rota.errors import TooLargeError

PIECE_CHARACTERS = 64 * 1024
MAX_MISSES = 256
"""How many rows may miss the pattern until it is tried only once in a piece."""
MIN_ROW_BYTES = 8 * 1024 * 1024
"""With a lower limit of a row's bytes than this the pattern is not used: it does not look at the limit."""

_ANY_END = re.compile(r"</[^<>]*>|/>")


def rows_in(path: str, texts: Iterable[str], row: str | None, limits: Limits) -> Iterator[Rows]:
    """Yield all rows of a document; at what is wrong in it, yield those before and raise the error.

    The parser sees all of the text. Where a row has just ended, the rows that follow and look like it are taken
    from the text by a pattern, and the parser only checks it.
    """
    scan = _Scan(path, row, limits)
    for text in texts:
        yield from scan.feed(text)
        yield PAUSE
    yield from scan.close()


class _Scan:
    def __init__(self, path: str, row: str | None, limits: Limits) -> None:
        self._builder = RowBuilder(path, row, limits)
        self._shape = Shape()
        self._namespaces = 0
        self._may_match = limits.row_bytes >= MIN_ROW_BYTES
        self._at_row = False
        """Whether what was fed ends with a row, and the pattern was not tried there."""
        self._clean = True
        """Whether what was fed cannot have ended within a tag."""
        self._misses = 0
        self._tag: str | None = None
        self._end_of_row = _ANY_END
        self._rest = ""

    def feed(self, text: str) -> Iterator[Rows]:
        """Yield the rows in the next piece of text, and keep what may be the beginning of one."""
        text = self._rest + text
        at = 0
        while at < len(text):
            if self._at_row:
                self._at_row = False
                columns, ends = self._shape.match(text, at)
                if ends:
                    yield from self._taken()
                    yield from self._checked(text, at, columns, ends)
                    at, self._misses = ends[-1], 0
                    continue
                self._misses += 1
            end = self._next(text, at)
            if end is None:
                break
            yield from self._built(text[at:end])
            at = end
        self._rest = text[at:]
        yield from self._taken()

    def close(self) -> Iterator[Rows]:
        """Yield the last rows; BadRowError if this is not the document's end."""
        if self._rest:
            yield from self._built(self._rest)
        yield from self._taken()
        self._builder.close()

    def _next(self, text: str, at: int) -> int | None:
        """Return up to where the parser is to go: to the end of a row, or a piece further."""
        waiting = self._builder.waiting_bytes
        if not waiting and self._misses <= MAX_MISSES:
            if found := self._end_of_row.search(text, at):
                return found.end()
            if len(text) - at < PIECE_CHARACTERS:
                return None
        self._misses = min(self._misses, MAX_MISSES)
        piece = max(PIECE_CHARACTERS, waiting)  # what waits is looked at again each time, so it has to grow fast
        return text.rfind(">", at, at + piece) + 1 or min(len(text), at + piece)

    def _built(self, text: str) -> Iterator[Rows]:
        builder = self._builder
        before = len(builder.rows)
        try:
            builder.feed(text)
        except (BadRowError, TooLargeError):
            yield from self._taken()
            raise
        was_clean, self._clean = self._clean, text[-1] == ">"
        if len(builder.rows) > before:
            if builder.last_tag != self._tag:
                self._tag = builder.last_tag
                self._end_of_row = re.compile(f"</{re.escape(self._tag or '')}[ \t\n]*>|/>")
            elif was_clean and self._clean and self._may_match and builder.between_rows:
                self._learn()
        if len(builder.rows) > MAX_MISSES:
            yield from self._taken()

    def _learn(self) -> None:
        builder = self._builder
        if builder.namespaces != self._namespaces:  # a prefix may mean something else now
            self._namespaces = builder.namespaces
            self._shape.forget()
        if builder.last_flat:
            self._shape.learn(builder.last_flat)
        self._at_row = True

    def _checked(self, text: str, at: int, columns: dict[str, list[Any]], ends: list[int]) -> Iterator[Rows]:
        line = self._builder.line
        right, error = self._builder.check(text[at : ends[-1]])

        def line_of(index: int) -> int:
            begin = text.index("<", ends[index - 1] if index else at)
            return line + text.count("\n", at, begin)

        count = len(ends) if error is None else bisect_right(ends, at + right)
        if count:
            yield Rows([], ends[:count], line_of, columns=columns, before=at)
        if error:
            raise error

    def _taken(self) -> Iterator[Rows]:
        builder = self._builder
        count = len(builder.rows)
        if count:
            rows, lines, sizes = builder.rows, builder.lines, builder.sizes
            builder.rows, builder.lines, builder.sizes = [], lines[count:], []
            yield Rows(rows, list(accumulate(sizes)), lines.__getitem__)
