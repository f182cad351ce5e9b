"""Writes the table of orders as a file of each format, of any size."""

import json
import struct
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
import msgpack
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from pyarrow import csv

from scripts.dataset import as_csv, orders

RECORD_BATCH_ROWS = 65_536
"""As in Feather's files by default."""
SYNC_MARKER = b"rota-bench-avro!"
AVRO_TYPES = {pa.int64(): "long", pa.float64(): "double", pa.string(): "string", pa.bool_(): "boolean"}
DATE = {"type": "int", "logicalType": "date"}
SHEET = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006"
OPEN_DOCUMENT = "urn:oasis:names:tc:opendocument:xmlns"


def write(format_: str, path: Path, rows: int, times: int = 1) -> None:
    """Write a table of so many rows, several times over."""
    WRITERS[format_](path, orders(rows), times)


def _arrow(path: Path, table: pa.Table, times: int) -> None:
    with pa.ipc.new_file(path, table.schema) as writer:
        for _ in range(times):
            writer.write_table(table, max_chunksize=RECORD_BATCH_ROWS)


def _avro(path: Path, table: pa.Table, times: int) -> None:
    fields = [{"name": field.name, "type": AVRO_TYPES.get(field.type, DATE)} for field in table.schema]
    schema = fastavro.parse_schema({"type": "record", "name": "order", "fields": fields})
    header, body = BytesIO(), BytesIO()
    fastavro.writer(header, schema, [], sync_marker=SYNC_MARKER)
    fastavro.writer(body, schema, table.to_pylist(), sync_marker=SYNC_MARKER)
    _pieces(path, header.getvalue(), body.getvalue()[len(header.getvalue()) :], times)


def _csv(path: Path, table: pa.Table, times: int) -> None:
    header, body = as_csv(table).split(b"\n", 1)
    _pieces(path, header + b"\n", body, times)


def _json(path: Path, table: pa.Table, times: int) -> None:
    body = orjson.dumps(table.to_pylist())[1:-1]
    _pieces(path, b"[" + body, b"," + body, times - 1, b"]")


def _messagepack(path: Path, table: pa.Table, times: int) -> None:
    """Write one array, since msgspec reads nothing else that has many rows."""
    packer = msgpack.Packer(default=str)
    body = b"".join(map(packer.pack, table.to_pylist()))
    _pieces(path, b"\xdd" + struct.pack(">I", table.num_rows * times), body, times)


def _ndjson(path: Path, table: pa.Table, times: int) -> None:
    _pieces(path, b"", b"".join(orjson.dumps(row) + b"\n" for row in table.to_pylist()), times)


def _ods(path: Path, table: pa.Table, times: int) -> None:
    def cell(value: Any) -> str:
        if isinstance(value, bool):
            return f'<table:table-cell office:value-type="boolean" office:boolean-value="{str(value).lower()}"/>'
        if isinstance(value, int | float):
            return f'<table:table-cell office:value-type="float" office:value="{value}"/>'
        return f'<table:table-cell office:value-type="string"><text:p>{value}</text:p></table:table-cell>'

    rows = [
        f"<table:table-row>{''.join(map(cell, row))}</table:table-row>"
        for row in [table.column_names, *_lists(table)]
    ]
    names = " ".join(f'xmlns:{name}="{OPEN_DOCUMENT}:{name}:1.0"' for name in ("office", "table", "text"))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet", zipfile.ZIP_STORED)
        archive.writestr(
            "META-INF/manifest.xml", f'<manifest:manifest xmlns:manifest="{OPEN_DOCUMENT}:manifest:1.0"/>'
        )
        archive.writestr(
            "content.xml",
            f'<office:document-content {names} office:version="1.3"><office:body><office:spreadsheet>'
            f'<table:table table:name="orders">{rows[0]}{"".join(rows[1:]) * times}</table:table>'
            "</office:spreadsheet></office:body></office:document-content>",
        )


def _parquet(path: Path, table: pa.Table, times: int) -> None:
    with pq.ParquetWriter(path, table.schema) as writer:
        for _ in range(times):
            writer.write_table(table)


def _toml(path: Path, table: pa.Table, times: int) -> None:
    tables = []
    for row in table.to_pylist():
        day = row.pop("day")
        tables.append("".join(f"{name} = {json.dumps(value)}\n" for name, value in row.items()) + f"day = {day}\n")
    _pieces(path, b"", "".join(f"[[orders]]\n{table}\n" for table in tables).encode(), times)


def _tsv(path: Path, table: pa.Table, times: int) -> None:
    sink = BytesIO()
    csv.write_csv(table, sink, csv.WriteOptions(delimiter="\t"))
    header, body = sink.getvalue().split(b"\n", 1)
    _pieces(path, header + b"\n", body, times)


def _xlsx(path: Path, table: pa.Table, times: int) -> None:
    def cell(value: Any) -> str:
        if isinstance(value, bool):
            return f'<c t="b"><v>{value:d}</v></c>'
        return f"<c><v>{value}</v></c>" if isinstance(value, int | float) else f'<c t="str"><v>{value}</v></c>'

    rows = [f"<row>{''.join(map(cell, row))}</row>" for row in [table.column_names, *_lists(table)]]
    sheets = '<sheets><sheet name="orders" sheetId="1" r:id="r1"/></sheets></workbook>'
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{PACKAGE}/content-types"><Default Extension="xml" ContentType='
        '"application/xml"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{PACKAGE}/relationships"><Relationship Id="r1" '
        f'Type="{RELATIONS}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{SHEET}" xmlns:r="{RELATIONS}">{sheets}',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{PACKAGE}/relationships"><Relationship Id="r1" '
        f'Type="{RELATIONS}/worksheet" Target="worksheets/sheet1.xml"/></Relationships>',
        "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{SHEET}"><sheetData>{rows[0]}'
        + "".join(rows[1:]) * times
        + "</sheetData></worksheet>",
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in parts.items():
            archive.writestr(name, text)


def _xml(path: Path, table: pa.Table, times: int) -> None:
    rows = (
        "".join(
            f"<{name}>{json.dumps(value) if isinstance(value, bool) else value}</{name}>"
            for name, value in row.items()
        )
        for row in table.to_pylist()
    )
    body = "".join(f"<order>{row}</order>\n" for row in rows).encode()
    _pieces(path, b"<orders>\n", body, times, b"</orders>\n")


def _yaml(path: Path, table: pa.Table, times: int) -> None:
    _pieces(path, b"", yaml.dump(table.to_pylist(), Dumper=yaml.CSafeDumper, encoding="utf-8"), times)


def _lists(table: pa.Table) -> list[list[Any]]:
    return [
        [value if isinstance(value, int | float) else str(value) for value in row.values()]
        for row in table.to_pylist()
    ]


def _pieces(path: Path, head: bytes, body: bytes, times: int, end: bytes = b"") -> None:
    with path.open("wb") as file:
        file.write(head)
        for _ in range(times):
            file.write(body)
        file.write(end)


WRITERS: dict[str, Callable[[Path, pa.Table, int], None]] = {
    "arrow": _arrow,
    "avro": _avro,
    "csv": _csv,
    "json": _json,
    "messagepack": _messagepack,
    "ndjson": _ndjson,
    "ods": _ods,
    "parquet": _parquet,
    "toml": _toml,
    "tsv": _tsv,
    "xlsx": _xlsx,
    "xml": _xml,
    "yaml": _yaml,
}
