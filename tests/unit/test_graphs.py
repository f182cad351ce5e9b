"""Graphs of workflows: their layers, and how they are drawn as text, as a picture and for Mermaid."""

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, get_args
from xml.etree import ElementTree as ET

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from rota.graph import Edge, Graph, Node, NodeStatus
from rota.graph_boxes import boxes
from rota.graph_layout import CycleError, Room, arrange, crossings, layers_of, spread
from rota.graph_lines import DOWN, LEFT, RIGHT, UP, WAYS
from rota.graph_looks import COLOURS, STYLES, SYMBOLS
from rota.graph_mermaid import mermaid, too_large
from rota.graph_svg import svg
from rota.graph_text import text_lines
from rota.terminal import width_of

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "a\x1b[31m\x00<script>alert('x')</script>\"];\n```--> end #quot; & ]]> \u202e 名前"

edge_lists = st.integers(1, 9).flatmap(
    lambda count: st.tuples(
        st.just(count),
        st.sets(
            st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)).filter(lambda one: one[0] < one[1])
        ),
    )
)


def graph(names: str, edges: str = "", *, title: str = "flow", **fields: dict[str, Any]) -> Graph:
    """Return a graph of names, chains as `a>b,c>d`, and fields of nodes by their names."""
    numbers = {name: number for number, name in enumerate(names.split())}
    found = [
        Edge(numbers[source], numbers[target])
        for chain in edges.split()
        for before, after in pairwise(chain.split(">"))
        for source in before.split(",")
        for target in after.split(",")
    ]
    nodes = [Node(name, **{field: of[name] for field, of in fields.items() if name in of}) for name in numbers]
    return Graph(title, nodes, found)


def drawn(text: str) -> list[str]:
    return text.strip("\n").split("\n")


def test_a_job_is_one_layer_below_the_last_of_those_that_it_comes_after() -> None:
    edges = [(0, 1), (1, 2), (0, 2), (0, 3), (3, 4), (2, 4)]
    assert layers_of(6, edges) == [0, 1, 2, 1, 3, 0]


def test_jobs_that_wait_for_each_other_have_no_order_and_are_named_in_it() -> None:
    with pytest.raises(CycleError) as info:
        layers_of(6, [(0, 1), (1, 2), (2, 3), (3, 1), (3, 4), (5, 4)])
    cycle = info.value.nodes
    assert sorted(cycle) == [1, 2, 3]
    assert set(pairwise([*cycle, cycle[0]])) == {(1, 2), (2, 3), (3, 1)}


def test_edges_over_several_layers_share_the_lanes_of_their_source() -> None:
    layout = arrange(5, [(0, 1), (1, 2), (2, 3), (3, 4), (0, 3), (0, 4)])
    assert [len(layer) for layer in layout.layers] == [1, 2, 2, 2, 1]
    assert layout.way(0, 3) == layout.way(0, 4)[:2]
    assert layout.way(0, 1) == []


def test_layers_are_ordered_so_that_fewer_edges_cross() -> None:
    edges = [(0, 5), (1, 4), (2, 3), (5, 6), (4, 7), (3, 8)]
    layout = arrange(9, edges)
    in_order = [sorted(layer) for layer in layout.layers]
    assert (crossings(in_order, layout.below), crossings(layout.layers, layout.below)) == (6, 0)


@given(edge_lists, st.lists(st.integers(1, 9), min_size=40, max_size=40))
def test_nothing_in_a_layer_overlaps_or_leaves_the_room(
    given_: tuple[int, set[tuple[int, int]]], widths: list[int]
) -> None:
    layout = arrange(*given_)
    sizes = [float(widths[one % len(widths)]) for one in range(len(layout.layer_of))]
    needed = max(sum(sizes[one] + 2 for one in layer) - 2 for layer in layout.layers)
    middles = spread(layout, Room(sizes, 2, needed + 1))
    for layer in layout.layers:
        for left, right in pairwise(layer):
            assert middles[right] - sizes[right] / 2 >= middles[left] + sizes[left] / 2 + 2 - 1e-5
        assert middles[layer[0]] - sizes[layer[0]] / 2 >= -1e-5
        assert middles[layer[-1]] + sizes[layer[-1]] / 2 <= needed + 1 + 1e-5


