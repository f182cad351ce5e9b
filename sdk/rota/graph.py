"""The graph of a workflow, as it is drawn: jobs, what each comes after, and how it is with them."""

from typing import Literal

from msgspec import Struct

from rota.workflow_protocol import WorkflowJobStatus

NodeStatus = Literal["planned"] | WorkflowJobStatus
"""`planned` is a job of a workflow that is not scheduled."""
NodeKind = Literal["job", "fan_out", "batch"]


class Node(Struct, frozen=True):
    """A job, fan-out or batch."""

    name: str
    status: NodeStatus = "planned"
    kind: NodeKind = "job"
    detail: str = ""
    """A few words below its name."""
    says: str = ""
    """All that is known of it, in lines."""
    critical: bool = False
    """Whether it is on the critical path."""


class Edge(Struct, frozen=True):
    """One job comes after another; they are numbers in the list of nodes."""

    source: int
    target: int
    data: bool = True
    """Whether it uses what the other returns."""
    critical: bool = False
    """Whether it is a step of the critical path."""


class Graph(Struct, frozen=True):
    """Jobs and their order, which has no cycles."""

    title: str
    nodes: list[Node]
    edges: list[Edge]
    says: str = ""
    """A few words below the title."""
