"""Text on a terminal: colours, and how many columns it takes."""

import os
import sys
import unicodedata
from typing import Literal

Style = Literal["plain", "bold", "dim", "blue", "green", "magenta", "red", "yellow"]
CODES: dict[Style, str] = {
    "plain": "",
    "bold": "1",
    "dim": "2",
    "blue": "94",
    "green": "32",
    "magenta": "35",
    "red": "31",
    "yellow": "33",
}
WIDE = ("F", "W")
UNSEEN = "\ufffd"
CUT = "…"


def has_colours() -> bool:
    """Say whether what is printed is seen on a terminal that has colours, and nobody minds them."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(text: str, style: Style, *, colour: bool) -> str:
    """Return a text in a style, or as it is."""
    return f"\x1b[{CODES[style]}m{text}\x1b[m" if colour and CODES[style] and text else text


def printable(text: str) -> str:
    """Return a text on one line without what would steer the terminal."""
    return "".join(" " if one in "\n\t" else UNSEEN if _steers(one) else one for one in text)


def width_of(text: str) -> int:
    """Return how many columns a printable text takes."""
    return len(text) if text.isascii() else sum(map(columns_of, text))


def columns_of(character: str) -> int:
    """Return how many columns a character takes: none if it is put on the one before."""
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in WIDE else 1


def cut(text: str, width: int) -> str:
    """Return a printable text that takes no more than so many columns."""
    if width_of(text) <= width:
        return text
    taken = 0
    for number, character in enumerate(text):
        taken += columns_of(character)
        if taken > width - 1:
            return text[:number] + CUT
    return text


class Canvas:
    """Places in rows and columns, each with a character in a style; it grows as things are put on it."""

    def __init__(self) -> None:
        self._rows: list[dict[int, tuple[str, Style]]] = []

    def put(self, row: int, column: int, text: str, style: Style = "plain") -> None:
        """Write a printable text from a place on."""
        while len(self._rows) <= row:
            self._rows.append({})
        places = self._rows[row]
        for character in text:
            columns = columns_of(character)
            if not columns:
                before = column - 1 if column - 1 in places else column - 2
                if before in places:
                    places[before] = (places[before][0] + character, style)
                continue
            places[column] = (character, style)
            for more in range(1, columns):
                places[column + more] = ("", style)
            column += columns

    def lines(self, *, colour: bool = False) -> list[str]:
        """Return the rows as lines, without spaces at their ends."""
        return [_line(places, colour=colour) for places in self._rows]


def _line(places: dict[int, tuple[str, Style]], *, colour: bool) -> str:
    parts: list[tuple[str, Style]] = []
    for column in range(max(places, default=-1) + 1):
        character, style = places.get(column, (" ", "plain"))
        if parts and (parts[-1][1] == style or character in {"", " "}):
            parts[-1] = (parts[-1][0] + character, parts[-1][1])
        else:
            parts.append((character, style))
    return "".join(paint(text, style, colour=colour) for text, style in parts).rstrip()


def _steers(character: str) -> bool:
    return unicodedata.category(character)[0] == "C" or character in "\u2028\u2029"
