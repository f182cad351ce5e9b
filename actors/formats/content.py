"""Recognises a format by the first bytes of a file."""

import json
import re
from itertools import pairwise

from actors.formats.block import BadRowError
from events.batch import FileFault

HTML = re.compile(r"<(!doctype\s+html|html)\b", re.IGNORECASE)
NOT_TEXT = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
TAR_MAGIC = slice(257, 262)
TOML_KEY = re.compile(r"""[\w."'-]+(\s*\.\s*[\w"'-]+)*\s*=\s*\S""")
TOML_TABLE = re.compile(r"""\[{1,2}\s*[\w."' -]+\s*\]{1,2}\s*(#.*)?""")
ZIP_ENTRY = b"PK\x03\x04"
SHOWN_NAMES = 100


def format_of(path: str, head: bytes) -> str:
    """Return the format that the first bytes show; BadRowError if they show none, or one that is not read."""
    if found := _by_magic(path, head):
        return found
    text = _text(head)
    if text is None:
        if _is_messagepack(head):
            return "messagepack"
        raise _unknown(path, "its bytes are of no known format")
    return _by_text(path, text)


def _by_magic(path: str, head: bytes) -> str | None:
    if head.startswith((b"PAR1", b"PARE")):
        return "parquet"
    if head.startswith(b"ARROW1") or _is_arrow_stream(head):
        return "arrow"
    if head.startswith(b"FEA1"):
        raise _unknown(path, "it is Feather version 1, which is not read: save it as version 2")
    if head.startswith(b"Obj\x01"):
        return "avro"
    if head.startswith(ZIP_ENTRY):
        return _by_zip(path, head)
    if head.startswith(bytes.fromhex("d0cf11e0a1b11ae1")):
        return "xlsx"
    if head[TAR_MAGIC] == b"ustar":
        raise _unknown(path, "it is a tar archive: store its files one by one")
    return None


def _is_arrow_stream(head: bytes) -> bool:
    """Say whether a message of Arrow IPC begins: a mark, and a length that is padded to eight bytes."""
    length = int.from_bytes(head[4:8], "little")
    return head.startswith(b"\xff\xff\xff\xff") and len(head) >= 8 and length % 8 == 0 and length < 1 << 31  # noqa: PLR2004 - both are Arrow's


def _by_zip(path: str, head: bytes) -> str:
    names: list[bytes] = []
    start = 0
    while (start := head.find(ZIP_ENTRY, start)) >= 0 and len(names) < SHOWN_NAMES:
        name_length = int.from_bytes(head[start + 26 : start + 28], "little")
        names.append(head[start + 30 : start + 30 + name_length])
        start += 30
    first_size = int.from_bytes(head[18:22], "little")
    begin = 30 + len(names[0]) + int.from_bytes(head[28:30], "little")
    if names[0] == b"mimetype" and b"opendocument.spreadsheet" in head[begin : begin + max(first_size, 64)]:
        return "ods"
    if any(name.startswith(b"xl/") for name in names):
        return "xlsx"
    if names[0] != b"mimetype" and b"[Content_Types].xml" in names:
        if any(name.startswith((b"word/", b"ppt/")) for name in names):
            raise _unknown(path, "it is an office document, but no spreadsheet")
        return "xlsx"
    raise _unknown(path, "it is a zip archive: store its files one by one")


def _text(head: bytes) -> str | None:
    """Return the bytes as text, or None if they are not."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return head[: len(head) // 2 * 2].decode("utf-16", errors="replace")
    for cut in range(4):  # the last character may be cut
        try:
            text = head[: len(head) - cut].decode("utf-8-sig")
        except UnicodeDecodeError:
            continue
        return None if NOT_TEXT.search(text) else text
    return (
        None
        if re.search(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]", head) or _is_messagepack(head)
        else head.decode("latin-1")
    )


def _is_messagepack(head: bytes) -> bool:
    """Say whether a map with a text as its first key begins, or an array of maps or arrays."""
    header = head[:1]
    skip = {0xDE: 3, 0xDF: 5, 0xDC: 3, 0xDD: 5}.get(head[0], 1) if head else 1
    following = head[skip : skip + 1]
    if b"\x81" <= header <= b"\x8f" or header in (b"\xde", b"\xdf"):
        return b"\xa0" <= following <= b"\xbf" or b"\xd9" <= following <= b"\xdb"
    if b"\x91" <= header <= b"\x9f" or header in (b"\xdc", b"\xdd"):
        return b"\x80" <= following <= b"\x9f" or b"\xdc" <= following <= b"\xdf"
    return False


def _by_text(path: str, text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise _unknown(path, "it is empty")
    first = lines[0]
    if HTML.match(first):
        raise _unknown(path, "it is an HTML page, perhaps one that says why the file was not sent")
    if re.match(r"<[?!\w]", first):
        return "xml"
    if first.startswith(("%YAML", "--- ")) or first == "---":
        return "yaml"
    if first[0] in "{[":
        return _json_or_toml(lines)
    meaning = next((line for line in lines if not line.startswith("#")), "")
    if TOML_KEY.match(meaning) or TOML_TABLE.fullmatch(meaning):
        return "toml"
    return _table(path, first, lines[1:2] or [first])


def _json_or_toml(lines: list[str]) -> str:
    try:
        json.loads(lines[0])
    except ValueError:
        return "toml" if TOML_TABLE.fullmatch(lines[0]) else "json"
    except RecursionError:
        return "json"
    return "ndjson" if any(line[0] in "{[" for _, line in pairwise(lines)) else "json"


def _table(path: str, header: str, second: list[str]) -> str:
    for delimiter, name in (("\t", "tsv"), (",", "csv")):
        if delimiter in header and delimiter in second[0]:
            return name
    for delimiter in ";|":
        if delimiter in header and delimiter in second[0]:
            raise _unknown(path, f"it may be CSV with the delimiter {delimiter!r}, which is an option, too")
    raise _unknown(path, "neither its name, nor its media type, nor its first bytes tell")


def _unknown(path: str, why: str) -> BadRowError:
    return BadRowError(FileFault(f"{path}: {why}; the option format names a file's format"))
