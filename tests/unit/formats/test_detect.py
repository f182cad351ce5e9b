"""Detection: a file's format and compression by option, name, media type, or first bytes."""

import bz2
import gzip
import io
import lzma
import zipfile

import lz4.frame
import pytest
from backports import zstd

from actors.formats.block import BadRowError
from actors.formats.detect import detect

CSV = b"id,name\n1,Ann\n"
ZIPPED = gzip.compress(CSV)


def archive(*names: str) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as file:
        for name in names:
            file.writestr(name, "application/vnd.oasis.opendocument.spreadsheet")
    return sink.getvalue()


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("orders.csv", ("csv", "none")),
        ("a/ORDERS.TSV", ("tsv", "none")),
        ("x.feather", ("arrow", "none")),
        ("v1.2.parquet", ("parquet", "none")),
        ("x.yml", ("yaml", "none")),
        ("x.xls", ("xlsx", "none")),
        ("https://example.org/x.jsonl?signature=a.csv#part", ("ndjson", "none")),
        ("https://example.org/x%2Ejson", ("json", "none")),
        ("x.avro?version=3", ("avro", "none")),
    ],
)
def test_the_name_says_the_format(path: str, found: tuple[str, str]) -> None:
    assert detect(path, "text/html", b"anything") == found


@pytest.mark.parametrize("format_", [None, "csv"])
@pytest.mark.parametrize(
    "head", [b"<!DOCTYPE html>\n<p>Login", b"\xef\xbb\xbf  <html lang='en'>", gzip.compress(b"<HTML>")]
)
def test_a_page_in_place_of_a_file_is_an_error(head: bytes, format_: str | None) -> None:
    with pytest.raises(BadRowError, match=r"in/a\.csv is an HTML page and no csv; .* asks for a login"):
        detect("in/a.csv", "text/html; charset=utf-8", head, format=format_)


def test_a_page_that_is_asked_for_may_be_read() -> None:
    head = b"<html><body/></html>"

    assert detect("page.html", "text/html", head, format="raw") == ("raw", "none")
    assert detect("page.xml", "text/html", head) == ("xml", "none")
    assert detect("a.csv", "text/csv", head) == ("csv", "none")


@pytest.mark.parametrize(
    ("suffix", "stored"),
    [
        ("gz", ZIPPED),
        ("bz2", bz2.compress(CSV)),
        ("xz", lzma.compress(CSV)),
        ("zst", zstd.compress(CSV)),
        ("lz4", lz4.frame.compress(CSV)),
    ],
)
def test_name_and_bytes_say_the_compression(suffix: str, stored: bytes) -> None:
    kind = {"gz": "gzip", "bz2": "bzip2", "xz": "xz", "zst": "zstd", "lz4": "lz4"}[suffix]

    assert detect(f"x.csv.{suffix}", None, stored) == ("csv", kind)
    assert detect(f"x.{suffix}", None, stored) == ("csv", kind)
    assert detect("x.csv", None, stored) == ("csv", kind)
    assert detect("x", None, stored) == ("csv", kind)
    assert detect(f"x.csv.{suffix}", None, CSV) == ("csv", "none")
    assert detect(f"x.csv.{suffix}", None, stored[:1]) == ("csv", kind)
    assert detect(f"x.csv.{suffix}", None, b"") == ("csv", kind)
    assert detect(f"x.msgpack.{suffix}", None, stored) == ("messagepack", kind)
    assert detect("x.bin", None, stored) == ("raw", "none")


def test_options_hold() -> None:
    assert detect("x.csv.gz", None, ZIPPED, format="json") == ("json", "gzip")
    assert detect("x.csv.gz", None, ZIPPED, compression="none") == ("csv", "none")
    assert detect("x.csv", None, CSV, compression="xz") == ("csv", "xz")


@pytest.mark.parametrize(
    ("media", "found"),
    [
        ("text/csv; charset=utf-8", ("csv", "none")),
        ("Application/X-NDJSON", ("ndjson", "none")),
        ("application/problem+json", ("json", "none")),
        ("application/atom+xml", ("xml", "none")),
    ],
)
def test_the_media_type_says_the_format_where_the_name_says_nothing(media: str, found: tuple[str, str]) -> None:
    assert detect("https://example.org/export?id=3", media, b"") == found


@pytest.mark.parametrize(
    ("head", "format_"),
    [
        (b"PAR1....", "parquet"),
        (b"ARROW1\0\0", "arrow"),
        (b"\xff\xff\xff\xff\x70\0\0\0....", "arrow"),
        (b"Obj\x01", "avro"),
        (archive("mimetype", "content.xml"), "ods"),
        (archive("[Content_Types].xml", "xl/workbook.xml"), "xlsx"),
        (archive("docProps/app.xml", "xl/theme/theme1.xml"), "xlsx"),
        (bytes.fromhex("d0cf11e0a1b11ae1"), "xlsx"),
        (b'\xef\xbb\xbf <?xml version="1.0"?><a/>', "xml"),
        (b"<orders><order/></orders>", "xml"),
        ('<?xml version="1.0" encoding="utf-16"?>'.encode("utf-16"), "xml"),
        (b'[{"a": 1}, {"a": 2}]', "json"),
        (b"[\n  1,\n  2\n]", "json"),
        (b'{"a": 1}', "json"),
        (b'{"a": 1}\n{"a": 2}\n', "ndjson"),
        (b"[1, 2]\n[3, 4]\n", "ndjson"),
        (b'{"a": 1}\r\n\r\n{"a": 2, "lo', "ndjson"),
        (b"---\na: 1\n", "yaml"),
        (b"%YAML 1.2\n", "yaml"),
        (b"# settings\ntitle = 'x'\n", "toml"),
        (b"[[orders]]\nid = 1\n", "toml"),
        (b"[server.main]\nport = 1\n", "toml"),
        (b"\x82\xa1a\x01\xa1b\x02", "messagepack"),
        (b"\xdc\x00\x02\x81\xa1a\x01\x81\xa1a\x02", "messagepack"),
        (b"id\tname\n1\tAnn, Bob\n", "tsv"),
        ("id,näme\n1,Zoë".encode()[:-1], "csv"),
        ("id,näme\n1,Zoë\n".encode("latin-1"), "csv"),
    ],
)
def test_the_first_bytes_say_the_format_where_nothing_else_does(head: bytes, format_: str) -> None:
    assert detect("x", "application/octet-stream", head) == (format_, "none")
    assert detect("x", None, gzip.compress(head)) == (format_, "gzip")


@pytest.mark.parametrize(
    ("head", "why"),
    [
        (b"", "it is empty"),
        (b"FEA1", "Feather version 1"),
        (archive("a.csv"), "a zip archive"),
        (archive("[Content_Types].xml", "word/document.xml"), "no spreadsheet"),
        (bytes(257) + b"ustar", "a tar archive"),
        (b"<!DOCTYPE html><html>", "an HTML page"),
        (b"a;b\n1;2\n", "CSV with the delimiter ';'"),
        (b"plain words", "neither its name"),
        (b"\x00\x01\x02", "of no known format"),
        (ZIPPED[:10] + 5 * b"\xff", "cannot be decompressed as gzip"),
    ],
)
def test_what_is_not_recognised_is_an_error_that_names_the_option(head: bytes, why: str) -> None:
    with pytest.raises(BadRowError, match=rf"^x: .*{why}.*; the option format"):
        detect("x", None, head)
