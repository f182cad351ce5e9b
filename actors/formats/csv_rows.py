"""Finds where rows begin and end in the bytes of a CSV, by the same rules as pyarrow's parser, without a loop.

A quote opens a value only where the value begins. Inside, two quotes stand for one, and an odd number of quotes
side by side closes it. So what a run of quotes does depends on its length, on the byte before, and on whether it
stands inside a value: an even run changes nothing, an odd one closes, and outside it opens if a value begins there.
Each run is thus a swap, a reset or nothing, and their composition is a running sum.
"""

from functools import cached_property

import numpy as np
import numpy.typing as npt

from rota.options import CsvOptions

LINE_FEED = ord("\n")
CARRIAGE_RETURN = ord("\r")

FEW_LINES = 64
"""So many line ends are looked at one by one before all are."""

Positions = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


class Dialect:
    """The bytes that have a meaning in a file."""

    def __init__(self, options: CsvOptions) -> None:
        self.delimiter = ord(options.delimiter)
        self.quote = None if options.quote is None else ord(options.quote)
        self.escape = None if options.escape is None else ord(options.escape)
        meant = {self.delimiter, self.quote, self.escape}
        self.plain = next(byte for byte in b"wxyz" if byte not in meant)
        """A byte without a meaning, to stand for one that is escaped."""


class Scan:
    """What the quotes in some bytes mean; the bytes begin with a row."""

    def __init__(self, dialect: Dialect, body: bytes) -> None:
        self._dialect = dialect
        self._body = body
        self._bytes: npt.NDArray[np.uint8] = np.frombuffer(body, np.uint8)
        if dialect.escape is not None and bytes([dialect.escape]) in body:
            self._bytes = self._without_escapes(dialect.escape)
        self._quotes: Positions = np.empty(0, np.int64)
        """Where quotes stand; only where each run of them begins, if they are not regular."""
        self._inside: Flags | None = None
        """Whether what follows each run is inside quotes; None if every other quote opens and closes a value."""
        self.stray: Positions = np.empty(0, np.int64)
        """The quotes that close a value which goes on behind them, so that no one can tell what was meant."""
        if dialect.quote is not None and bytes([dialect.quote]) in body:
            self._quotes = np.flatnonzero(self._bytes == dialect.quote)
            if len(self._quotes) and not self._is_regular():
                self._read_runs()

    @property
    def opened(self) -> int | None:
        """Where the quote stands that is still open at the end."""
        if not len(self._quotes) or (self._inside is None and len(self._quotes) % 2 == 0):
            return None
        if self._inside is None:
            self._read_runs()  # two quotes side by side stand for one, and do not open
        if self._inside is None or not self._inside[-1]:
            return None
        closed = np.flatnonzero(~self._inside)
        return int(self._quotes[closed[-1] + 1 if len(closed) else 0])

    def last_row_end(self, *, final: bool) -> int:
        """Return where the last whole row ends; `final` if no bytes follow."""
        size = len(self._body)
        if final and not self._are_inside(np.array([size]))[0]:
            return size
        end = size
        for _ in range(FEW_LINES):
            # A carriage return at the very end may have a line feed behind it.
            end = max(self._body.rfind(b"\n", 0, end), self._body.rfind(b"\r", 0, min(end, size - 1)))
            if end < 0 or (self._is_line_end(end) and not self._are_inside(np.array([end]))[0]):
                return end + 1
        ends = self.row_ends
        return int(ends[-1]) if len(ends) else 0

    @cached_property
    def row_ends(self) -> Positions:
        """Where each row ends, behind its line end; a carriage return at the very end is none yet."""
        ends = line_ends(self._bytes)
        return ends[~self._are_inside(ends)] + 1

    def delimiters(self) -> Positions:
        """Return where the delimiters outside quotes are."""
        places = np.flatnonzero(self._bytes == self._dialect.delimiter)
        return places[~self._are_inside(places)]

    def _is_line_end(self, place: int) -> bool:
        return bool(self._bytes[place] in (LINE_FEED, CARRIAGE_RETURN))  # it may be escaped

    def _are_inside(self, places: Positions) -> Flags:
        """Return which of the places, which hold no quotes, are inside quotes."""
        if not len(self._quotes):
            return np.zeros(len(places), bool)
        number = np.searchsorted(self._quotes, places)
        if self._inside is None:
            return np.asarray(number & 1, bool)
        return (number > 0) & self._inside[number - 1]

    def _is_regular(self) -> bool:
        """Return whether every other quote opens and closes a value, or is one of two that stand for one.

        Then the number of quotes before a place tells whether it is inside.
        """
        opening, closing = self._quotes[::2], self._quotes[1::2]
        before = self._ends_value(self._bytes[opening - 1])
        before[0] |= opening[0] == 0
        if not before.all():
            doubled = np.flatnonzero(~before)
            if doubled[0] == 0 or (opening[doubled] - closing[doubled - 1] != 1).any():
                return False
        last = len(self._bytes) - 1
        behind = self._ends_value(self._bytes[np.minimum(closing + 1, last)])
        if len(closing):
            behind[-1] |= closing[-1] == last
        if not behind.all():
            doubled = np.flatnonzero(~behind)
            if doubled[-1] + 1 >= len(opening) or (opening[doubled + 1] - closing[doubled] != 1).any():
                return False
        return True

    def _ends_value(self, some: npt.NDArray[np.uint8]) -> Flags:
        found: Flags = (some == self._dialect.delimiter) | (some == LINE_FEED) | (some == CARRIAGE_RETURN)
        return found

    def _read_runs(self) -> None:
        """Read quotes of any kind, by runs of them."""
        body, quotes = self._bytes, self._quotes
        index = np.flatnonzero(np.diff(quotes, prepend=-2) != 1)
        starts = quotes[index]
        lengths = np.diff(index, append=len(quotes))
        begins = self._ends_value(body[starts - 1])
        begins[0] |= starts[0] == 0
        odd = np.asarray(lengths & 1, bool)
        swaps = np.cumsum(odd & begins)
        since = np.maximum.accumulate(np.where(odd & ~begins, swaps, 0))
        inside = np.asarray((swaps - since) & 1, bool)
        before = np.concatenate([[False], inside[:-1]])
        closing = ~inside & (before | begins)
        behind = starts + lengths
        ended = behind == len(body)
        goes_on = ~self._ends_value(body[np.where(ended, 0, behind)]) & ~ended
        self._quotes, self._inside = starts, inside
        self.stray = starts[closing & goes_on]

    def _without_escapes(self, escape: int) -> npt.NDArray[np.uint8]:
        """Return the bytes with those that are escaped replaced: the one behind an odd number of escapes."""
        body = self._bytes.copy()
        places = np.flatnonzero(body == escape)
        last = np.append(np.diff(places) != 1, True)
        index = np.flatnonzero(last)
        lengths = np.diff(index, prepend=-1)
        escaped = places[index][lengths % 2 == 1] + 1
        body[escaped[escaped < len(body)]] = self._dialect.plain
        return body


