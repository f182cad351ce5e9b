"""Pages of lists that are filtered, newest first; their cursors are row numbers."""

import re
import sqlite3
from collections.abc import Sequence
from typing import Any

from rota.errors import InvalidRequestError

CURSOR = re.compile(r"[0-9a-f]{1,15}")


def where(wanted: dict[str, Any]) -> tuple[str, list[Any]]:
    """Return a condition and its values, of those conditions whose value is given."""
    given = {condition: value for condition, value in wanted.items() if value is not None}
    return " AND ".join(given) or "true", list(given.values())


def before(cursor: str | None) -> int | None:
    """Return before which row a page begins; InvalidRequestError if the cursor is none."""
    if cursor is None:
        return None
    if not CURSOR.fullmatch(cursor):
        raise InvalidRequestError("`after` is no cursor: take it from `next` of the page before")
    return int(cursor, 16)


def cursor_of(found: Sequence[sqlite3.Row], limit: int) -> str | None:
    """Return the cursor of the next page, if more rows were found than this one shows."""
    return f"{found[limit - 1]['sequence']:x}" if len(found) > limit else None
