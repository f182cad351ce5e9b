"""What is wrong with the files that a batch names."""

import re
from collections.abc import Mapping

from events.file_paths import wrong_path, wrong_url
from events.sources import Connection
from gateway.problems import Faults, unknown
from rota.batch_protocol import BatchRequest


def check_files(request: BatchRequest, connections: Mapping[str, Connection], faults: Faults) -> None:
    """Note what is wrong with the files of a request and their connection."""
    name = request.connection
    connection = connections.get(name) if name else None
    if name and connection is None:
        said = unknown("connection", name, list(connections))
        faults.add("#/connection", said if said.endswith("?") else f"{said} in connections.toml")
    places: dict[str, int] = {}
    for index, path in enumerate(request.files):
        if faults.enough:
            break
        # Below a connection more slashes than one say nothing.
        same = re.sub("/+", "/", path.lstrip("/")) if name else path
        if places.setdefault(same, index) != index:
            detail: str | None = f"It is #/files/{places[same]} already"
        elif name is None or (connection is not None and connection.kind == "http" and not connection.root):
            detail = wrong_url(path)
        else:
            detail = wrong_path(path, name, connection)
        if detail:
            faults.add(f"#/files/{index}", detail)
