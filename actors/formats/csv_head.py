"""Reads the head of a CSV: its encoding, the lines to skip, and the names of the columns."""

import logging
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from msgspec import Struct
from pyarrow import csv as arrow_csv

from actors.formats.block import BadRowError
from actors.formats.csv_rows import Dialect, Rows, Scan, count_lines, line_ends
from actors.formats.csv_text import Text
from actors.formats.input import Input
from events.batch import FileFault
from rota.errors import TooLargeError
from rota.options import CsvOptions

log = logging.getLogger("rota.csv")


class Head(Struct):
    """What stands before the rows."""

    text: Text
    names: list[str]
    """Of all columns in the file; none if it has no rows."""
    source_bytes: int
    lines: int
    rest: bytes
    """What was read of the file behind the head."""


def read_head(file: Input, chunks: Iterator[bytes], options: CsvOptions, dialect: Dialect) -> Head:
    """Take as many chunks as the head needs."""
    source = next(chunks, b"")
    text = Text(options.encoding, source)
    final = False
    while not (head := _head_in(file, source, text, options, dialect, final=final)):
        if len(source) > file.limits.row_bytes:
            raise TooLargeError(f"{file.path}: its header is longer than {file.limits.row_bytes} bytes")
        chunk = next(chunks, None)
        final = chunk is None
        source += chunk or b""
    return head


def _head_in(
    file: Input, source: bytes, text: Text, options: CsvOptions, dialect: Dialect, *, final: bool
) -> Head | None:
    """Return the head, or None if its end is not among the bytes and more may follow."""
    body, ends = _body_of(source, text, final=final)
    skipped = _skipped(body, options.skip_rows, final=final)
    if skipped is None:
        return None
    behind = body[skipped:]
    scan = Scan(dialect, behind)
    rows = Rows(scan, behind)
    is_whole = len(rows) and rows.stops[0] <= scan.last_row_end(final=final)
    if not is_whole and not final:
        return None
    lines = 1 + count_lines(body[:skipped])
    if len(rows) and not is_whole:
        lines += count_lines(behind[: scan.opened])
        message = f"{file.path}, line {lines}: a quote is opened and never closed; the option quote can be null"
        raise BadRowError(FileFault(message, line=lines))
    names = list(options.column_names or ())
    stop = skipped
    if len(rows):
        row = behind[: rows.stops[0]]
        names, is_header = _names_of(file, row, options, dialect, lines)
        stop += len(row) if is_header else 0
    used = text.mark_bytes + stop
    if not text.is_utf_8:
        number = body.count(b"\n", 0, stop) + body.count(b"\r", 0, stop)
        is_all = final and stop == len(body)
        used = len(source) if is_all else int(ends[number - 1]) if number else text.mark_bytes
    return Head(text, names, used, count_lines(body[:stop]), source[used:])


def _body_of(source: bytes, text: Text, *, final: bool) -> tuple[bytes, npt.NDArray[np.int64]]:
    """Return bytes of the file as UTF-8 without the mark, and where their lines end if they had to be decoded."""
    if text.is_utf_8:
        return source[text.mark_bytes :], np.empty(0, np.int64)
    ends = text.line_ends(source)
    size = len(source) if final else int(ends[-1]) if len(ends) else text.mark_bytes
    return text.decoded(source[text.mark_bytes : size]), ends


def _skipped(body: bytes, count: int, *, final: bool) -> int | None:
    """Return where the lines to skip end, or None if more may follow."""
    if not count:
        return 0
    ends = line_ends(np.frombuffer(body, np.uint8)) + 1
    known = len(ends) - (not final and body.endswith(b"\r"))  # a line feed may follow
    if count <= known:
        return int(ends[count - 1])
    return len(body) if final else None


def _names_of(file: Input, row: bytes, options: CsvOptions, dialect: Dialect, line: int) -> tuple[list[str], bool]:
    """Return the names of the columns, and whether the first row is what they come from."""
    count = 1 + len(Scan(dialect, row).delimiters())
    if max(count, len(options.column_names or ())) > file.limits.columns:
        raise TooLargeError(f"{file.path} has {count} columns, more than {file.limits.columns}")
    if options.column_names:
        return options.column_names, False
    if b"\0" in row:
        message = f"{file.path}, line {line}: NUL characters in the first row; the option encoding may be utf-16-le"
        raise BadRowError(FileFault(message, line=line, row=0))
    if not options.header:
        return [f"column_{number}" for number in range(1, count + 1)], False
    try:
        row.decode()
        ended = row if row.endswith((b"\n", b"\r")) else row + b"\n"
        table = arrow_csv.read_csv(
            pa.py_buffer(ended),
            read_options=arrow_csv.ReadOptions(use_threads=False, block_size=len(ended) + 1),
            parse_options=parse_options(options),
        )
    except (UnicodeDecodeError, pa.ArrowInvalid) as error:
        message = (
            f"{file.path}, line {line}: the header is no text in {options.encoding}; the option encoding can be set"
        )
        raise BadRowError(FileFault(message, line=line)) from error
    return _unique(file.path, table.column_names), True


def parse_options(options: CsvOptions) -> arrow_csv.ParseOptions:
    """Return what pyarrow's parser is told."""
    return arrow_csv.ParseOptions(
        delimiter=options.delimiter,
        quote_char=False if options.quote is None else options.quote,
        escape_char=False if options.escape is None else options.escape,
        newlines_in_values=True,
    )


def _unique(path: str, names: Sequence[str]) -> list[str]:
    """Return the names; one that is empty or comes twice gets a number that makes it its own."""
    given = set(names)
    unique: dict[str, None] = {}
    numbers: dict[str, int] = {}
    renamed: list[str] = []
    for column, name in enumerate(names, 1):
        free = name or f"column_{column}"
        base = free
        while free in unique or (free != name and free in given):
            numbers[base] = number = numbers.get(base, 1) + 1
            free = f"{base}_{number}"
        if free != name:
            renamed.append(free)
        unique[free] = None
    if renamed:
        shown = ", ".join(renamed[:20])
        log.warning("%s: columns with the same name or none are renamed: %s", path, shown)
    return list(unique)
