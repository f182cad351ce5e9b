"""The formats by name, their modules imported when they are used.

A module has `read(file, options, start) -> Iterator[Block]`.
"""

import importlib
from collections.abc import Iterator
from typing import Any

from actors.formats.block import Block
from actors.sources.file import SourceFile
from events.batch import Position

FORMATS: dict[str, str] = {
    "csv": "actors.formats.csv",
}


def read(name: str, file: SourceFile, options: Any, start: Position) -> Iterator[Block]:
    """Read a file from a position on, in blocks of rows. BadRowError names the place of a bad row."""
    blocks: Iterator[Block] = importlib.import_module(FORMATS[name]).read(file, options, start)
    return blocks
