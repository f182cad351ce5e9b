"""Durable timers: a timer is a command that NATS delivers later."""

from datetime import UTC, datetime

from events.catalog import AnyCommand, encode
from events.subjects import command_subject, kind_of, timer_subject
from rota.jetstream import Connection


async def set_timer(connection: Connection, command: AnyCommand, due: datetime) -> None:
    """Have a command delivered at a time; it takes the place of the aggregate's earlier timer.

    A time in the past delivers at once. When it returns, the timer is durable.
    """
    headers = {
        "Nats-Schedule": f"@at {due.astimezone(UTC).isoformat().replace('+00:00', 'Z')}",
        "Nats-Schedule-Target": command_subject(command),
    }
    await connection.publish(timer_subject(kind_of(command), command.id), encode([command]), headers)
