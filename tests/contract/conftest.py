"""The environment that the `eventsourcing` library reads."""

from uuid import uuid4

import pytest


@pytest.fixture
def fresh_streams(monkeypatch: pytest.MonkeyPatch, nats_url: str) -> None:
    """Have applications of the library keep their events on JetStream, in streams that do not exist yet."""
    monkeypatch.setenv("PERSISTENCE_MODULE", "events.jetstream.factory")
    monkeypatch.setenv("ROTA_NATS_URL", nats_url)
    monkeypatch.setenv("ROTA_NAMESPACE", uuid4().hex)
