"""The roles of all kinds of aggregates that have one."""

from actors.batches import Batches
from actors.jobs import Jobs
from actors.roles import Role
from actors.workflow_outputs import Outputs
from actors.workflows import Workflows
from rota.jetstream import Connection


def roles(connection: Connection) -> list[Role]:
    """Return the roles of a shard; they share what jobs and batches have returned."""
    outputs = Outputs(connection)
    return [Batches(outputs), Jobs(connection, outputs), Workflows(connection, outputs)]
