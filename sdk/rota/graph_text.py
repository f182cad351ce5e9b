"""A graph as lines of text: with boxes if that is no wider than a terminal, else as a list."""

from rota.graph import Graph
from rota.graph_boxes import boxes
from rota.graph_layout import arrange
from rota.graph_list import listed

WIDTH = 80
MAX_BOXES = 100
"""With more of them nobody follows the lines."""


def text_lines(graph: Graph, width: int = WIDTH, *, colour: bool = False) -> list[str]:
    """Return a graph as lines of no more than so many columns."""
    layout = arrange(len(graph.nodes), [(edge.source, edge.target) for edge in graph.edges])
    canvas = boxes(graph, layout, width) if len(graph.nodes) <= MAX_BOXES else None
    return canvas.lines(colour=colour) if canvas else listed(graph, layout, width, colour=colour)