def test_a_diamond_is_drawn_with_the_state_of_each_job_and_its_critical_path_in_bold() -> None:
    status = {"fetch": "succeeded", "clean": "running", "stats": "failed", "load": "waiting"}
    critical = dict.fromkeys(("fetch", "clean", "load"), True)
    diamond = graph("fetch clean stats load", "fetch>clean,stats>load", status=status, critical=critical)
    assert text_lines(diamond) == drawn("""
       ┏━━━━━━━━━┓
       ┃ ✓ fetch ┃
       ┗━━━━┯━━━━┛
     ┌──────┴─────┐
┏━━━━┷━━━━┓  ┌────┴────┐
┃ ● clean ┃  │ ✗ stats │
┗━━━━┯━━━━┛  └────┬────┘
     └──────┬─────┘
       ┏━━━━┷━━━━┓
       ┃ ○ load  ┃
       ┗━━━━━━━━━┛
""")


def test_lines_to_the_same_jobs_are_one_and_what_is_told_of_a_job_stands_in_its_box() -> None:
    fan = graph("split a b c gather", "split>a,b,c>gather", detail={"split": "1.2 s", "b": "attempt 2"})
    assert text_lines(fan) == drawn("""
           ┌─────────┐
           │ ○ split │
           │   1.2 s │
           └────┬────┘
   ┌────────────┼────────────┐
┌──┴──┐  ┌──────┴──────┐  ┌──┴──┐
│ ○ a │  │ ○ b         │  │ ○ c │
│     │  │   attempt 2 │  │     │
└──┬──┘  └──────┬──────┘  └──┬──┘
   └────────────┼────────────┘
          ┌─────┴─────┐
          │ ○ gather  │
          │           │
          └───────────┘
""")


def test_a_line_that_crosses_another_is_interrupted_there() -> None:
    assert text_lines(graph("a b c d e f", "a>d,e b>d,f c>e,f")) == drawn("""
┌─────┐  ┌─────┐  ┌─────┐
│ ○ a │  │ ○ b │  │ ○ c │
└──┬──┘  └──┬──┘  └──┬──┘
   ├───────┐│        │
   │┌──────│┴───────┐│
   ││      │ ┌──────│┤
┌──┴┴─┐  ┌─┴─┴─┐  ┌─┴┴──┐
│ ○ d │  │ ○ e │  │ ○ f │
└─────┘  └─────┘  └─────┘
""")


def read(lines: Sequence[str]) -> set[tuple[str, str]]:
    """Return which boxes of a drawing its lines lead from and to, as somebody would read it."""
    places = {(row, column): one for row, line in enumerate(lines) for column, one in enumerate(line)}
    tops: dict[tuple[int, int], str] = {}
    exits: list[tuple[str, int, int]] = []
    for row, line in enumerate(lines):
        for found in re.finditer(r"[│┃] \S (\w+) *[│┃]", line):
            for column in range(*found.span()):
                tops[row - 1, column] = found[1]
                if places[row + 1, column] in "┬┯":
                    exits.append((found[1], row + 2, column))
    edges: set[tuple[str, str]] = set()
    for name, *exit_ in exits:
        todo, seen = [((exit_[0], exit_[1]), DOWN)], set()
        while todo:
            place, towards = at = todo.pop()
            if at in seen:
                continue
            seen.add(at)
            if place in tops:
                assert places[place] in "┴┷"
                edges.add((name, tops[place]))
                continue
            ways = WAYS.index(places[place])
            if not ways & BACK[towards]:
                assert ways == UP | DOWN  # it crosses another, and goes on behind it
                ways = towards
            todo += [(step(place, way), way) for way in (RIGHT, DOWN, LEFT) if ways & way & ~BACK[towards]]
    return edges


BACK = {UP: DOWN, RIGHT: LEFT, DOWN: UP, LEFT: RIGHT}


def step(place: tuple[int, int], way: int) -> tuple[int, int]:
    row, column = place
    return row + (way == DOWN), column + (way == RIGHT) - (way == LEFT)


@given(edge_lists, st.sets(st.integers(0, 8)))
def test_the_lines_lead_from_each_box_to_those_that_come_after_it_and_to_no_others(
    given_: tuple[int, set[tuple[int, int]]], critical: set[int]
) -> None:
    count, edges = given_
    nodes = [Node(f"job{number}" * (1 + number % 2), critical=number in critical) for number in range(count)]
    canvas = boxes(Graph("flow", nodes, [Edge(*edge) for edge in edges]), arrange(count, edges), 200)
    assume(canvas)
    assert canvas
    assert read(canvas.lines()) == {(nodes[source].name, nodes[target].name) for source, target in edges}


