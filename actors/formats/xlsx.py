"""XLSX and XLS by python-calamine: the rows of sheets."""

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import pyarrow as pa
from python_calamine import CalamineError, CalamineSheet, PasswordError, SheetTypeEnum, SheetVisibleEnum, load_workbook

from actors.formats.block import Block
from actors.formats.input import Input
from actors.formats.sheet import Row, Sheet, blocks
from actors.formats.sheet_cells import CellError
from actors.formats.xls import XlsFile
from actors.formats.xlsx_book import Book
from events.batch import Position
from rota.options import XlsxOptions
