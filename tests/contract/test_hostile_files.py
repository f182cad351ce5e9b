"""Files that would become large or slow: each ends with an error that names it, in seconds and bounded memory."""

import bz2
import gzip
import io
import lzma
from collections.abc import Callable, Iterator
from typing import Any

import fastavro
import lz4.frame
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from events.formats import FORMATS
from rota.options import Compression, CsvOptions, JsonOptions
from tests.contract.reading_process import ReadingProcess, Task

MEBIBYTE = 1 << 20
MOST_CPU_SECONDS = 5
MOST_BYTES = 600 * MEBIBYTE
HANGS_AFTER_SECONDS = 60


def avro(type_: Any, payload: bytes) -> bytes:
    """Return a file with one row of one column, as it is encoded."""
    schema = {"type": "record", "name": "R", "fields": [{"name": "x", "type": type_}]}
    head = io.BytesIO()
    fastavro.writer(head, schema, [], sync_marker=bytes(16))
    return head.getvalue() + varint(1) + varint(len(payload)) + payload + bytes(16)


def varint(number: int) -> bytes:
    """Return a number as Avro writes it."""
    number, digits = number << 1, bytearray()
    while number > 0x7F:
        digits.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*digits, number])


def array(items: Any) -> dict[str, Any]:
    """Return the schema of an array."""
    return {"type": "array", "items": items}


def parquet(column: pa.Array) -> bytes:
    """Return a file with one column."""
    out = io.BytesIO()
    table = pa.table({"x": column})
    pq.write_table(table, out, compression="ZSTD", dictionary_pagesize_limit=1 << 30, store_schema=False)
    return out.getvalue()


def one_text(size: int, rows: int) -> pa.Array:
    """Return one text in many rows."""
    indices = pa.array(np.zeros(rows, np.int8))
    return pa.DictionaryArray.from_arrays(indices, pa.array(["x" * size]))