def test_what_is_too_wide_for_boxes_is_a_list_of_layers() -> None:
    names = [f"resize_{number}" for number in range(8)]
    wide = graph(
        f"split {' '.join(names)} gather",
        f"split>{','.join(names)}>gather",
        status={"split": "succeeded", **dict.fromkeys(names, "running")},
        detail={"split": "1.2 s"},
    )
    assert text_lines(wide) == [
        "1  ✓ split  1.2 s",
        *[f"{'2' * (not number) or ' '}    ● {name}  ← split" for number, name in enumerate(names)],
        "3      ○ gather  ← resize_0, resize_1, resize_2 and 5 more",
    ]
    assert text_lines(wide, 200)[0].strip().startswith("┌")


def test_of_very_many_jobs_the_layers_are_counted_and_those_in_trouble_named() -> None:
    names = [f"n{number}" for number in range(9998)]
    status: dict[str, NodeStatus] = {"split": "succeeded"}
    status |= {name: "succeeded" if number >= 5 else "failed" for number, name in enumerate(names)}
    nodes = [Node(name, status=status.get(name, "waiting")) for name in ("split", *names, "gather")]
    edges = [Edge(0, number) for number in range(1, 9999)] + [Edge(number, 9999) for number in range(1, 9999)]
    assert text_lines(Graph("flow", nodes, edges)) == [
        "1  ✓ split",
        "2  9,998 jobs  ✓ 9,993 succeeded  ✗ 5 failed",
        "     ✗ n0, n1, n2 and 2 more",
        "3  ○ gather",
    ]


def test_of_very_many_layers_several_are_one_line() -> None:
    nodes = [Node(f"n{number}", status="succeeded") for number in range(10_000)]
    lines = text_lines(Graph("flow", nodes, [Edge(number, number + 1) for number in range(9999)]))
    assert len(lines) == 40
    assert lines[0] == "     1-250  250 jobs  ✓ 250 succeeded"


@pytest.mark.parametrize("count", [2, 30, 300])
def test_no_line_is_wider_than_it_may_be_and_no_name_steers_the_terminal(count: int) -> None:
    nodes = [Node(HOSTILE * 5, status="failed", detail=HOSTILE, says=HOSTILE) for _ in range(count)]
    lines = text_lines(Graph(HOSTILE, nodes, [Edge(0, number) for number in range(1, count)]), 70)
    assert max(map(width_of, lines)) <= 70
    assert not re.search(r"[\x00-\x1f\x7f\u202e]", "".join(lines))


def test_colours_are_those_of_the_states_and_change_nothing_else() -> None:
    one = graph("a b", "a>b", status={"a": "failed", "b": "succeeded"})
    coloured = text_lines(one, colour=True)
    assert "\x1b[31m│ ✗ a │\x1b[m" in coloured
    assert [re.sub(r"\x1b\[\d*m", "", line) for line in coloured] == text_lines(one)


def test_each_state_has_a_look() -> None:
    states = {one for part in get_args(NodeStatus) for one in (get_args(part) or [part])}
    assert states == set(SYMBOLS) == set(STYLES) == set(COLOURS)
    assert all(map(width_of, SYMBOLS.values()))


def test_a_picture_has_a_box_with_state_and_tooltip_for_each_job_and_a_line_for_each_edge() -> None:
    nodes = [
        Node("a", "succeeded", detail="1.2 s", says="a: succeeded\nspec a", critical=True),
        Node("b", "running", kind="fan_out", critical=True),
        Node("c"),
    ]
    edges = [Edge(0, 1, critical=True), Edge(0, 2, data=False), Edge(1, 2)]
    root = ET.fromstring(svg(Graph("nightly", nodes, edges, "running")))
    assert root.findtext(f"{SVG}title") == "nightly"
    groups = root.findall(f"{SVG}g")
    assert [group.get("class") for group in groups] == [
        "job succeeded critical",
        "job running critical",
        "job planned",
    ]
    assert [[text.text for text in group.findall(f"{SVG}text")] for group in groups] == [
        ["✓ a", "1.2 s"],
        ["● b"],
        ["○ c"],
    ]
    assert groups[0].findtext(f"{SVG}title") == "a: succeeded\nspec a"
    assert [len(group.findall(f"{SVG}rect")) for group in groups] == [1, 2, 1]
    lines = [path.get("class") for path in root.findall(f"{SVG}path")]
    assert lines == ["edge after", "edge", "edge critical"]


