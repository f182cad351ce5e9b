"""Rota's reader and other libraries, each reading a file from the disk to its end."""

import hashlib
import time
import tomllib
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import fastavro
import ijson
import msgpack
import msgspec
import orjson
import pyarrow as pa
import pyarrow.json as pa_json
import pyarrow.parquet as pq
import yaml
from lxml import etree
from msgspec import Struct
from pyarrow import csv
from pyexcel_ods3 import get_data
from python_calamine import CalamineWorkbook

from actors.cutter import Cutter, JobLimits
from actors.file_reader import BLOCKS_AHEAD
from actors.formats.input import Input
from actors.formats.registry import read
from actors.prefetch import prefetched
from actors.sources.file import CHUNK_BYTES, CHUNKS_AHEAD
from events.batch import Position
from events.formats import formats

ROWS_PER_JOB = 1000
TAB = csv.ParseOptions(delimiter="\t")


class Reading(Struct):
    """What reading a file took."""

    rows: int
    seconds: float
    cpu_seconds: float
    """Of all threads."""
    peak_bytes: int
    """The most resident memory that the process had since it began to read."""


class LocalFile:
    """A file on the disk, read ahead by a thread as those of sources are."""

    media_type: str | None = None

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.size: int | None = path.stat().st_size

    def chunks(self, offset: int = 0) -> Generator[bytes, None, None]:
        """Yield the bytes from an offset on."""
        yield from prefetched(lambda: self._chunks(offset), CHUNKS_AHEAD, f"read ahead {self.path}")

    def read_at(self, offset: int, size: int) -> bytes:
        """Return bytes from anywhere."""
        with Path(self.path).open("rb", buffering=0) as file:
            file.seek(offset)
            return file.read(size)

    def _chunks(self, offset: int) -> Iterator[bytes]:
        with Path(self.path).open("rb", buffering=0) as file:
            file.seek(offset)
            while chunk := file.read(CHUNK_BYTES - offset % CHUNK_BYTES):
                yield chunk
                offset += len(chunk)


