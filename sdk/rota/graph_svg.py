"""A graph as a picture from left to right: an SVG that has no scripts, and nothing from elsewhere."""

from collections import Counter
from collections.abc import Iterator, Sequence
from xml.sax.saxutils import escape

from msgspec import Struct

from rota.graph import Edge, Graph, Node
from rota.graph_layout import Layout, Room, arrange, spread
from rota.graph_looks import COLOURS, CRITICAL, FAINT, SYMBOLS, TEXT, state
from rota.terminal import cut, printable, width_of

MARGIN = 24.0
HEAD = 72.0
"""Height of the title and what is below it."""
LINE = 18.0
BOX_GAP = 14.0
LAYER_GAP = 64.0
LANE = 6.0
PADDING = 12.0
STACK = 4.0
"""By how much the boxes of a fan-out stand out behind each other."""
MAX_NAME = 32
NAME_WIDTH = 8.0
"""Of a character, about, so that no font makes a name wider than its box."""
DETAIL_WIDTH = 6.8
TITLE_WIDTH = 11.5

STYLE = f"""
svg {{ font-family: system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; font-size: 13px }}
text {{ fill: {TEXT} }}
.title {{ font-size: 18px; font-weight: 600 }}
.detail, .says {{ font-size: 11px; fill: {FAINT} }}
rect {{ stroke-width: 1.5 }}
.edge {{ fill: none; stroke: #8c959f; stroke-width: 1.5; marker-end: url(#rota-arrow) }}
.edge.after {{ stroke-dasharray: 5 4 }}
.edge.critical {{ stroke: {CRITICAL}; stroke-width: 2.5; marker-end: url(#rota-arrow-critical) }}
.critical .name {{ font-weight: 600 }}
.critical rect {{ stroke-width: 3 }}
"""


class Place(Struct, frozen=True):
    """Where a box is."""

    left: float
    top: float
    width: float
    height: float

    @property
    def middle(self) -> float:
        """How far down its middle is."""
        return self.top + self.height / 2


def svg(graph: Graph) -> str:
    """Return a graph as an SVG document, in time as it has jobs and edges; all texts are shown as they are."""
    layout = arrange(len(graph.nodes), [(edge.source, edge.target) for edge in graph.edges])
    height = 2 * PADDING + LINE * (2 if any(node.detail for node in graph.nodes) else 1)
    sizes = [height] * len(graph.nodes) + [LANE] * len(layout.lanes)
    middles = spread(layout, Room(sizes, BOX_GAP))
    lefts, widths = _columns(graph, layout)
    places = [
        Place(lefts[layer], HEAD + middle - size / 2, widths[layer], size)
        for layer, middle, size in zip(layout.layer_of, middles, sizes, strict=True)
    ]
    texts = (TITLE_WIDTH * width_of(printable(graph.title)), DETAIL_WIDTH * width_of(_legend(graph)))
    right = max(*(place.left + place.width for place in places), *(MARGIN + text for text in texts)) + MARGIN
    bottom = max((place.top + place.height for place in places), default=HEAD) + MARGIN
    return "\n".join(_lines(graph, layout, places, (right, bottom))) + "\n"


def _columns(graph: Graph, layout: Layout) -> tuple[list[float], list[float]]:
    """Return where each layer begins, and how wide its boxes are."""
    lefts, widths, at = [], [], MARGIN
    for layer in layout.layers:
        width = max((_width(graph.nodes[one]) for one in layer if one < len(graph.nodes)), default=0.0)
        lefts.append(at)
        widths.append(width)
        at += width + LAYER_GAP
    return lefts, widths


def _width(node: Node) -> float:
    name = NAME_WIDTH * (min(width_of(printable(node.name)), MAX_NAME) + 2)
    return round(max(name, DETAIL_WIDTH * min(width_of(printable(node.detail)), MAX_NAME)) + 2 * PADDING, 1)


