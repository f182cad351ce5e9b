"""The document around the rows of a JSON file: the way to them, and what follows them up to the end, by ijson."""

import re
from collections.abc import Iterable
from typing import Literal

import ijson
from msgspec import Struct

from actors.formats.block import BadRowError
from actors.formats.input import Input
from actors.formats.json_encoding import check_encoding, mark_bytes
from events.batch import FileFault, Position
from rota.errors import TooLargeError

STOPS = re.compile(rb"[\[{\n]")
REASON = re.compile(r"(?:parse|lexical) error: ([^\n\\]+)")
SHOWN_NAMES = 20
ERRORS = (ijson.JSONError, ValueError, SystemError)
"""What ijson raises; the last one is its way to say that a number has more digits than Python converts."""


Kind = Literal["list", "record"]


class Found(Struct):
    """What stands at the path: a list or a record whose bracket is just before `position`."""

    kind: Kind
    position: Position
    rest: bytes
    """The bytes from `position` on that have been fetched already."""


class Document:
    """What is checked of a document: all but the bytes of its rows."""

    def __init__(self, file: Input, path: str | None) -> None:
        self._file = file
        self._option = path
        self._wanted: list[str | None] = list(path.split(".")) if path else []
        self._names: list[str | None] = []
        self._seen: dict[int, dict[str, None]] = {}
        self._dead_end = ""
        self._found: Kind | None = None
        self._line = 1
        self._silent_bytes = 0
        self._events = ijson.sendable_list()
        self._parser = ijson.basic_parse_coro(self._events)

    def find(self, chunks: Iterable[bytes]) -> Found:
        """Read up to the value at the path. BadRowError if there is none."""
        offset = 0
        for chunk in chunks:
            begin = 0
            if offset == 0:
                check_encoding(self._file.path, chunk)
                begin = mark_bytes(chunk)
            for stop in STOPS.finditer(chunk, begin):
                self._send(chunk[begin : stop.end()])
                begin = stop.end()
                if self._found:
                    return Found(self._found, Position(offset + begin, line=self._line), chunk[begin:])
            self._send(chunk[begin:])
            offset += len(chunk)
        self._close()
        raise BadRowError(FileFault(f"{self._file.path}: {self._missing()}", row=0))

    def go_on(self) -> None:
        """Be as after `find`, where reading goes on inside the list at the path."""
        for name in self._wanted:
            self._parser.send(b'{"%b":' % re.sub(rb'(["\\])', rb"\\\1", (name or "").encode()))
        self._parser.send(b"[")
        self._take()

    def finish(self, rest: Iterable[bytes], position: Position) -> None:
        """Read from the bracket on that closes what was found. BadRowError if the document does not end well."""
        self._line = position.line
        for chunk in rest:
            for line in chunk.splitlines(keepends=True):
                self._send(line, row=position.row)
        self._close(row=position.row)

    def _send(self, piece: bytes, row: int = 0) -> None:
        try:
            self._parser.send(piece)
        except ERRORS as error:
            raise self._broken(error, row) from error
        self._silent_bytes += len(piece)
        if self._events:
            self._silent_bytes = 0
            self._take(row)
        if self._silent_bytes > self._file.limits.row_bytes:
            raise TooLargeError(
                f"{self._file.path}, line {self._line}: a text is longer than {self._file.limits.row_bytes} bytes"
            )
        self._line += piece.count(b"\n")

    def _close(self, row: int = 0) -> None:
        try:
            self._parser.close()
        except ERRORS as error:
            raise self._broken(error, row) from error
        self._take(row)  # a number ends with the file

    def _take(self, row: int = 0) -> None:
        """Follow the events that there are."""
        names = self._names
        for event, value in self._events:
            match event:
                case "map_key":
                    names[-1] = value
                    level = len(names) - 1
                    if level < len(self._wanted) and names[:-1] == self._wanted[:level]:
                        self._seen.setdefault(level, {})[value] = None
                case "end_map" | "end_array":
                    names.pop()
                case "start_array" | "start_map":
                    self._meet("list" if event == "start_array" else "record", row)
                    names.append(None)
                    if len(names) > self._file.limits.depth:
                        limit = self._file.limits.depth
                        raise self._fault(f"lists and records are nested more than {limit} deep", row)
                case _:
                    self._meet(None, row)
        self._events.clear()

    def _meet(self, kind: Kind | None, row: int) -> None:
        """Note a value that is the one at the path, or stands in the way to it; None is one without members."""
        names = self._names
        if len(names) > len(self._wanted) or names != self._wanted[: len(names)]:
            return
        if len(names) < len(self._wanted):
            if kind != "record":
                self._dead_end = ".".join(map(str, names)) or "the root"
        elif self._found:
            raise self._fault(f"{self._option} comes twice", row)
        elif kind is None:
            raise self._fault(f"{self._option} is no list and no record", row)
        else:
            self._found = kind

    def _missing(self) -> str:
        level = max(self._seen, default=0)
        where = ".".join(map(str, self._wanted[:level]))
        if self._dead_end and not self._seen.get(len(self._wanted) - 1):
            return f"there is nothing at the path {self._option}, since {self._dead_end} is no record"
        names = ", ".join(list(self._seen.get(level, {}))[:SHOWN_NAMES]) or "nothing"
        return f"there is nothing at the path {self._option}; {where or 'the root'} has {names}"

    def _broken(self, error: Exception, row: int) -> BadRowError:
        found = REASON.search(str(error))
        return self._fault(f"the document is no JSON: {found[1].strip() if found else 'a number is too long'}", row)

    def _fault(self, reason: str, row: int) -> BadRowError:
        message = f"{self._file.path}, line {self._line}: {reason}"
        return BadRowError(FileFault(message, line=self._line, row=row))