def measured(format_: str, name: str, path: Path, warm_up: Path | None = None) -> Reading:
    """Read a file by one of READERS; begin with another one if that is asked for."""
    reader = READERS[format_][name]
    if warm_up:
        reader(warm_up)
    Path("/proc/self/clear_refs").write_text("5")
    started, cpu_started = time.perf_counter(), time.process_time()
    rows = reader(path)
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
    lines = Path("/proc/self/status").read_text().splitlines()
    (peak,) = (int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    return Reading(rows, seconds, cpu_seconds, peak)


def rota(format_: str) -> Callable[[Path], int]:
    """Return what reads a file as a batch does: to the payloads of jobs, with their digests."""

    def run(path: Path) -> int:
        file, options = Input(LocalFile(path)), formats()[format_].options()
        blocks = prefetched(lambda: read(format_, file, options, Position()), BLOCKS_AHEAD, "parse")
        return sum(one.count for some in Cutter(JobLimits(ROWS_PER_JOB)).cut(blocks) for one in some.slices)

    return run


def counted(batches: Callable[[Path], Iterator[pa.RecordBatch]]) -> Callable[[Path], int]:
    """Return what reads all batches."""
    return lambda path: sum(batch.num_rows for batch in batches(path))


def with_payloads(batches: Callable[[Path], Iterator[pa.RecordBatch]]) -> Callable[[Path], int]:
    """Return what reads all batches, and makes a payload with its digest of each thousand rows."""

    def run(path: Path) -> int:
        rows = 0
        for batch in batches(path):
            for offset in range(0, batch.num_rows, ROWS_PER_JOB):
                sink = pa.BufferOutputStream()
                with pa.ipc.new_stream(sink, batch.schema) as writer:
                    writer.write_batch(batch.slice(offset, ROWS_PER_JOB))
                hashlib.sha256(sink.getvalue()).hexdigest()
            rows += batch.num_rows
        return rows

    return run


def arrow_batches(path: Path) -> Iterator[pa.RecordBatch]:
    """Yield the record batches of a file, which is not mapped into memory."""
    with pa.OSFile(str(path)) as file:
        reader = pa.ipc.open_file(file)
        yield from (reader.get_batch(index) for index in range(reader.num_record_batches))


def csv_batches(parse: csv.ParseOptions | None = None) -> Callable[[Path], Iterator[pa.RecordBatch]]:
    """Return what yields the batches of a CSV or TSV file."""
    return lambda path: csv.open_csv(path, parse_options=parse)


def csv_in_one_thread(parse: csv.ParseOptions | None = None) -> Callable[[Path], Iterator[pa.RecordBatch]]:
    """Return what yields the batches of a CSV or TSV file without other threads."""
    return lambda path: csv.open_csv(path, csv.ReadOptions(use_threads=False), parse_options=parse)


def parquet_batches(path: Path) -> Iterator[pa.RecordBatch]:
    """Yield the batches of a Parquet file, decoded by all cores."""
    yield from pq.ParquetFile(path).iter_batches()


def parquet_in_one_thread(path: Path) -> Iterator[pa.RecordBatch]:
    """Yield the batches of a Parquet file without other threads."""
    yield from pq.ParquetFile(path).iter_batches(use_threads=False)


def _fastavro(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for _ in fastavro.reader(file))


def _ijson(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for _ in ijson.items(file, "item", use_float=True))


def _unpacker(path: Path) -> int:
    with path.open("rb") as file:
        unpacker = msgpack.Unpacker(file)
        return sum(1 for _ in range(unpacker.read_array_header()) if unpacker.unpack() is not None)


def _iterparse(path: Path) -> int:
    rows = 0
    for _, element in etree.iterparse(str(path), tag="order"):
        {child.tag: child.text for child in element}
        element.clear()
        while element.getprevious() is not None:
            del element.getparent()[0]
        rows += 1
    return rows


def _calamine(path: Path) -> int:
    return len(CalamineWorkbook.from_path(str(path)).get_sheet_by_index(0).to_python()) - 1


def _yaml(path: Path) -> int:
    with path.open("rb") as file:
        return len(yaml.load(file, yaml.CSafeLoader))


READERS: dict[str, dict[str, Callable[[Path], int]]] = {
    "arrow": {
        "pyarrow.ipc.open_file": counted(arrow_batches),
    },
    "avro": {"fastavro.reader": _fastavro},
    "csv": {
        "pyarrow.csv.open_csv": counted(csv_batches()),
        "pyarrow.csv.open_csv in one thread": counted(csv_in_one_thread()),
    },
    "json": {"orjson.loads": lambda path: len(orjson.loads(path.read_bytes())), "ijson.items": _ijson},
    "messagepack": {
        "msgpack.Unpacker": _unpacker,
        "msgpack.unpackb": lambda path: len(msgpack.unpackb(path.read_bytes())),
        "msgspec.msgpack.decode": lambda path: len(msgspec.msgpack.decode(path.read_bytes())),
    },
    "ndjson": {
        "pyarrow.json.open_json": counted(pa_json.open_json),
        "pyarrow.json.read_json": lambda path: pa_json.read_json(path).num_rows,
    },
    "ods": {
        "pyexcel_ods3.get_data": lambda path: len(get_data(str(path))["orders"]) - 1,
        "calamine": _calamine,
    },
    "parquet": {
        "pyarrow.parquet.iter_batches": counted(parquet_batches),
        "pyarrow.parquet.iter_batches in one thread": counted(parquet_in_one_thread),
    },
    "toml": {"tomllib.loads": lambda path: len(tomllib.loads(path.read_text())["orders"])},
    "tsv": {
        "pyarrow.csv.open_csv": counted(csv_batches(TAB)),
        "pyarrow.csv.open_csv in one thread": counted(csv_in_one_thread(TAB)),
    },
    "xlsx": {"calamine": _calamine},
    "xml": {"lxml.etree.iterparse": _iterparse},
    "yaml": {"yaml.CSafeLoader": _yaml},
}
"""By format, other libraries that read it: in pieces where they can, and of all threads that they use."""

ROTA = "rota"
PAYLOADS = "payloads"
"""The quickest way to the batches of a file, and the payloads of jobs made of them in the same thread."""
READERS["arrow"][PAYLOADS] = with_payloads(arrow_batches)
READERS["csv"][PAYLOADS] = with_payloads(csv_batches())
READERS["parquet"][PAYLOADS] = with_payloads(parquet_batches)
for _name, _readers in READERS.items():
    _readers[ROTA] = rota(_name)
