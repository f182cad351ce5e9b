"""An installed package adds a format and a source by entry points."""

import subprocess
import sys
from pathlib import Path

from scripts.stack import ROOT

LINES = '''
"""Lines of text: each is a row."""

import pyarrow as pa

from actors.formats.block import Block
from events.formats import Format
from rota.options import Options


class LinesOptions(Options, frozen=True):
    upper: bool = False


def read(file, options, start, schema):
    text = b"".join(file.chunks()).decode()
    rows = (text.upper() if options.upper else text).splitlines()[start.row :]
    yield Block(start, pa.table({"line": rows}))


FORMAT = Format("lines", LinesOptions, ("lines",))
'''

SHELF = '''
"""Files in the memory of the process."""

from fsspec.implementations.memory import MemoryFileSystem

from events.sources import Connection, Source


class ShelfConnection(Connection, frozen=True, kw_only=True, forbid_unknown_fields=True):
    kind = "shelf"
    password: str


def file_system(connection):
    return MemoryFileSystem()


SOURCE = Source("shelf", ShelfConnection)
'''

READ = """
from fsspec.implementations.memory import MemoryFileSystem

from actors.formats.detect import detect
from actors.formats.input import Input
from actors.formats.registry import read
from actors.sources.file import SourceFile
from events.batch import Position
from events.formats import formats
from events.sources import connection

MemoryFileSystem().pipe_file("/top/a.lines", b"one\\ntwo\\n")
shelf = connection({"kind": "shelf", "root": "/top", "password": "hush"})
assert "hush" not in repr(shelf)
file = SourceFile(shelf, "a.lines")
name, compression = detect(file.path, file.media_type, Input(file).head())
options = formats()[name].options(upper=True)
for block in read(name, Input(file, compression), options, Position()):
    print(name, block.table["line"].to_pylist())
"""


def test_a_package_adds_a_format_and_a_source(tmp_path: Path) -> None:
    (tmp_path / "lines.py").write_text(LINES)
    (tmp_path / "shelf.py").write_text(SHELF)
    info = tmp_path / "more_for_rota-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: more-for-rota\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[rota.formats]\nlines = lines:FORMAT\n\n[rota.sources]\nshelf = shelf:SOURCE\n"
    )

    result = subprocess.run(
        [sys.executable, "-c", READ],
        cwd=ROOT,
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert (result.stdout, result.returncode) == ("lines ['ONE', 'TWO']\n", 0), result.stderr
