"""What a file may cost, whatever its options: bounds against hostile and broken files."""

from msgspec import Struct

MEBIBYTE = 1024 * 1024


class Limits(Struct, frozen=True):
    """Bounds of reading one file; more is a clear error."""

    row_bytes: int = 8 * MEBIBYTE
    """One row as it stands in the file."""
    depth: int = 64
    """Lists and records within each other."""
    columns: int = 10_000
    """Columns of a table, and fields of a record."""
    whole_bytes: int = 128 * MEBIBYTE
    """A file, decompressed, of a format that must be held in memory."""
    toml_bytes: int = 16 * MEBIBYTE
    """A TOML document, which is parsed far more slowly than other formats."""
    batch_bytes: int = 1024 * MEBIBYTE
    """A record batch, decompressed, or another piece of a file that its format cannot read in parts."""
    spool_bytes: int = 16 * 1024 * MEBIBYTE
    """A compressed file that is decompressed on disk, because its format is read at random."""
    expansion: int = 500
    """How many times larger a file may become by decompression, once it is beyond `expansion_from_bytes`."""
    expansion_from_bytes: int = 64 * MEBIBYTE
