"""The options of each format: how a file is read.

They are checked when a batch is opened. Types of columns are written as `ColumnType` says.
"""

import codecs
from typing import Annotated, Literal

from msgspec import Meta, Struct

Character = Annotated[str, Meta(min_length=1, max_length=1)]
ColumnName = Annotated[str, Meta(min_length=1, max_length=1024)]

ColumnType = Annotated[
    str,
    Meta(
        pattern=r"^(string|json|binary|bool|u?int(8|16|32|64)|float(32|64)|date|time|duration"
        r"|timestamp(\[[A-Za-z0-9_+:/-]{1,64}\])?|decimal\([1-9][0-9]?,[0-9]{1,2}\))(?!\n)$"
    ),
]
"""A column's type.

`string`, `json` (any value, as its JSON text), `binary`, `bool`, `int8` to `int64`, `uint8` to `uint64`, `float32`,
`float64`, `date`, `time`, `duration`, `timestamp` (without a zone), `timestamp[Europe/Berlin]` (with one), and
`decimal(12,2)`: 12 digits, of which 2 are behind the point; at most 76.
"""

ColumnTypes = dict[ColumnName, ColumnType]
"""Types to use in place of those that are seen. A value that its type cannot hold makes a bad row."""

Columns = Annotated[list[ColumnName], Meta(min_length=1)]
"""The columns to read; others are left out. One that is not there is an error."""


