"""Server-sent events, read from pieces of any size, as the HTML standard has it."""

import re

from msgspec import Struct

from rota.errors import TooLargeError

MAX_EVENT_BYTES = 64 * 1024 * 1024

_LINE_END = re.compile(rb"\r\n|\n|\r")
_DIGITS = re.compile(rb"[0-9]+")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class ServerEvent(Struct, frozen=True):
    """One event; `id` is the last one that the stream has given by then."""

    type: str
    data: str
    id: str


class Parser:
    """Takes what comes, and gives the events that are complete; what is not at the stream's end is none."""

    def __init__(self) -> None:
        self.last_id = ""
        """Where the stream can be resumed; it may move on without an event."""
        self.retry_seconds: float | None = None
        """How long to wait before connecting again, if the stream has said it."""
        self._pieces: list[bytes] = []
        self._size = 0
        self._first = True
        self._after_return = False
        self._type = ""
        self._id = ""
        self._data: list[bytes] = []

    def feed(self, chunk: bytes) -> list[ServerEvent]:
        """Return the events that are complete with this piece; TooLargeError if one does not end."""
        if self._after_return and chunk:
            # The line has ended already, with the first half of its CRLF.
            chunk = chunk.removeprefix(b"\n")
            self._after_return = False
        self._after_return = self._after_return or chunk.endswith(b"\r")
        self._size += len(chunk)
        if self._size > MAX_EVENT_BYTES:
            raise TooLargeError(f"An event of the stream is larger than {MAX_EVENT_BYTES} bytes")
        if not _LINE_END.search(chunk):
            self._pieces.append(chunk)
            return []
        *lines, rest = _LINE_END.split(b"".join([*self._pieces, chunk]))
        self._pieces = [rest]
        return [event for line in lines if (event := self._take(line))]

    def _take(self, line: bytes) -> ServerEvent | None:
        if self._first:
            line = line.removeprefix(_BYTE_ORDER_MARK)
            self._first = False
        if not line:
            return self._dispatch()
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        match name:
            case b"data":
                self._data.append(value)
            case b"event":
                self._type = value.decode(errors="replace")
            case b"id" if b"\0" not in value:
                self._id = value.decode(errors="replace")
            case b"retry" if _DIGITS.fullmatch(value):
                self.retry_seconds = int(value) / 1000
        return None

    def _dispatch(self) -> ServerEvent | None:
        self.last_id = self._id
        type_, data = self._type, self._data
        self._type, self._data = "", []
        self._size = 0
        if not data:
            return None
        return ServerEvent(type_ or "message", b"\n".join(data).decode(errors="replace"), self.last_id)