def test_a_picture_is_well_formed_and_has_nothing_active_whatever_the_names_are() -> None:
    nodes = [Node(HOSTILE, "failed", detail=HOSTILE, says=HOSTILE), Node("b")]
    picture = svg(Graph(HOSTILE, nodes, [Edge(0, 1)], HOSTILE))
    root = ET.fromstring(picture)
    tags = {element.tag.removeprefix(SVG) for element in root.iter()}
    assert tags == {"svg", "title", "style", "defs", "marker", "path", "rect", "text", "g"}
    assert "<script>alert('x')</script>" in (root.findtext(f"{SVG}title") or "")
    assert "http" not in picture.removeprefix('<svg xmlns="http://www.w3.org/2000/svg"')


def test_boxes_of_a_picture_do_not_overlap_and_are_within_it() -> None:
    root = ET.fromstring(svg(graph("a b c d e f", "a>b,c,d>e a>e b>f c>f")))
    width, height = float(root.get("width", "0")), float(root.get("height", "0"))
    rects = [rect for group in root.findall(f"{SVG}g") for rect in group.findall(f"{SVG}rect")]
    places = [tuple(float(rect.get(name, "")) for name in ("x", "y", "width", "height")) for rect in rects]
    for number, (x, y, wide, high) in enumerate(places):
        assert 0 <= x <= width - wide
        assert 0 <= y <= height - high
        for left, top, wide_, high_ in places[:number]:
            assert x + wide <= left or left + wide_ <= x or y + high <= top or top + high_ <= y


def test_ten_thousand_jobs_are_drawn() -> None:
    nodes = [Node(f"n{number}", "waiting") for number in range(10_000)]
    edges = [Edge(number, number + 100) for number in range(9900)] + [Edge(0, 9999)]
    root = ET.fromstring(svg(Graph("flow", nodes, edges)))
    assert len(root.findall(f"{SVG}g")) == 10_000
    assert len(root.findall(f"{SVG}path")) == 9901
    assert len(text_lines(Graph("flow", nodes, edges))) < 100


def test_a_flowchart_for_mermaid_has_classes_for_states_and_the_critical_path() -> None:
    nodes = [
        Node("a", "succeeded", detail="1.2 s", critical=True),
        Node("b", "running", kind="fan_out", critical=True),
        Node("end", kind="batch"),
    ]
    edges = [Edge(0, 1, critical=True), Edge(0, 2, data=False)]
    assert mermaid(Graph("nightly", nodes, edges, "running")).splitlines() == [
        "---",
        'title: "nightly, running"',
        "---",
        "flowchart LR",
        '    j0["✓ a<br/>1.2 s"]:::succeeded',
        '    j1[["● b"]]:::running',
        '    j2[("○ end")]:::planned',
        "    j0 --> j1",
        "    j0 -.-> j2",
        "    classDef planned fill:#f6f8fa,stroke:#57606a,color:#1f2328",
        "    classDef running fill:#ddf4ff,stroke:#0969da,color:#1f2328",
        "    classDef succeeded fill:#dafbe1,stroke:#1a7f37,color:#1f2328",
        "    classDef critical stroke-width:4px",
        "    class j0,j1 critical",
        "    linkStyle 0 stroke:#bc4c00,stroke-width:3px",
    ]


def test_a_name_means_nothing_to_mermaid() -> None:
    text = mermaid(Graph(HOSTILE, [Node(HOSTILE, "failed", detail=HOSTILE)], []))
    assert text.count("\n") == 6
    (label,) = re.findall(r'j0\["(.*)"\]:::failed', text)
    assert not re.search(r"[<>\"'`&\[\]\x00-\x1f]", label.replace("<br/>", ""))
    assert "#60;script#62;" in label


def test_what_mermaid_draws_only_with_higher_limits_is_known() -> None:
    nodes = [Node(f"n{number}") for number in range(502)]
    few = Graph("flow", nodes, [Edge(0, number) for number in range(1, 501)])
    many = Graph("flow", nodes, [Edge(0, number) for number in range(1, 502)])
    assert [too_large(one, mermaid(one)) for one in (few, many)] == [False, True]