class Rows:
    """The rows of a block that are no blank lines."""

    def __init__(self, scan: Scan, body: bytes) -> None:
        stops = scan.row_ends
        if not len(stops) or stops[-1] != len(body):
            stops = np.append(stops, len(body))
        starts = np.concatenate([[0], stops[:-1]])
        first = np.frombuffer(body or b"\n", np.uint8)[np.minimum(starts, max(0, len(body) - 1))]
        some = (stops > starts) & (first != LINE_FEED) & (first != CARRIAGE_RETURN)
        self._body = body
        self.starts, self.stops = starts[some], stops[some]
        self._line_ends = line_ends(np.frombuffer(body, np.uint8))

    def __len__(self) -> int:
        return len(self.starts)

    def text(self, row: int) -> bytes:
        """Return a row as it stands in the file, without its line end."""
        return self._body[self.starts[row] : self.stops[row]].rstrip(b"\r\n")

    def lines(self, rows: Positions) -> Positions:
        """Return the lines of some rows, from 0."""
        lines: Positions = np.searchsorted(self._line_ends, self.starts[rows])
        return lines

    def counts(self, scan: Scan) -> npt.NDArray[np.intp]:
        """Return how many values each row has."""
        rows = np.searchsorted(self.starts, scan.delimiters(), side="right") - 1
        return 1 + np.bincount(rows, minlength=len(self))

    def at(self, places: Positions) -> Positions:
        """Return the rows in which the places are."""
        return np.unique(np.searchsorted(self.starts, places, side="right") - 1)

    def some(self, keep: Flags) -> bytes:
        """Return only some of the rows."""
        edges = np.flatnonzero(np.diff(keep, prepend=False, append=False))
        return b"".join(
            self._body[self.starts[first] : self.stops[behind - 1]]
            for first, behind in zip(edges[::2], edges[1::2], strict=True)
        )


def line_ends(body: npt.NDArray[np.uint8]) -> Positions:
    """Return where lines end: at a line feed, or a carriage return without one."""
    feeds = body == LINE_FEED
    returns = body == CARRIAGE_RETURN
    if not returns.any():
        return np.flatnonzero(feeds)
    returns[:-1] &= ~feeds[1:]
    return np.flatnonzero(feeds | returns)


def count_lines(body: bytes) -> int:
    """Return how many lines end in the bytes; four times as fast as `bytes.count` where there are many."""
    some = np.frombuffer(body, np.uint8)
    if b"\r" in body:
        return len(line_ends(some))
    return int(np.count_nonzero(some == LINE_FEED))
