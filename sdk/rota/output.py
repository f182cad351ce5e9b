"""What commands print: values and tables, as text or as JSON, and what went wrong."""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from rota import show


def say(options: argparse.Namespace, value: Any, text: str) -> None:
    """Print a value: as JSON if that is wanted, else as this text."""
    sys.stdout.write(f"{show.json_line(value) if options.json else text}\n")
    sys.stdout.flush()


def say_all(options: argparse.Namespace, values: Sequence[Any], table: str) -> None:
    """Print values: as a line of JSON each if that is wanted, else as this table."""
    for value in values if options.json else [table]:
        say(options, value, table)


def complain(text: str) -> int:
    """Print what went wrong, and return the exit status that says so."""
    sys.stderr.write(f"rota: {text}\n")
    return 1


def remark(text: str) -> None:
    """Print what is worth knowing, though nothing went wrong."""
    complain(text)


class Line:
    """A line of the terminal that is written over, and removed at the end; nothing if stderr is no terminal."""

    def __init__(self) -> None:
        self.wanted = sys.stderr.isatty()
        self._written = False

    def show(self, text: str) -> None:
        """Show this in place of what was there."""
        if self.wanted:
            sys.stderr.write(f"\r{text}\x1b[K")
            sys.stderr.flush()
            self._written = True

    def clear(self) -> None:
        """Remove it."""
        if self._written:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._written = False
