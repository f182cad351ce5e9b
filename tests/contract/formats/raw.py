"""Raw in the suite: the whole file is its one row."""

from collections.abc import Sequence
from typing import Any

from rota.options import RawOptions
from tests.contract.formats.case import Case


def _write(rows: Sequence[dict[str, Any]]) -> bytes:
    return repr(rows).encode()


def _expected(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    body = _write(rows)
    return [{"bytes": body, "path": "rows.file", "size": len(body), "media_type": None, "version": None}]


CASE = Case(
    format="raw",
    options=RawOptions(),
    write=_write,
    expected=_expected,
    one_row_a_file=True,
    empty_file_is_error=False,
)
