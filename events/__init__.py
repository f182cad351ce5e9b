"""The domain: what may be asked, what can happen, and what follows from it."""
