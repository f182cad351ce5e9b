"""Files of results: one module a format."""
