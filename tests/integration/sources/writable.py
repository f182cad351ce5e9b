"""An Apache that can write: it is another user than the tests."""

from tests.integration.sources.apache import Apache


class WritableApache(Apache):
    """Apache whose folder, with the files and the locks, is open to everybody of this machine."""

    def prepare(self) -> list[str]:
        """Write what the program reads, and return its command line."""
        command = super().prepare()
        self.files.chmod(0o777)
        self._folder.chmod(0o777)
        return command

    def put(self, name: str, body: bytes) -> str:
        """Store a file; return its path below the connection."""
        path = super().put(name, body)
        for one in (self.files / name, (self.files / name).parent):
            one.chmod(0o777)
        return path
