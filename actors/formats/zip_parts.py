"""The parts of a file that is a zip archive, checked before anything is made of them."""

import struct
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import BytesIO
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from lxml import etree

from actors.formats.block import BadRowError
from actors.formats.input import Input
from actors.formats.types import SHOWN_CHARACTERS
from events.batch import FileFault
from rota.errors import TooLargeError

MAX_ENTRIES = 10_000
ENTRY = b"PK\x01\x02"
ENCRYPTED = 0x1
ERRORS = (
    BadZipFile,
    EOFError,
    IndexError,
    KeyError,
    NotImplementedError,
    OSError,
    OverflowError,
    RuntimeError,
    ValueError,
    struct.error,
    zlib.error,
)
"""What zipfile raises over the bytes of an archive."""

UNEQUAL = (b"<![CDATA[", b"<!--", b"<?")
"""What readers of XML treat differently; some lose text beside it."""


class Parts:
    """A zip archive in memory. All parts that are read count together against `limits.whole_bytes`."""

    def __init__(self, file: Input, *, what: str) -> None:
        self.path = file.path
        self._what = what
        self._limit = file.limits.whole_bytes
        self._read_bytes = 0
        body = file.whole()
        if body.count(ENTRY) > MAX_ENTRIES:
            raise TooLargeError(f"{self.path} has more than {MAX_ENTRIES} parts in its zip archive")
        with self.faults():
            self._zip = ZipFile(BytesIO(body))
            entries = self._zip.infolist()
        self._entries = {entry.filename: entry for entry in entries}
        if len(self._entries) < len(entries):
            raise self.fault("a part of its zip archive is there twice")

    @property
    def names(self) -> Iterable[str]:
        """The names of all parts."""
        return self._entries

    def read(self, name: str) -> bytes:
        """Return a part; BadRowError if it is missing or damaged."""
        entry = self._entries.get(name)
        if entry is None:
            raise self.fault(f"its part {name[:SHOWN_CHARACTERS]} is missing")
        if entry.flag_bits & ENCRYPTED:
            raise self.fault("it is protected by a password")
        if entry.compress_type not in {ZIP_STORED, ZIP_DEFLATED}:
            raise self.fault(
                f"its part {name[:SHOWN_CHARACTERS]} is compressed in a way that {self._what} does not use"
            )
        self._read_bytes += entry.file_size
        if self._read_bytes > self._limit:
            raise TooLargeError(
                f"{self.path} is larger than {self._limit} bytes once it is decompressed, "
                "and its format cannot be read in pieces. Save it as CSV, NDJSON or Parquet, or split it"
            )
        with self.faults():
            data = self._inflated(entry)
        if len(data) != entry.file_size:
            raise self.fault(f"its part {name[:SHOWN_CHARACTERS]} is cut or damaged")
        return data

    def xml(self, name: str) -> bytes:
        """Return a part that is XML as all readers understand it: UTF-8, without comments, CDATA or definitions."""
        data = self.read(name)
        declared = data.startswith(b"<?xml")
        head = data[: data.find(b"?>")].lower() if declared else b""
        plain = b"encoding" not in head or b"utf-8" in head or b"us-ascii" in head
        if plain and data[:1] == b"<" and b"<!" not in data and data.count(b"<?") == declared:
            return data
        parser = etree.XMLParser(
            resolve_entities=False, no_network=True, remove_comments=True, remove_pis=True, huge_tree=False
        )
        with self.xml_faults(name):
            root = etree.fromstring(data, parser)
        if root.getroottree().docinfo.internalDTD is not None:
            raise self.fault(f"its part {name[:SHOWN_CHARACTERS]} defines entities, which are not read")
        return etree.tostring(root, encoding="UTF-8", xml_declaration=True)

    def fault(self, why: str, row: int | None = None) -> BadRowError:
        """Return the error that says why the file cannot be read."""
        return BadRowError(FileFault(f"{self.path} cannot be read as {self._what}: {why}", row=row))

    @contextmanager
    def faults(self) -> Iterator[None]:
        """Turn what zipfile raises into BadRowError."""
        try:
            yield
        except ERRORS as error:
            if isinstance(error, BadZipFile) and not hasattr(self, "_zip"):
                raise self.fault("it is no zip archive, or one that was cut") from error
            raise self.fault(f"its zip archive is damaged ({_reason(error)})") from error

    @contextmanager
    def xml_faults(self, name: str, row: int | None = None) -> Iterator[None]:
        """Turn what lxml raises into BadRowError."""
        try:
            yield
        except (etree.XMLSyntaxError, ValueError, RecursionError) as error:
            raise self.fault(f"its part {name[:SHOWN_CHARACTERS]} is broken ({_reason(error)})", row) from error

    def _inflated(self, entry: ZipInfo) -> bytes:
        with self._zip.open(entry) as part:
            data = part.read(entry.file_size)
            part.read(1)  # the end: here its checksum is compared
        return data


def archive(parts: dict[str, bytes]) -> bytes:
    """Return a zip archive of these parts, not compressed."""
    sink = BytesIO()
    with ZipFile(sink, "w", ZIP_STORED) as file:
        for name, data in parts.items():
            file.writestr(name, data)
    return sink.getvalue()


def _reason(error: Exception) -> str:
    return str(error).split("\n", 1)[0][:SHOWN_CHARACTERS] or type(error).__name__
