"""Places where files lie: each kind of connection is a fsspec file system."""
