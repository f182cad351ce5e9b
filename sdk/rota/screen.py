"""The end of what a terminal shows, drawn anew again and again."""

import shutil
import sys
from collections.abc import Sequence

MORE = "…"


class Screen:
    """Lines that are written over, and removed at the end; nothing if stdout is no terminal."""

    def __init__(self) -> None:
        self.wanted = sys.stdout.isatty()
        self._shown = 0

    def show(self, lines: Sequence[str]) -> None:
        """Show these in place of what was there: as many as there is room for."""
        if not self.wanted:
            return
        room = max(2, shutil.get_terminal_size().lines - 1)
        if len(lines) > room:
            lines = [*lines[: room - 1], MORE]
        self.clear()
        sys.stdout.write("".join(f"{line}\n" for line in lines))
        sys.stdout.flush()
        self._shown = len(lines)

    def clear(self) -> None:
        """Remove them."""
        if self._shown:
            sys.stdout.write(f"\x1b[{self._shown}A\x1b[J")
            sys.stdout.flush()
            self._shown = 0
