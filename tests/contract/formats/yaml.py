"""YAML in the suite: written by PyYAML's emitter."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import yaml

from rota.options import YamlOptions
from tests.contract.formats.case import BadSample, Case, rows_of


def write(rows: Sequence[dict[str, Any]]) -> bytes:
    return yaml.dump(list(rows), Dumper=yaml.CSafeDumper, encoding="utf-8", allow_unicode=True, sort_keys=False)


GOOD = write(rows_of(3))
CASE = Case(
    format="yaml",
    options=YamlOptions(),
    write=write,
    many=17_000,
    typed={
        "uint64": (b"- x: 18446744073709551615\n", pa.uint64(), [18446744073709551615]),
        "null against empty": (b'- x: a\n- x: ""\n- x:\n- x: null\n', pa.string(), ["a", "", None, None]),
        "words that YAML 1.1 takes for truth values": (b"- x: no\n- x: on\n", pa.string(), ["no", "on"]),
        "dates": (b"- x: 2026-05-01\n", pa.date32(), [date(2026, 5, 1)]),
        "timestamps with a zone": (
            b"- x: 2026-05-01T09:30:00Z\n",
            pa.timestamp("us", "UTC"),
            [datetime(2026, 5, 1, 9, 30, tzinfo=ZoneInfo("UTC"))],
        ),
        "binary": (b"- x: !!binary AAH/\n", pa.binary(), [b"\x00\x01\xff"]),
        "lists": (b"- x: [1, 2]\n", pa.list_(pa.int64()), [[1, 2]]),
        "records": (b"- x: {a: 1}\n", pa.struct([("a", pa.int64())]), [{"a": 1}]),
    },
    bad=[
        BadSample(
            body=b"- {id: 1}\n- {id: 2}\n- {id: x}\n- {id: 4}\n",
            rows=[{"id": 1}, {"id": 2}, {"id": 4}],
            before=2,
            says=["line 3", "id", "'x'", "column_types"],
        ),
        BadSample(
            body=b"- {id: 1}\n- {id: 2, id: 3}\n- {id: 4}\n",
            rows=[{"id": 1}, {"id": 4}],
            before=1,
            says=["line 2", "the key id comes twice"],
        ),
    ],
    broken={
        "a list that is not closed": GOOD + b"- [{id: 1}, {id: 2}",
        "quotes that are not closed": GOOD + b'- id: "2\n',
        "bytes that are no UTF-8": GOOD + b"- id: \xff\n",
        "columns that do not fit": GOOD + b" - id: 1\n",
    },
    cut_shows=False,
    empty=b"# nothing\n",
    empty_file_is_error=False,
    too_deep=b"- " * 1000 + b"x\n",
)
