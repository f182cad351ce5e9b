"""A graph as the text of a Mermaid flowchart."""

import json
import re
from collections.abc import Iterator

from rota.graph import Edge, Graph, Node, NodeKind
from rota.graph_looks import COLOURS, CRITICAL, SYMBOLS, TEXT
from rota.terminal import printable

MAX_EDGES = 500
MAX_CHARACTERS = 50_000
"""What Mermaid draws where nobody has raised its limits, `maxEdges` and `maxTextSize`."""

SHAPES: dict[NodeKind, tuple[str, str]] = {"job": ("[", "]"), "fan_out": ("[[", "]]"), "batch": ("[(", ")]")}
SPECIAL = re.compile(r"[^\w .,:;/()+=…-]")


def mermaid(graph: Graph) -> str:
    """Return a graph as text; names are never read as anything else, whatever is in them."""
    return "\n".join(_lines(graph)) + "\n"


def too_large(graph: Graph, text: str) -> bool:
    """Say whether Mermaid draws the text of a graph only where its limits were raised."""
    return len(graph.edges) > MAX_EDGES or len(text) > MAX_CHARACTERS


def _lines(graph: Graph) -> Iterator[str]:
    title = printable(f"{graph.title}, {graph.says}" if graph.says else graph.title)
    yield from ("---", f"title: {json.dumps(title, ensure_ascii=False)}", "---", "flowchart LR")
    for number, node in enumerate(graph.nodes):
        yield f"    j{number}{_box(node)}:::{node.status}"
    for edge in graph.edges:
        yield f"    j{edge.source} {_arrow(edge)} j{edge.target}"
    for status in sorted({node.status for node in graph.nodes}):
        colours = COLOURS[status]
        yield f"    classDef {status} fill:{colours.fill},stroke:{colours.stroke},color:{TEXT}"
    if nodes := [f"j{number}" for number, node in enumerate(graph.nodes) if node.critical]:
        yield "    classDef critical stroke-width:4px"
        yield f"    class {','.join(nodes)} critical"
    if edges := [str(number) for number, edge in enumerate(graph.edges) if edge.critical]:
        yield f"    linkStyle {','.join(edges)} stroke:{CRITICAL},stroke-width:3px"


def _box(node: Node) -> str:
    opens, closes = SHAPES[node.kind]
    lines = [f"{SYMBOLS[node.status]} {_escaped(node.name)}"]
    if node.detail:
        lines.append(_escaped(node.detail))
    return f'{opens}"{"<br/>".join(lines)}"{closes}'


def _arrow(edge: Edge) -> str:
    return "-->" if edge.data else "-.->"


def _escaped(text: str) -> str:
    """Return a text for between quotes: what could mean something to Mermaid or in HTML stands as its number."""
    return SPECIAL.sub(lambda found: f"#{ord(found[0])};", printable(text))
