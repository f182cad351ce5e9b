"""A graph as a list of its layers, each set in further than the one before: for graphs too wide for boxes."""

from collections import Counter
from collections.abc import Iterator, Sequence

from rota.graph import Graph, Node, NodeStatus
from rota.graph_layout import Layout
from rota.graph_looks import STYLES, SYMBOLS, state
from rota.terminal import Style, cut, paint, printable, width_of

MAX_JOBS = 200
"""Of more jobs the layers are counted, and only those in trouble are named."""
MAX_GROUPS = 40
"""More layers are told of several at a time."""
MAX_INDENT = 24
MAX_NAMED = 3
TROUBLE: tuple[NodeStatus, ...] = ("failed", "timed_out", "cancelled")
STATES: tuple[NodeStatus, ...] = tuple(SYMBOLS)


def listed(graph: Graph, layout: Layout, width: int, *, colour: bool) -> list[str]:
    """Return a graph as lines, cut to so many columns."""
    layers = [sorted(one for one in layer if one < len(graph.nodes)) for layer in layout.layers]
    lines = _jobs(graph, layers) if len(graph.nodes) <= MAX_JOBS else _groups(graph, layers)
    return [_line(parts, width, colour=colour) for parts in lines]


Parts = list[tuple[str, Style]]


def _jobs(graph: Graph, layers: Sequence[Sequence[int]]) -> Iterator[Parts]:
    """Yield a line a job: its layer, state and name, and what it comes after."""
    before: dict[int, list[str]] = {}
    for edge in graph.edges:
        before.setdefault(edge.target, []).append(graph.nodes[edge.source].name)
    digits = len(str(len(layers)))
    for number, layer in enumerate(layers, 1):
        indent = " " * min(2 * number, MAX_INDENT)
        for place, one in enumerate(layer):
            node = graph.nodes[one]
            head = f"{number:>{digits}}" if not place else " " * digits
            parts: Parts = [(head + indent, "dim"), _named(node)]
            if node.detail:
                parts.append((f"  {printable(node.detail)}", "plain"))
            if names := before.get(one):
                parts.append((f"  ← {_some(names)}", "dim"))
            yield parts


def _groups(graph: Graph, layers: Sequence[Sequence[int]]) -> Iterator[Parts]:
    """Yield a line for one or several layers, and below it what is in trouble there."""
    together = -(-len(layers) // MAX_GROUPS)
    starts = range(0, len(layers), together)
    heads = [
        f"{start + 1}" if together == 1 else f"{start + 1}-{min(start + together, len(layers))}" for start in starts
    ]
    wide = max(map(len, heads), default=0)
    for head, start in zip(heads, starts, strict=True):
        nodes = [graph.nodes[one] for layer in layers[start : start + together] for one in layer]
        parts: Parts = [(f"{head:>{wide}}  ", "dim")]
        if len(nodes) <= MAX_NAMED:
            for node in nodes:
                parts += [_named(node), ("  ", "plain")]
            yield parts
            continue
        counts = Counter(node.status for node in nodes)
        parts.append((f"{len(nodes):,} jobs", "plain"))
        if counts.keys() != {"planned"}:
            for status in STATES:
                if number := counts[status]:
                    parts += [("  ", "plain"), (f"{SYMBOLS[status]} {number:,} {state(status)}", STYLES[status])]
        yield parts
        for status in TROUBLE:
            if names := [node.name for node in nodes if node.status == status]:
                yield [(" " * (wide + 4), "plain"), (f"{SYMBOLS[status]} {_some(names)}", STYLES[status])]


def _named(node: Node) -> tuple[str, Style]:
    return f"{SYMBOLS[node.status]} {printable(node.name)}", "bold" if node.critical else STYLES[node.status]


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(map(printable, names[:MAX_NAMED]))
    return f"{shown} and {len(names) - MAX_NAMED:,} more" if len(names) > MAX_NAMED else shown


def _line(parts: Parts, width: int, *, colour: bool) -> str:
    """Return the parts of a line, cut where it is too long."""
    found, left = "", width
    for text, style in parts:
        if left > 0:
            shown = cut(text, left)
            found += paint(shown, style, colour=colour)
            left -= width_of(shown)
    return found.rstrip()
