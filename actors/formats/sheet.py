"""Sheets of cells into blocks: which row names the columns, which rows are data, and which cells are errors."""

from collections.abc import Callable, Iterator, Sequence
from itertools import batched, zip_longest
from typing import Any

import pyarrow as pa
from msgspec import Struct
from msgspec.structs import replace

from actors.formats.block import BadRowError, Block
from actors.formats.columns import Columns, Place
from actors.formats.input import Input
from actors.formats.plain import unique_names
from actors.formats.rows import name_of_key, unique
from actors.formats.sheet_cells import CellError, column_letters, settled
from events.batch import FileFault, Position
from rota.errors import TooLargeError
from rota.options import SheetOptions