def _lines(graph: Graph, layout: Layout, places: Sequence[Place], size: tuple[float, float]) -> Iterator[str]:
    width, height = size
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" '
        f'viewBox="0 0 {width:g} {height:g}" role="img">'
    )
    yield f"<title>{_text(graph.title)}</title>"
    statuses = [status for status in COLOURS if any(node.status == status for node in graph.nodes)]
    yield (
        f"<style>{STYLE}"
        + "".join(
            f".{status} rect {{ fill: {COLOURS[status].fill}; stroke: {COLOURS[status].stroke} }}\n"
            for status in statuses
        )
        + "</style>"
    )
    yield f"<defs>{_arrow('rota-arrow', '#8c959f')}{_arrow('rota-arrow-critical', CRITICAL)}</defs>"
    yield f'<rect width="{width:g}" height="{height:g}" fill="#ffffff"/>'
    yield f'<text class="title" x="{MARGIN:g}" y="32">{_text(graph.title)}</text>'
    yield f'<text class="says" x="{MARGIN:g}" y="52">{_text(_legend(graph))}</text>'
    # The critical path is drawn over the others, and boxes over lines.
    for edge in sorted(graph.edges, key=lambda edge: edge.critical):
        yield _edge(edge, layout, places)
    for node, place in zip(graph.nodes, places, strict=False):
        yield _box(node, place)
    yield "</svg>"


def _legend(graph: Graph) -> str:
    counts = Counter(node.status for node in graph.nodes)
    states = [f"{SYMBOLS[one]} {counts[one]:,} {state(one)}" for one in COLOURS if counts[one] and one != "planned"]
    return " · ".join([*filter(None, [printable(graph.says)]), *states])


def _arrow(id_: str, colour: str) -> str:
    return (
        f'<marker id="{id_}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" '
        f'markerUnits="userSpaceOnUse" orient="auto"><path d="M0 0L8 4L0 8z" fill="{colour}"/></marker>'
    )


def _edge(edge: Edge, layout: Layout, places: Sequence[Place]) -> str:
    """Return a line from one box to another, which is level where it passes by a layer."""
    source = places[edge.source]
    x, y = source.left + source.width, source.middle
    path = [f"M{x:.1f} {y:.1f}"]
    for one in (*layout.way(edge.source, edge.target), edge.target):
        place = places[one]
        bend = (x + place.left) / 2
        path.append(f"C{bend:.1f} {y:.1f} {bend:.1f} {place.middle:.1f} {place.left:.1f} {place.middle:.1f}")
        x, y = place.left + place.width, place.middle
        if one != edge.target:
            path.append(f"H{x:.1f}")
    classes = ["edge", *["after"] * (not edge.data), *["critical"] * edge.critical]
    return f'<path class="{" ".join(classes)}" d="{"".join(path)}"/>'


def _box(node: Node, place: Place) -> str:
    classes = ["job", node.status, *["critical"] * node.critical]
    name = cut(printable(node.name), MAX_NAME)
    left, top = place.left, place.top
    parts = [f'<g class="{" ".join(classes)}">', f"<title>{_text(node.says or node.name)}</title>"]
    if node.kind == "fan_out":
        parts.append(_rect(place, STACK))
    parts.append(_rect(place, 0.0))
    down = top + PADDING + LINE * 0.75 if node.detail else place.middle + LINE * 0.25
    parts.append(
        f'<text class="name" x="{left + PADDING:.1f}" y="{down:.1f}">{SYMBOLS[node.status]} {_text(name)}</text>'
    )
    if node.detail:
        detail = _text(cut(printable(node.detail), MAX_NAME))
        parts.append(f'<text class="detail" x="{left + PADDING:.1f}" y="{down + LINE:.1f}">{detail}</text>')
    return "".join([*parts, "</g>"])


def _rect(place: Place, shift: float) -> str:
    return (
        f'<rect x="{place.left + shift:.1f}" y="{place.top - shift:.1f}" width="{place.width:.1f}" '
        f'height="{place.height:.1f}" rx="6"/>'
    )


def _text(text: str) -> str:
    return escape("\n".join(map(printable, text.split("\n"))))
