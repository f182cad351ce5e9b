"""How hypothesis runs: the machine is shared, so that one slow example says nothing."""

from hypothesis import settings

settings.register_profile("rota", deadline=None)
settings.load_profile("rota")