def arrow(column: pa.Array, compression: str | None = None) -> bytes:
    """Return a file with one column in one record batch."""
    out = pa.BufferOutputStream()
    table = pa.table({"x": column})
    with pa.ipc.new_file(out, table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_table(table)
    return bytes(out.getvalue())


def laughs() -> bytes:
    """Return XML whose entities multiply by ten, twelve times over."""
    entities = b"".join(b'<!ENTITY %c "%s">' % (98 + n, b"&%c;" % (97 + n) * 10) for n in range(12))
    return b'<!DOCTYPE a [<!ENTITY a "x">' + entities + b"]><r><row>&m;</row></r>"


def aliases(line: str) -> bytes:
    """Return YAML whose anchors multiply by nine, twelve times over."""
    lines = [line.format(chr(98 + n), ", ".join([f"*{chr(97 + n)}"] * 9)) for n in range(12)]
    return "\n".join(["a: &a {x: 1}", *lines, ""]).encode()


FILES: dict[str, tuple[str, Callable[[], bytes]]] = {
    "a record batch of zeros": ("arrow", lambda: arrow(pa.array(np.zeros(100 * MEBIBYTE, np.int64)), "zstd")),
    "a record batch of nulls": ("arrow", lambda: arrow(pa.nulls(2**31 - 1))),
    "a large text in each row of Arrow": ("arrow", lambda: arrow(one_text(7 * MEBIBYTE, 1_000_000))),
    "an array of records": (
        "avro",
        lambda: avro(
            array({"type": "record", "name": "I", "fields": [{"name": "a", "type": "boolean"}]}),
            varint(15 * MEBIBYTE) + b"\1" * (15 * MEBIBYTE) + b"\0",
        ),
    ),
    "an array of nulls": ("avro", lambda: avro(array("null"), varint(100_000_000) + b"\0")),
    "bytes that claim to be many": ("avro", lambda: avro("bytes", varint(2**40) + b"x")),
    "quotes": ("csv", lambda: b"a,b\n" + b'"' * (100 * MEBIBYTE)),
    "a quote that is not closed": ("csv", lambda: b'a,b\n1,"' + b"x\n" * (60 * MEBIBYTE)),
    "many names of columns": ("csv", lambda: b"," * (60 * MEBIBYTE)),
    "many names of columns within a row": ("csv", lambda: b"," * (7 * MEBIBYTE) + b"\n1\n"),
    "a line without an end": ("csv", lambda: b"a,b\n" + b"x" * (120 * MEBIBYTE)),
    "an element without an end": ("json", lambda: b"[[" + b"[]," * (40 * MEBIBYTE)),
    "brackets": ("json", lambda: b"[" * (100 * MEBIBYTE)),
    "records in records": ("json", lambda: b'{"a":' * (20 * MEBIBYTE)),
    "a text without an end": ("json", lambda: b'[{"a":"' + b"x" * (100 * MEBIBYTE)),
    "a number without an end": ("json", lambda: b"[" + b"9" * (100 * MEBIBYTE)),
    "a claim of many elements": ("messagepack", lambda: b"\x81\xa1a" + b"\xdd\xff\xff\xff\xff" * 50),
    "a claim of a long text": ("messagepack", lambda: b"\x81\xa1a\xdb\xff\xff\xff\xff" + b"x" * (100 * MEBIBYTE)),
    "lists in lists": ("messagepack", lambda: b"\x81\xa1a" + b"\x91" * (7 * MEBIBYTE)),
    "a long line": ("ndjson", lambda: b'{"a":"' + b"x" * (120 * MEBIBYTE)),
    "other names in each line": ("ndjson", lambda: b"".join(b'{"%d":1}\n' % n for n in range(600_000))),
    "a large text in each row of Parquet": ("parquet", lambda: parquet(one_text(6 * MEBIBYTE, 1_000_000))),
    "a text that is no row": ("parquet", lambda: parquet(one_text(60 * MEBIBYTE, 100_000))),
    "a large file": ("raw", lambda: bytes(200 * MEBIBYTE)),
    "lists of TOML": ("toml", lambda: b"a = " + b"[" * MEBIBYTE),
    "names in names": ("toml", lambda: b"a" + b".a" * (2 * MEBIBYTE) + b" = 1\n"),
    "entities": ("xml", laughs),
    "a file of the machine": (
        "xml",
        lambda: b'<!DOCTYPE a [<!ENTITY a SYSTEM "file:///etc/passwd">]><r><row>&a;</row></r>',
    ),
    "elements in elements": ("xml", lambda: b"<r>" + b"<a>" * (10 * MEBIBYTE)),
    "a long text": ("xml", lambda: b"<r><row>" + b"x" * (120 * MEBIBYTE)),
    "a long comment": ("xml", lambda: b"<r><!--" + b"x" * (120 * MEBIBYTE)),
    "many children": ("xml", lambda: b"<r><row>" + b"<a/>" * (30 * MEBIBYTE)),
    "aliases": ("yaml", lambda: aliases("{0}: &{0} [{1}]")),
    "merges": ("yaml", lambda: aliases("{0}: &{0} {{<<: [{1}]}}")),
    "lists of YAML": ("yaml", lambda: b"a: " + b"[" * MEBIBYTE),
    "a long scalar": ("yaml", lambda: b"a: " + b"x" * (120 * MEBIBYTE)),
}
ZEROS = bytes(400 * MEBIBYTE)
COMPRESS: dict[Compression, Callable[[bytes], bytes]] = {
    "bzip2": bz2.compress,
    "gzip": gzip.compress,
    "lz4": lz4.frame.compress,
    "xz": lambda body: lzma.compress(body, preset=0),
    "zstd": zstandard.compress,
}


@pytest.fixture(scope="module")
def process() -> Iterator[ReadingProcess]:
    process = ReadingProcess()
    yield process
    process.close()


@pytest.mark.parametrize("name", FILES)
def test_a_hostile_file_ends_with_an_error(name: str, process: ReadingProcess) -> None:
    format_, make = FILES[name]

    check(process, Task(format_, FORMATS[format_].options(), make(), collects=False))


def test_a_quote_that_is_not_closed_in_utf_16_ends_with_an_error(process: ReadingProcess) -> None:
    body = ('a,b\n1,"' + "x\n" * (30 * MEBIBYTE)).encode("utf-16")

    check(process, Task("csv", CsvOptions(encoding="utf-16"), body, collects=False))


def test_a_text_on_the_way_to_the_rows_ends_with_an_error(process: ReadingProcess) -> None:
    body = b'{"a":"' + b"x" * (100 * MEBIBYTE)

    check(process, Task("json", JsonOptions(path="b"), body, collects=False))


@pytest.mark.parametrize("compression", COMPRESS)
@pytest.mark.parametrize("format_", ["parquet", "raw", "toml"])
def test_a_bomb_ends_with_an_error(format_: str, compression: Compression, process: ReadingProcess) -> None:
    body = COMPRESS[compression](ZEROS)

    check(process, Task(format_, FORMATS[format_].options(), body, compression, collects=False))


def check(process: ReadingProcess, task: Task) -> None:
    ending = process.read(task, HANGS_AFTER_SECONDS)

    assert not ending.wrong
    assert ending.error.startswith("rows.file")
    assert ending.cpu_seconds < MOST_CPU_SECONDS
    assert ending.grown_bytes < MOST_BYTES
