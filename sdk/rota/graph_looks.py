"""How the states of jobs look in drawings."""

from msgspec import Struct

from rota.graph import NodeStatus
from rota.terminal import Style

SYMBOLS: dict[NodeStatus, str] = {
    "planned": "○",
    "waiting": "○",
    "scheduled": "↻",
    "queued": "◌",
    "running": "●",
    "succeeded": "✓",
    "failed": "✗",
    "timed_out": "◷",
    "cancelled": "⊘",
    "skipped": "↷",
}
STYLES: dict[NodeStatus, Style] = {
    "planned": "plain",
    "waiting": "dim",
    "scheduled": "yellow",
    "queued": "yellow",
    "running": "blue",
    "succeeded": "green",
    "failed": "red",
    "timed_out": "red",
    "cancelled": "magenta",
    "skipped": "dim",
}
"""On a terminal."""


class Colours(Struct, frozen=True):
    """Of a box in a picture."""

    fill: str
    stroke: str


COLOURS: dict[NodeStatus, Colours] = {
    "planned": Colours("#f6f8fa", "#57606a"),
    "waiting": Colours("#f6f8fa", "#8c959f"),
    "scheduled": Colours("#fff8c5", "#9a6700"),
    "queued": Colours("#fff8c5", "#9a6700"),
    "running": Colours("#ddf4ff", "#0969da"),
    "succeeded": Colours("#dafbe1", "#1a7f37"),
    "failed": Colours("#ffebe9", "#cf222e"),
    "timed_out": Colours("#ffebe9", "#a40e26"),
    "cancelled": Colours("#fbefff", "#8250df"),
    "skipped": Colours("#eaeef2", "#8c959f"),
}
TEXT = "#1f2328"
FAINT = "#57606a"
"""For what is less important."""
CRITICAL = "#bc4c00"
"""For edges of the critical path."""


def state(status: str) -> str:
    """Return a state as people read it."""
    return status.replace("_", " ")
