"""The table of formats: what each is called, how its files are known, and which module of the actors reads it."""

from functools import cache
from importlib.metadata import entry_points

from msgspec import Struct

from rota.options import (
    ArrowOptions,
    AvroOptions,
    CsvOptions,
    JsonOptions,
    MessagePackOptions,
    NdjsonOptions,
    OdsOptions,
    Options,
    ParquetOptions,
    RawOptions,
    TomlOptions,
    TsvOptions,
    XlsxOptions,
    XmlOptions,
    YamlOptions,
)

ENTRY_POINTS = "rota.formats"
"""The group under which an installed package adds a `Format` of its own."""


class Format(Struct, frozen=True):
    """A format: the dotted name of the module that reads it, its options, and what its files are known by."""

    module: str
    options: type[Options]
    suffixes: tuple[str, ...] = ()
    """Ends of file names, lower case, without the dot."""
    media_types: tuple[str, ...] = ()
    streamed: bool = False
    """Whether its bytes can be read as they come, so that callers may stream them in."""


FORMATS: dict[str, Format] = {
    "arrow": Format(
        "actors.formats.arrow",
        ArrowOptions,
        ("arrow", "arrows", "feather", "ipc"),
        ("application/vnd.apache.arrow.file", "application/vnd.apache.arrow.stream"),
        streamed=True,
    ),
    "avro": Format(
        "actors.formats.avro", AvroOptions, ("avro",), ("application/avro", "avro/binary"), streamed=True
    ),
    "csv": Format("actors.formats.csv", CsvOptions, ("csv",), ("text/csv", "application/csv"), streamed=True),
    "json": Format("actors.formats.json", JsonOptions, ("json", "geojson"), ("application/json",), streamed=True),
    "messagepack": Format(
        "actors.formats.messagepack",
        MessagePackOptions,
        ("msgpack", "mpk"),
        ("application/msgpack", "application/x-msgpack", "application/vnd.msgpack"),
        streamed=True,
    ),
    "ndjson": Format(
        "actors.formats.ndjson",
        NdjsonOptions,
        ("ndjson", "jsonl", "jsonlines"),
        ("application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines"),
        streamed=True,
    ),
    "ods": Format("actors.formats.ods", OdsOptions, ("ods",), ("application/vnd.oasis.opendocument.spreadsheet",)),
    "parquet": Format(
        "actors.formats.parquet", ParquetOptions, ("parquet", "pq"), ("application/vnd.apache.parquet",)
    ),
    "raw": Format("actors.formats.raw", RawOptions, ("bin",), ()),
    "toml": Format("actors.formats.toml", TomlOptions, ("toml",), ("application/toml",)),
    "tsv": Format("actors.formats.csv", TsvOptions, ("tsv", "tab"), ("text/tab-separated-values",), streamed=True),
    "xlsx": Format(
        "actors.formats.xlsx",
        XlsxOptions,
        ("xlsx", "xlsm", "xls"),
        ("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "application/vnd.ms-excel"),
    ),
    "xml": Format("actors.formats.xml", XmlOptions, ("xml",), ("application/xml", "text/xml"), streamed=True),
    "yaml": Format(
        "actors.formats.yaml", YamlOptions, ("yaml", "yml"), ("application/yaml", "text/yaml"), streamed=True
    ),
}


WITHOUT_OFFSETS = frozenset({"xml", "yaml"})
"""Formats that read a file from its start, wherever they go on."""


@cache
def formats() -> dict[str, Format]:
    """Return all formats by name: Rota's own, and those that installed packages add."""
    return {**{point.name: point.load() for point in entry_points(group=ENTRY_POINTS)}, **FORMATS}
