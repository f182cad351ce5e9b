"""Where the jobs of a graph are drawn: in layers, each job one layer below the last of those that it comes after.

An edge over several layers has a lane in each of those between, that it shares with the others of its source. Nodes
and lanes are numbers: nodes those of the graph, lanes the numbers behind.
"""

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable, Sequence
from itertools import pairwise
from math import inf

from msgspec import Struct

SWEEPS = 8
MAX_LANES = 20_000
"""With more of them, long edges have none, and are drawn straight on."""
MAX_COUNTED = 20_000
"""Of more edges the crossings are not counted: after two sweeps the order is what it is."""


class CycleError(ValueError):
    """Jobs that come after each other; `nodes` are those of a cycle, each after the one before it."""

    def __init__(self, nodes: list[int]) -> None:
        super().__init__(f"the nodes {nodes} are a cycle")
        self.nodes = nodes


class Room(Struct, frozen=True):
    """What nodes and lanes take across their layers, how far they are apart at least, and how much there is."""

    sizes: Sequence[float]
    gap: float
    width: float = inf


class Layout(Struct, frozen=True):
    """Layers from the top, with what is in them from the left, and the edges between neighbouring layers."""

    layers: list[list[int]]
    below: list[list[int]]
    """For each node and lane those in the next layer that its edges lead to."""
    above: list[list[int]]
    lanes: dict[tuple[int, int], int]
    """The lane of a node in a layer."""
    layer_of: list[int]
    """Of nodes and lanes."""

    def way(self, source: int, target: int) -> list[int]:
        """Return the lanes that an edge goes through."""
        between = range(self.layer_of[source] + 1, self.layer_of[target])
        return [self.lanes[source, layer] for layer in between if (source, layer) in self.lanes]


def arrange(count: int, edges: Iterable[tuple[int, int]]) -> Layout:
    """Return the layers of so many nodes, ordered so that few edges cross; CycleError if they have no order.

    It takes time as nodes, lanes and edges are many, but for a logarithm.
    """
    distinct = sorted(set(edges))
    layer_of = layers_of(count, distinct)
    lanes = _lanes(layer_of, distinct)
    layer_of += [layer for _, layer in lanes]
    below: list[list[int]] = [[] for _ in layer_of]
    above: list[list[int]] = [[] for _ in layer_of]
    for source, target in _segments(layer_of, distinct, lanes):
        below[source].append(target)
        above[target].append(source)
    layers: list[list[int]] = [[] for _ in range(max(layer_of, default=-1) + 1)]
    for one, layer in enumerate(layer_of):
        layers[layer].append(one)
    return Layout(_ordered(layers, above, below), below, above, lanes, layer_of)


