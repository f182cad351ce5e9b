"""TOML in the suite: written by hand, since Python has no writer."""

import json
from collections.abc import Sequence
from datetime import date, time
from typing import Any

import pyarrow as pa

from rota.options import TomlOptions
from tests.contract.formats.case import BadSample, Case


def write(rows: Sequence[dict[str, Any]]) -> bytes:
    tables = (
        "".join(f"{name} = {json.dumps(value, ensure_ascii=False)}\n" for name, value in row.items())
        for row in rows
    )
    return "".join(f"[[orders]]\n{table}\n" for table in tables).encode()


CASE = Case(
    format="toml",
    options=TomlOptions(),
    write=write,
    typed={
        "uint64": (b"[[o]]\nx = 18446744073709551615\n", pa.uint64(), [18446744073709551615]),
        "null against empty": (b'[[o]]\nx = ""\n[[o]]\n[[o]]\nx = "a"\n', pa.string(), ["", None, "a"]),
        "dates": (b"[[o]]\nx = 2026-05-01\n", pa.date32(), [date(2026, 5, 1)]),
        "times": (b"[[o]]\nx = 09:30:00.5\n", pa.time64("us"), [time(9, 30, 0, 500_000)]),
        "lists": (b"[[o]]\nx = [1, 2]\n", pa.list_(pa.int64()), [[1, 2]]),
        "records": (b"[[o]]\nx = {a = 1}\n", pa.struct([("a", pa.int64())]), [{"a": 1}]),
    },
    bad=[
        BadSample(
            body=b'[[o]]\nid = 1\n[[o]]\nid = "x"\n[[o]]\nid = 3\n',
            rows=[{"id": 1}, {"id": 3}],
            before=1,
            says=["o, table 2", "id", "'x'", "column_types"],
        )
    ],
    broken={
        "a value that is missing": b"[[o]]\nx =\n",
        "a text that is not closed": b'[[o]]\nx = "a\n',
        "bytes that are no UTF-8": b'[[o]]\nx = "\xff"\n',
    },
    cut_shows=False,
    empty=b"",
    empty_file_is_error=False,
    too_deep=b"x = " + b"[" * 1000 + b"]" * 1000,
)
