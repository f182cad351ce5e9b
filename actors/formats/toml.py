"""TOML by tomllib: the array of tables in a document, or the document, becomes rows."""

import re
import tomllib
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa

from actors.formats.block import BadRowError, Block
from actors.formats.columns import Columns, Place
from actors.formats.input import Input
from actors.formats.types import SHOWN_CHARACTERS
from events.batch import FileFault, Position
from rota.errors import TooLargeError
from rota.options import TomlOptions

BLOCK_ROWS = 16_384

SMALL_CHARACTERS = 64 * 1024
"""Of a document in which no key is so long that tomllib, which needs the square of its length, is slow."""
KEY_PART = r"""(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+"""

_PLACE = re.compile(r"\(at line (\d+), column \d+\)")


def read(file: Input, options: TomlOptions, start: Position, schema: pa.Schema | None = None) -> Iterator[Block]:
    """Yield the rows from a position on; the document is held in memory."""
    tables, words = _tables(file.path, _document(file), options.path)
    columns = Columns.of(file, options, schema)
    row, bad = start.row, start.bad
    for first in range(row + bad, len(tables), BLOCK_ROWS):
        rows = tables[first : first + BLOCK_ROWS]
        for value in rows:
            _check_depth(file, value)
        table, faults = columns.table(rows, _places(words, first), row)
        yield Block(Position(row=row, bad=bad), table, faults)
        row, bad = row + table.num_rows, bad + len(faults)


def _places(words: str, first: int) -> Callable[[int], Place]:
    return lambda index: Place(f"{words} {first + index + 1}")


def _document(file: Input) -> dict[str, Any]:
    try:
        text = file.whole(file.limits.toml_bytes).decode("utf-8-sig")
        _check_keys(file, text)
        return tomllib.loads(text)
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        shown = repr(error.object[error.start : error.end])[1:]
        message = f"{file.path}, line {line}: the bytes {shown} are no UTF-8"
        raise BadRowError(FileFault(message, line=line, text=shown, row=0)) from error
    except RecursionError as error:
        raise TooLargeError(
            f"{file.path}: values are deeper than {file.limits.depth} levels (limit depth)"
        ) from error
    except (ValueError, OverflowError) as error:  # what tomllib raises, and what dates and huge numbers raise in it
        place = _PLACE.search(str(error))
        line_number = int(place[1]) if place else None
        where = f", line {line_number}" if line_number else ""
        reason = str(error)[:SHOWN_CHARACTERS]
        raise BadRowError(
            FileFault(f"{file.path}{where}: the TOML is broken: {reason}", line=line_number, row=0)
        ) from error


def _check_keys(file: Input, text: str) -> None:
    if len(text) <= SMALL_CHARACTERS:
        return
    depth = file.limits.depth
    if found := re.search(rf"(?m)(?:^|[\[{{,])[ \t]*+(?:{KEY_PART}){{{depth}}}", text):
        line = text.count("\n", 0, found.start()) + 1
        raise TooLargeError(f"{file.path}, line {line}: a key has more than {depth} parts (limit depth)")


def _tables(path: str, document: dict[str, Any], wanted: str | None) -> tuple[list[dict[str, Any]], str]:
    """Return the tables that are rows, and what one is called."""
    if wanted is not None:
        found: Any = document
        for name in wanted.split("."):
            found = found.get(name) if isinstance(found, dict) else None
        if isinstance(found, dict):
            return [found], "table"
        if not _is_tables(found) and found != []:
            raise BadRowError(FileFault(f"{path} has no array of tables {wanted}; see the option path", row=0))
        return found, f"{wanted}, table"
    arrays = [name for name, value in document.items() if _is_tables(value)]
    if len(arrays) == 1:
        return document[arrays[0]], f"{arrays[0]}, table"
    return ([document] if document else []), "table"


def _is_tables(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)


def _check_depth(file: Input, value: Any) -> None:
    """Raise TooLargeError if lists and tables are too deep within each other."""
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > file.limits.depth:
            raise TooLargeError(f"{file.path}: values are deeper than {file.limits.depth} levels (limit depth)")
        inner = [item.values() if isinstance(item, dict) else item for item in level]
        level = [item for items in inner for item in items if isinstance(item, dict | list)]
