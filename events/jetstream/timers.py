"""Durable timers: a timer is a command that NATS delivers later."""

from datetime import UTC, datetime

from events.catalog import encode
from events.jetstream.topology import COMMANDS
from events.subjects import TimedCommand, command_subject, timer_subject
from rota.jetstream import Connection
from rota.protocol import CALLER, CAUSATION_ID


async def set_timer(connection: Connection, command: TimedCommand, due: datetime, causation_id: str) -> None:
    """Have a command delivered at a time, because of an event; set again, the timer takes the place of the first.

    A time in the past delivers at once. When it returns, the timer is durable.
    """
    headers = {
        "Nats-Schedule": f"@at {due.astimezone(UTC).isoformat().replace('+00:00', 'Z')}",
        "Nats-Schedule-Target": command_subject(command),
        CALLER: "timer",
        CAUSATION_ID: causation_id,
    }
    await connection.publish(timer_subject(command), encode([command]), headers)


async def cancel_timer(connection: Connection, command: TimedCommand) -> None:
    """Have a command not delivered, if it was not yet; without waiting for it."""
    await connection.purge(COMMANDS, timer_subject(command))
