"""Events in files: NDJSON and Parquet, written piece by piece, and there whole or not at all."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Protocol

from rota.errors import InvalidRequestError
from rota.selection import Fields, origin_of
from rota.show import json_line
from rota.whole_file import whole_file

GROUP_ROWS = 20_000
GROUP_BYTES = 32 * 1024 * 1024
"""A row group of Parquet is written when it has so many events, or so much of their data."""

HEAD = frozenset({"sequence", "at", "type", "id", "version", "origin"})
"""The fields that have columns of their own."""
ORIGIN = ("command_id", "caller", "causation_id", "correlation_id")


class Sink(Protocol):
    """Takes events in their order."""

    def write(self, events: Sequence[Fields]) -> None:
        """Take some more events."""

    def finish(self) -> None:
        """Write what is left; the file is complete."""


class Ndjson:
    """One event a line, as JSON."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def write(self, events: Sequence[Fields]) -> None:
        """Take some more events."""
        self._file.write("".join([f"{json_line(event)}\n" for event in events]).encode())

    def finish(self) -> None:
        """Write what is left; the file is complete."""


class Parquet:
    """One event a row; what only some types have is JSON in the column `data`."""

    def __init__(self, file: IO[bytes]) -> None:
        try:
            import pyarrow as pa  # noqa: PLC0415 - an extra, which nothing else here needs
            from pyarrow import parquet  # noqa: PLC0415
        except ImportError as error:
            raise InvalidRequestError(
                "Parquet needs pyarrow, which is not installed: pip install 'rota[arrow]', or export to .ndjson"
            ) from error
        self._arrow = pa
        text = pa.string()
        self._schema = pa.schema(
            [
                ("sequence", pa.int64()),
                ("time", pa.timestamp("us", tz="UTC")),
                ("type", text),
                ("kind", text),
                ("id", text),
                ("version", pa.int64()),
                *((name, text) for name in ORIGIN),
                ("data", text),
            ]
        )
        self._writer = parquet.ParquetWriter(file, self._schema, compression="zstd")
        self._rows: list[dict[str, Any]] = []
        self._bytes = 0

    def write(self, events: Sequence[Fields]) -> None:
        """Take some more events."""
        for event in events:
            row = _row(event)
            self._rows.append(row)
            self._bytes += len(row["data"])
            if len(self._rows) >= GROUP_ROWS or self._bytes >= GROUP_BYTES:
                self._flush()

    def finish(self) -> None:
        """Write what is left; the file is complete."""
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(self._arrow.Table.from_pylist(self._rows, schema=self._schema))
            self._rows, self._bytes = [], 0


SINKS: dict[str, type[Ndjson | Parquet]] = {".ndjson": Ndjson, ".parquet": Parquet}
"""By the ending of the file's name."""


@contextmanager
def exported(path: Path) -> Iterator[Sink]:
    """Write events to a file, in place of the one that is there; if the block fails, nothing has changed.

    A name with another ending takes NDJSON. InvalidRequestError if it cannot be written.
    """
    with whole_file(path) as file:
        sink = SINKS.get(path.suffix, Ndjson)(file)
        try:
            yield sink
        finally:
            # Also if it is thrown away: a writer of Parquet must be closed before its file.
            sink.finish()


def _row(event: Fields) -> dict[str, Any]:
    origin = origin_of(event)
    return {
        "sequence": event["sequence"],
        "time": event["at"],
        "type": event["type"],
        "kind": event["type"].partition(".")[0],
        "id": event["id"],
        "version": event["version"],
        **{name: origin.get(name) or None for name in ORIGIN},
        "data": json_line({name: value for name, value in event.items() if name not in HEAD}),
    }
