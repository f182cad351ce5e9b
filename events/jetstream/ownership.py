"""Who owns a partition: the server pins its consumer to one client, until that one gives it up or falls silent."""

import json

from msgspec import Struct

from events.jetstream.topology import COMMANDS, OWNER, partition_consumer
from rota.jetstream import Connection


class Ownership(Struct, frozen=True):
    """What the server knows of a partition's consumer."""

    pin: str
    """The pin of its owner; "" if there is none."""
    unacknowledged: int
    """Messages that were handed out, and not acknowledged."""


async def ownership(connection: Connection, partition: int) -> Ownership:
    """Ask who owns a partition."""
    info = await connection.call(f"CONSUMER.INFO.{COMMANDS}.{partition_consumer(partition)}")
    groups = info.get("priority_groups") or [{}]
    return Ownership(groups[0].get("pinned_client_id", ""), info["num_ack_pending"])


async def hand_out_again(connection: Connection, partition: int) -> None:
    """Have all commands handed out at once that were not acknowledged, not when the time for that is over."""
    await connection.call(f"CONSUMER.RESET.{COMMANDS}.{partition_consumer(partition)}")


async def give_up(connection: Connection, partition: int) -> None:
    """Let another client have the partition at once."""
    subject = f"$JS.API.CONSUMER.UNPIN.{COMMANDS}.{partition_consumer(partition)}"
    await connection.send(subject, json.dumps({"group": OWNER}).encode())