def layers_of(count: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    """Return for each node the number of edges on the longest way to it."""
    after: list[list[int]] = [[] for _ in range(count)]
    missing = [0] * count
    for source, target in edges:
        after[source].append(target)
        missing[target] += 1
    layer_of = [0] * count
    free = deque(node for node in range(count) if not missing[node])
    while free:
        node = free.popleft()
        for target in after[node]:
            layer_of[target] = max(layer_of[target], layer_of[node] + 1)
            missing[target] -= 1
            if not missing[target]:
                free.append(target)
    if any(missing):
        raise CycleError(_cycle(edges, missing))
    return layer_of


def spread(layout: Layout, room: Room) -> list[float]:
    """Return where the middle of each node and lane is across its layer, so that edges are short; from 0 on.

    They keep their order. All are within the room's width, if each layer fits in there.
    """
    sizes = room.sizes
    middles = [0.0] * len(sizes)
    for layer in layout.layers:
        _place(layer, dict.fromkeys(layer, 0.0), middles, room)
    for sweep in range(SWEEPS):
        downwards = sweep % 2 == 0
        near = layout.above if downwards else layout.below
        for layer in layout.layers if downwards else reversed(layout.layers):
            _place(layer, {one: _mean(near[one], middles, middles[one]) for one in layer}, middles, room)
    both = [[*layout.above[one], *layout.below[one]] for one in range(len(sizes))]
    for layer in layout.layers:
        _place(layer, {one: _mean(both[one], middles, middles[one]) for one in layer}, middles, room)
    left = min((middle - size / 2 for middle, size in zip(middles, sizes, strict=True)), default=0.0)
    return [middle - left for middle in middles]


def crossings(layers: Sequence[Sequence[int]], below: Sequence[Sequence[int]]) -> int:
    """Return how many pairs of edges between neighbouring layers cross."""
    found = 0
    for upper, lower in pairwise(layers):
        place = {one: number for number, one in enumerate(lower)}
        seen: list[int] = []
        for one in upper:
            ends = sorted(place[target] for target in below[one])
            found += sum(len(seen) - bisect_left(seen, end + 1) for end in ends)
            for end in ends:
                insort(seen, end)
    return found


def _cycle(edges: Sequence[tuple[int, int]], missing: Sequence[int]) -> list[int]:
    """Return a cycle among the nodes that miss others."""
    before = {target: source for source, target in edges if missing[source] and missing[target]}
    way: dict[int, int] = {}
    at = min(before)
    while at not in way:
        way[at] = len(way)
        at = before[at]
    return list(way)[way[at] :][::-1]


def _lanes(layer_of: Sequence[int], edges: Iterable[tuple[int, int]]) -> dict[tuple[int, int], int]:
    last: dict[int, int] = {}
    for source, target in edges:
        last[source] = max(last.get(source, 0), layer_of[target])
    if sum(layer - layer_of[source] - 1 for source, layer in last.items()) > MAX_LANES:
        return {}
    places = [(source, layer) for source, end in last.items() for layer in range(layer_of[source] + 1, end)]
    return {place: len(layer_of) + number for number, place in enumerate(places)}


def _segments(
    layer_of: Sequence[int], edges: Iterable[tuple[int, int]], lanes: dict[tuple[int, int], int]
) -> Iterable[tuple[int, int]]:
    """Return what edges are made of between neighbouring layers, each once."""
    found: dict[tuple[int, int], None] = {}
    for (source, layer), lane in lanes.items():
        found[lanes.get((source, layer - 1), source), lane] = None
    for source, target in edges:
        if (end := lanes.get((source, layer_of[target] - 1))) is not None:
            found[end, target] = None
        elif layer_of[source] + 1 == layer_of[target]:
            found[source, target] = None
    return found


def _ordered(layers: list[list[int]], above: list[list[int]], below: list[list[int]]) -> list[list[int]]:
    """Return the layers in the order with the fewest crossings that sweeps up and down have come by."""
    counted = sum(map(len, below)) <= MAX_COUNTED
    best, fewest = layers, crossings(layers, below) if counted else 1
    place = [0.0] * len(above)
    for layer in layers:
        _number(layer, place)
    for sweep in range(SWEEPS if counted else 2):
        if not fewest:
            break
        downwards = sweep % 2 == 0
        near = above if downwards else below
        layers = [list(layer) for layer in layers]
        for layer in layers if downwards else reversed(layers):
            wanted = {one: _mean(near[one], place, place[one]) for one in layer}
            layer.sort(key=wanted.__getitem__)
            _number(layer, place)
        count = crossings(layers, below) if counted else fewest
        if count < fewest or not counted:
            best, fewest = layers, count
    return best


def _number(layer: Sequence[int], place: list[float]) -> None:
    for number, one in enumerate(layer):
        place[one] = float(number)


def _mean(near: Sequence[int], places: Sequence[float], default: float) -> float:
    return sum(places[one] for one in near) / len(near) if near else default


def _place(layer: Sequence[int], wanted: dict[int, float], middles: list[float], room: Room) -> None:
    """Put what is in a layer as near to where it is wanted as its order and sizes allow, by least squares.

    Less what those before take, the places may only rise: where they would fall, neighbours are pooled. What would
    be outside then stands at the border.
    """
    before, at = {}, 0.0
    for one in layer:
        before[one] = at + room.sizes[one] / 2
        at += room.sizes[one] + room.gap
    pools: list[tuple[float, int]] = []
    for one in layer:
        mean, count = wanted[one] - before[one], 1
        while pools and pools[-1][0] >= mean:
            other, many = pools.pop()
            mean, count = (other * many + mean * count) / (many + count), many + count
        pools.append((mean, count))
    least, most = -room.width / 2, room.width / 2 - (at - room.gap)
    shifts = (max(least, min(most, mean)) for mean, count in pools for _ in range(count))
    for one, shift in zip(layer, shifts, strict=True):
        middles[one] = round(shift + before[one], 6)
