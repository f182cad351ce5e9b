"""The lines between two layers of boxes on a terminal.

Lines come out of the middle of a box, run along a track between the layers, and go down into other boxes. Lines of
jobs that lead to the same others are one. Other lines share no place but where they cross: there the one from above
goes on, and the other is interrupted.
"""

from collections.abc import Iterator, Sequence

from msgspec import Struct

from rota.graph_layout import Layout
from rota.terminal import Canvas

WAYS = " ╵╶└╷│┌├╴┘─┴┐┤┬┼"
"""Characters by the ways that lead out of them."""
UP, RIGHT, DOWN, LEFT = 1, 2, 4, 8
NEAR = 2
"""Columns by which nobody wants a line to be bent."""


class Net(Struct, frozen=True):
    """Lines between two layers that are one: from the columns of its sources to those of its targets."""

    sources: list[int]
    """Columns."""
    ports: dict[int, int]
    """Columns by targets."""

    @property
    def first(self) -> int:
        """The column that is left of all."""
        return min(*self.sources, *self.ports.values())

    @property
    def last(self) -> int:
        """The column that is right of all."""
        return max(*self.sources, *self.ports.values())


def nets_below(
    layer: Sequence[int], layout: Layout, columns: Sequence[int], sizes: Sequence[int]
) -> list[Net] | None:
    """Return the lines below a layer, or None if there is too little room for them to come in."""
    grouped: dict[tuple[int, ...], list[int]] = {}
    for one in layer:
        if layout.below[one]:
            grouped.setdefault(tuple(sorted(layout.below[one])), []).append(columns[one])
    nets = [Net(sources, {}) for sources in grouped.values()]
    into: dict[int, list[Net]] = {}
    for targets, net in zip(grouped, nets, strict=True):
        for target in targets:
            into.setdefault(target, []).append(net)
    out = {column for net in nets for column in net.sources}
    for target, some in into.items():
        some.sort(key=lambda net: sum(net.sources) / len(net.sources))
        reach = max(1, sizes[target] // 2 - 1)
        taken = max(-1, columns[target] - reach - 1)
        for number, net in enumerate(some):
            wanted = columns[target] + 2 * number - (len(some) - 1)
            foreign = out.difference(net.sources)
            free = [column for column in range(taken + 1, columns[target] + reach + 1) if column not in foreign]
            if not free:
                return None
            straight = [column for column in free if column in net.sources and abs(column - wanted) <= NEAR]
            taken = net.ports[target] = min(straight or free, key=lambda column: abs(column - wanted))
    return nets


def draw_nets(canvas: Canvas, row: int, nets: Sequence[Net]) -> int:
    """Draw the lines between two layers, and return how many rows they take."""
    tracks = _tracks(nets)
    rows = max(tracks, default=-1) + 1
    if not nets:
        return 0
    rows = max(1, rows)
    places: dict[tuple[int, int], tuple[int, int]] = {}
    """The net and the ways of each place."""
    for number, (net, track) in enumerate(zip(nets, tracks, strict=True)):
        for at, column, ways in _ways(net, track, rows):
            other, before = places.get((at, column), (number, 0))
            if other == number:
                places[at, column] = (number, before | ways)
            elif ways & (UP | DOWN):
                places[at, column] = (number, ways)
    for (at, column), (_, ways) in places.items():
        canvas.put(row + at, column, WAYS[ways], "dim")
    return rows


def _tracks(nets: Sequence[Net]) -> list[int]:
    """Return for each net the row in which it goes sideways, -1 for those that do not; no two share a place."""
    tracks = [-1] * len(nets)
    sideways = [number for number, net in enumerate(nets) if net.first < net.last]
    costs = {
        number: sum(_crossed(nets[number], nets[other]) - _crossed(nets[other], nets[number]) for other in sideways)
        for number in sideways
    }
    done: list[int] = []
    for number in sorted(sideways, key=costs.__getitem__):
        net = nets[number]
        beside = [one for one in done if nets[one].first <= net.last + 1 and net.first <= nets[one].last + 1]
        tracks[number] = max((tracks[one] for one in beside), default=-1) + 1
        done.append(number)
    return tracks


def _crossed(upper: Net, lower: Net) -> int:
    """Return how often one net crosses another if it goes sideways above it."""
    down = sum(lower.first < port < lower.last for port in upper.ports.values())
    return down + sum(upper.first < source < upper.last for source in lower.sources)


def _ways(net: Net, track: int, rows: int) -> Iterator[tuple[int, int, int]]:
    """Yield row, column and ways of what a net is drawn of: first sideways, so that what goes down crosses it."""
    if track < 0:
        yield from ((row, net.first, UP | DOWN) for row in range(rows))
        return
    for column in range(net.first, net.last + 1):
        yield track, column, LEFT * (column > net.first) | RIGHT * (column < net.last)
    for column in net.sources:
        yield from ((row, column, UP | DOWN) for row in range(track))
        yield track, column, UP
    for column in net.ports.values():
        yield track, column, DOWN
        yield from ((row, column, UP | DOWN) for row in range(track + 1, rows))
