"""The only code of the server that speaks NATS."""