class Options(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What the options of all formats have in common."""


class ArrowOptions(Options, frozen=True):
    """How an Arrow file or stream, or a Feather file, is read."""

    columns: Columns | None = None


class AvroOptions(Options, frozen=True):
    """How an Avro object container file is read."""

    columns: Columns | None = None


class CsvOptions(Options, frozen=True):
    """How a CSV file is read. What separates, quotes and escapes is one ASCII character each, no two the same."""

    delimiter: Character = ","
    quote: Character | None = '"'
    """null: quotes have no meaning."""
    escape: Character | None = None
    """The character that makes the next one stand for itself."""
    encoding: Annotated[str, Meta(min_length=1, max_length=64)] = "utf-8"
    """As Python's codecs are named. A byte-order mark tells UTF-16 and UTF-32 from UTF-8 without it."""
    header: bool = True
    """False if the first row is data; columns are then named by `column_names`, or `column_1` and so on."""
    column_names: Columns | None = None
    """Names of all columns of a file without a header; `header` need not be false then."""
    column_types: ColumnTypes = {}
    columns: Columns | None = None
    null_values: list[str] | None = None
    """Texts that stand for no value; in columns of strings only where they are not quoted."""
    true_values: list[str] | None = None
    false_values: list[str] | None = None
    decimal_point: Character = "."
    timestamp_formats: list[str] = []
    """Forms of dates and times, as of strptime; ISO 8601 if there are none."""
    skip_rows: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    """Lines before the header, or before the data, to leave out."""

    def __post_init__(self) -> None:
        """Refuse what no file can be read with."""
        meant = [self.delimiter, *(one for one in (self.quote, self.escape) if one is not None)]
        if any(not one.isascii() or one in "\0\n\r" for one in meant) or len(set(meant)) < len(meant):
            raise ValueError("delimiter, quote and escape are ASCII characters, no line ends, and no two the same")
        if not self.decimal_point.isascii() or self.decimal_point in "\0\n\r+-" or self.decimal_point.isalnum():
            raise ValueError("decimal_point is an ASCII character that is no letter, digit or sign")
        if len(set(self.column_names or ())) < len(self.column_names or ()):
            raise ValueError("column_names names a column twice")
        if len(set(self.columns or ())) < len(self.columns or ()):
            raise ValueError("columns names a column twice")
        if any("%" not in form for form in self.timestamp_formats):
            raise ValueError("timestamp_formats are written as for strptime, as in %d.%m.%Y")
        _check_encoding(self.encoding)


def _check_encoding(name: str) -> None:
    """Refuse an encoding that Python does not know, or in which lines do not end with characters of their own."""
    try:
        if codecs.lookup(name).name in WITHOUT_LINES or "\r,\n".encode(name).decode(name) != "\r,\n":
            raise ValueError(f"Text in the encoding {name} cannot be read in lines")
    except LookupError:
        raise ValueError(f"There is no encoding {name}") from None


class TsvOptions(CsvOptions, frozen=True):
    """How a TSV file is read."""

    delimiter: Character = "\t"


class JsonOptions(Options, frozen=True):
    """How a JSON document is read."""

    path: str | None = None
    """Where the rows are: names joined by dots, as in `result.items`; the root if it is left out."""
    column_types: ColumnTypes = {}
    columns: Columns | None = None


class MessagePackOptions(Options, frozen=True):
    """How MessagePack is read."""

    column_types: ColumnTypes = {}
    columns: Columns | None = None


class NdjsonOptions(Options, frozen=True):
    """How a file with one JSON value a line is read."""

    column_types: ColumnTypes = {}
    columns: Columns | None = None


class ParquetOptions(Options, frozen=True):
    """How a Parquet file is read."""

    columns: Columns | None = None


class RawOptions(Options, frozen=True):
    """How a file is read that is one row."""

    content: bool = True
    """Whether the row has the file's bytes; without them its job reads the file itself, whatever its size."""


class SheetOptions(Options, frozen=True):
    """How a spreadsheet is read: ODS, XLS and XLSX."""

    sheet: str | Annotated[int, Meta(ge=1)] | None = None
    """Name of the sheet, or its number from 1; all sheets with the same header if it is left out."""
    header_row: Annotated[int, Meta(ge=0, le=1_048_576)] | None = None
    """Number of the row with the names, from 1; 0 if there is none; the first row that is not empty if left out."""
    column_names: Columns | None = None
    column_types: ColumnTypes = {}
    columns: Columns | None = None


class OdsOptions(SheetOptions, frozen=True):
    """How an OpenDocument spreadsheet is read."""


class XlsxOptions(SheetOptions, frozen=True):
    """How an Excel workbook is read, XLSX or XLS."""


class TomlOptions(Options, frozen=True):
    """How a TOML document is read."""

    path: str | None = None
    """Where the array of tables is; the only one if it is left out, else the document is one row."""
    column_types: ColumnTypes = {}
    columns: Columns | None = None


class XmlOptions(Options, frozen=True):
    """How an XML document is read."""

    row: str | None = None
    """The tag of the rows, or a path from the root like `orders/order`; the root's children if it is left out."""
    lists: list[ColumnName] = []
    """Children of a row that are lists even where they come once; `items/item` is a child of a child."""
    column_types: ColumnTypes = {}
    columns: Columns | None = None


class YamlOptions(Options, frozen=True):
    """How YAML documents are read."""

    column_types: ColumnTypes = {}
    columns: Columns | None = None


WITHOUT_LINES = {"idna", "mbcs", "oem", "punycode", "raw-unicode-escape", "undefined", "unicode-escape"}
"""Python's encodings of which a piece means nothing alone, or whose line ends may be written otherwise."""

BadRows = Literal["fail", "skip", "quarantine"]
"""What is done with a row that cannot be read: stop there, leave it out, or leave it out and keep its place."""

Compression = Literal["none", "bzip2", "gzip", "lz4", "xz", "zstd"]


class Selection(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Which files of the directories and globs of a request are read. Patterns are of paths below the directory."""

    recursive: bool = False
    """Whether directories within directories are read, too."""
    include: list[str] = []
    """Patterns of which a file must match one; all files if there are none."""
    exclude: list[str] = []
    """Patterns of which a file must match none."""
    hidden: bool = False
    """Whether files and directories whose name begins with a dot are read."""
    allow_empty: bool = False
    """Whether no file at all is a batch without rows, and no error."""
