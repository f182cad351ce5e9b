"""A graph as boxes and lines on a terminal, from the top down."""

from collections.abc import Sequence
from math import floor

from msgspec import Struct

from rota.graph import Graph, Node
from rota.graph_layout import Layout, Room, spread
from rota.graph_lines import DOWN, LEFT, NEAR, RIGHT, UP, WAYS, draw_nets, nets_below
from rota.graph_looks import STYLES, SYMBOLS
from rota.terminal import Canvas, cut, printable, width_of

GAP = 2
LANE = 1
MAX_NAME = 32
MAX_DETAIL = 32
PADDING = 2
"""A border and a space on each side."""
LIGHT, HEAVY = "┌─┐│└┘┴┬", "┏━┓┃┗┛┷┯"
"""Corners, sides, and where lines come in and out."""
EVEN = 0.001
"""What middles may differ by that are the same."""


class Box(Struct, frozen=True):
    """A job, what is written in its box, and how wide that makes it: so that it has a middle."""

    node: Node
    lines: list[str]
    width: int


def boxes(graph: Graph, layout: Layout, width: int) -> Canvas | None:
    """Return a drawing that is no wider than so many columns, or None if there is none."""
    width -= 1  # beside a lane at the border there is a place where it may come in
    details = any(node.detail for node in graph.nodes)
    shapes = [_box(node, details=details) for node in graph.nodes]
    sizes = [box.width for box in shapes] + [LANE] * len(layout.lanes)
    if any(sum(sizes[one] + GAP for one in layer) - GAP > width for layer in layout.layers):
        return None
    columns = [floor(middle + EVEN) for middle in spread(layout, Room(sizes, GAP, width))]
    _straighten(layout, columns, sizes, width)
    height = len(shapes[0].lines) + 2
    canvas, row = Canvas(), 0
    entries: dict[int, list[int]] = {}
    """The columns at which lines come into what is in the layer."""
    for layer in layout.layers:
        for one in layer:
            if one < len(shapes):
                exits = [columns[one]] if layout.below[one] else []
                _draw_box(canvas, (row, columns[one]), shapes[one], entries.get(one, []), exits)
            else:
                _draw_lane(canvas, (row, columns[one]), height, entries[one][0])
        row += height
        nets = nets_below(layer, layout, columns, sizes)
        if nets is None:
            return None
        entries = {}
        for net in nets:
            for target, port in net.ports.items():
                entries.setdefault(target, []).append(port)
        row += draw_nets(canvas, row, nets)
    return canvas


def _box(node: Node, *, details: bool) -> Box:
    lines = [f"{SYMBOLS[node.status]} {cut(printable(node.name), MAX_NAME)}"]
    if details:
        lines.append(f"  {cut(printable(node.detail), MAX_DETAIL)}".rstrip())
    width = max(map(width_of, lines)) + 2 * PADDING
    return Box(node, lines, width + 1 - width % 2)


def _draw_box(
    canvas: Canvas, place: tuple[int, int], box: Box, entries: Sequence[int], exits: Sequence[int]
) -> None:
    """Draw a box from a row on around a column, and where lines come in and out."""
    row, column = place
    style = STYLES[box.node.status]
    frame = HEAVY if box.node.critical else LIGHT
    left, inner = column - box.width // 2, box.width - 2
    bottom = row + len(box.lines) + 1
    canvas.put(row, left, frame[0] + frame[1] * inner + frame[2], style)
    canvas.put(bottom, left, frame[4] + frame[1] * inner + frame[5], style)
    for number, line in enumerate(box.lines, 1):
        canvas.put(row + number, left, frame[3] + " " * inner + frame[3], style)
        canvas.put(row + number, left + PADDING, line, style if number == 1 else "dim")
    for entry in entries:
        canvas.put(row, entry, frame[6], style)
    for exit_ in exits:
        canvas.put(bottom, exit_, frame[7], style)


def _draw_lane(canvas: Canvas, place: tuple[int, int], height: int, entry: int) -> None:
    """Draw what passes by a layer, from where it comes in to its own column."""
    row, column = place
    for more in range(height):
        canvas.put(row + more, column, WAYS[UP | DOWN], "dim")
    if entry != column:
        canvas.put(row, entry, WAYS[UP | (RIGHT if entry < column else LEFT)], "dim")
        canvas.put(row, column, WAYS[DOWN | (LEFT if entry < column else RIGHT)], "dim")


def _straighten(layout: Layout, columns: list[int], sizes: Sequence[int], width: int) -> None:
    """Move what stands nearly below what it comes after to below it, where there is room."""
    for layer in layout.layers:
        lefts = [columns[one] - sizes[one] // 2 for one in layer] + [width + GAP]
        free = 0
        for place, one in enumerate(layer):
            near = [columns[other] for other in layout.above[one] if abs(columns[other] - columns[one]) <= NEAR]
            half = sizes[one] // 2
            if near and free <= near[0] - half and near[0] + half + GAP < lefts[place + 1]:
                columns[one] = near[0]
            free = columns[one] + half + 1 + GAP
