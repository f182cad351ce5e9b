"""What the name of a local file says of its format and compression, for a file that is sent as a stream."""

from pathlib import PurePath

from rota.errors import InvalidRequestError
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
WHOLE = {
    "bin": "raw",
    "ods": "ods",
    "parquet": "parquet",
    "pq": "parquet",
    "toml": "toml",
    "xls": "xlsx",
    "xlsm": "xlsx",
    "xlsx": "xlsx",
}
"""The formats that cannot, by the ends of names."""


def named(name: str) -> tuple[str | None, Compression | None]:
    """Return the format and the compression that a file's name tells; None for what it does not tell."""
    suffixes = [suffix.lower().removeprefix(".") for suffix in PurePath(name).suffixes]
    compression = COMPRESSIONS.get(suffixes[-1]) if suffixes else None
    if compression:
        suffixes.pop()
    return FORMATS.get(suffixes[-1]) if suffixes else None, compression


def check_streamed(format_: str | None, name: str = "") -> None:
    """Raise InvalidRequestError if a format, or what a file of this name has, cannot be streamed.

    What is neither said nor told by the name cannot. A format of an installed package is for the gateway to judge.
    """
    if format_ and format_ not in WHOLE.values():
        return
    end = PurePath(name).suffix.lower().removeprefix(".")
    format_ = format_ or WHOLE.get(end)
    if format_:
        fault = f"{format_} cannot be streamed"
    elif end:
        fault = f"What {name} has is not told by its name"
    else:
        fault = "A stream needs a format"
    formats = ", ".join(sorted(set(FORMATS.values())))
    raise InvalidRequestError(f"{fault}; streams are {formats}. Say which with --format (in Python `format`)")
