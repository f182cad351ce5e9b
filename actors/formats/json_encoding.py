"""The encoding of a JSON file, which is UTF-8, as its first bytes show it."""

import re

from actors.formats.block import BadRowError
from events.batch import FileFault

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
OTHERS = (
    ("UTF-32", re.compile(rb"\xff\xfe\0\0|\0\0\xfe\xff|\0\0\0[^\0]|[^\0]\0\0\0")),
    ("UTF-16", re.compile(rb"\xff\xfe|\xfe\xff|\0[^\0]|[^\0]\0")),
)


def check_encoding(path: str, head: bytes) -> None:
    """Raise BadRowError if a file that begins so is UTF-16 or UTF-32, with or without a byte-order mark."""
    for name, pattern in OTHERS:
        if pattern.match(head):
            raise BadRowError(FileFault(f"{path}: the file is {name}; JSON is read as UTF-8 only", line=1, row=0))


def mark_bytes(head: bytes) -> int:
    """Return how many bytes of a byte-order mark a file begins with."""
    return len(BYTE_ORDER_MARK) if head.startswith(BYTE_ORDER_MARK) else 0
