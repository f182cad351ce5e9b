"""What the name of a local file says of its format and compression, for a file that is sent as a stream."""

from pathlib import PurePath

from rota.options import Compression

COMPRESSIONS: dict[str, Compression] = {
    "bz2": "bzip2",
    "bzip2": "bzip2",
    "gz": "gzip",
    "gzip": "gzip",
    "lz4": "lz4",
    "xz": "xz",
    "zst": "zstd",
    "zstd": "zstd",
}
FORMATS = {
    "arrow": "arrow",
    "arrows": "arrow",
    "avro": "avro",
    "csv": "csv",
    "feather": "arrow",
    "geojson": "json",
    "ipc": "arrow",
    "json": "json",
    "jsonl": "ndjson",
    "jsonlines": "ndjson",
    "mpk": "messagepack",
    "msgpack": "messagepack",
    "ndjson": "ndjson",
    "tab": "tsv",
    "tsv": "tsv",
    "xml": "xml",
    "yaml": "yaml",
    "yml": "yaml",
}
"""The formats that can be read in pieces, by the ends of names."""


def named(name: str) -> tuple[str | None, Compression | None]:
    """Return the format and the compression that a file's name tells; None for what it does not tell."""
    suffixes = [suffix.lower().removeprefix(".") for suffix in PurePath(name).suffixes]
    compression = COMPRESSIONS.get(suffixes[-1]) if suffixes else None
    if compression:
        suffixes.pop()
    return FORMATS.get(suffixes[-1]) if suffixes else None, compression
