"""Flat rows of XML that look like those before: read by a pattern, faster than by the parser's events."""

import re
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from msgspec import Struct

MAX_PATTERNS = 32
"""How often the pattern may be made anew for one document."""
SPACE = r"[ \t\n]*+"

_REFERENCE = re.compile(r"&(?:#(\d+)|#x([0-9a-fA-F]+)|(\w+));")
_NAMED = {"amp": "&", "apos": "'", "gt": ">", "lt": "<", "quot": '"'}


class FlatRow(Struct):
    """What stands in a row whose children have text alone: names as they are written, and the columns' names."""

    tag: str
    attributes: list[tuple[str, str]]
    children: list[tuple[str, str]]
    blank: set[str]
    """Columns that are empty, which may be written as `<a/>`."""


class Shape:
    """The pattern of the rows by now; each of its attributes and children may be missing."""

    def __init__(self) -> None:
        self._row: FlatRow | None = None
        self._pattern: re.Pattern[str] | None = None
        self._made = 0
        self._columns: list[str] = []
        self._blank: list[str] = []

    def learn(self, row: FlatRow) -> bool:
        """Let the pattern match this row, too; False if it does not."""
        if self._row and self._row.tag == row.tag:
            merged = FlatRow(
                row.tag,
                _merged(self._row.attributes, row.attributes),
                _merged(self._row.children, row.children),
                self._row.blank | row.blank,
            )
            if merged == self._row:
                return True
        else:
            merged = row
        if self._made >= MAX_PATTERNS:
            return False
        self._made += 1
        self._row = merged
        self._columns = [column for _, column in merged.attributes + merged.children]
        self._blank = [column for _, column in merged.children if column in merged.blank]
        self._pattern = _pattern(merged)
        return True

    def forget(self) -> None:
        """Begin anew, since prefixes may have other meanings."""
        self._row = self._pattern = None

    def match(self, text: str, start: int) -> tuple[dict[str, list[Any]], list[int]]:
        """Return the columns of the rows that follow each other from `start` on, and where each row ends."""
        ends: list[int] = []
        if self._pattern is None:
            return {}, ends
        rows: list[tuple[str | Any, ...]] = []
        match, end = self._pattern.match, start
        while found := match(text, end):
            end = found.end()
            ends.append(end)
            rows.append(found.groups())
        columns: dict[str, list[Any]] = dict(zip(self._columns, map(list, zip(*rows, strict=True)), strict=False))
        if not rows:
            return columns, ends
        for name in self._blank:
            columns[name] = [value[1:] if value else value for value in columns[name]]
        if text.find("&", start, end) >= 0:
            _dereference(text, start, columns, ends)
        return columns, ends


def _pattern(row: FlatRow) -> re.Pattern[str]:
    attributes = "".join(rf'(?:[ \t\n]++{re.escape(tag)}="([^"<\t\n]*+)")?+' for tag, _ in row.attributes)
    begin = (
        f"{SPACE}<{re.escape(row.tag)}(?!{SPACE}/?>){attributes}" if attributes else f"{SPACE}<{re.escape(row.tag)}"
    )
    if not row.children:
        return re.compile(f"{begin}{SPACE}/>")
    children = "".join(_child(re.escape(tag), blank=column in row.blank) for tag, column in row.children)
    tag = re.escape(row.tag)
    begin = f"{SPACE}<{tag}{attributes}{SPACE}>{SPACE}(?!</)"
    return re.compile(f"{begin}{children}</{tag}{SPACE}>")


def _child(tag: str, *, blank: bool) -> str:
    if blank:  # the group holds `>` and the text, or nothing for `<a/>`
        return f"(?:<{tag}(>[^<]*+(?=<)|(?={SPACE}/>))(?:</{tag}>|{SPACE}/>){SPACE})?+"
    return f"(?:<{tag}>([^<]*+)</{tag}>{SPACE})?+"


def _merged(old: Sequence[tuple[str, str]], new: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the fields of both, in an order that both have if there is one."""
    fields = list(old)
    at = 0
    for field in new:
        if field in fields:
            at = fields.index(field) + 1
        else:
            fields.insert(at, field)
            at += 1
    return fields


def _dereference(text: str, start: int, columns: dict[str, list[Any]], ends: list[int]) -> None:
    """Put the characters in place of what stands for them, as in `&lt;`."""
    at = text.find("&", start, ends[-1])
    while at >= 0:
        index = bisect_right(ends, at)
        for column in columns.values():
            value = column[index]
            if value and "&" in value:
                column[index] = _REFERENCE.sub(_character, value)
        at = text.find("&", ends[index], ends[-1])


def _character(found: re.Match[str]) -> str:
    decimal, hexadecimal, name = found.groups()
    if name:
        return _NAMED.get(name, found[0])
    return chr(int(decimal) if decimal else int(hexadecimal, 16))
