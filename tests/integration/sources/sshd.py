"""A real OpenSSH server that serves SFTP, with keys of its own, as the user that runs the tests."""

import getpass
import os
import subprocess
from pathlib import Path
from typing import Self

from events.sources import SftpConnection
from scripts.stack import Service, free_port, port_in_use

SSHD = "/usr/sbin/sshd"
PASSPHRASE = "open-sesame-passphrase"
CONFIG = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin yes
Subsystem sftp internal-sftp
LogLevel VERBOSE
"""


class Sshd:
    """`sshd`; its files are those of the folder `files`, named by their absolute paths."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.files = folder / "files"
        self.port = free_port()

    def __enter__(self) -> Self:
        self.files.mkdir(parents=True, exist_ok=True)
        for name, passphrase in (("host_key", ""), ("user_key", PASSPHRASE)):
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-f", str(self._folder / name)]
            subprocess.run(command, check=True, timeout=20)
        self.host_key = " ".join((self._folder / "host_key.pub").read_text().split()[:2])
        self.private_key = (self._folder / "user_key").read_text()
        (self._folder / "authorized_keys").write_bytes((self._folder / "user_key.pub").read_bytes())
        config = self._folder / "sshd_config"
        config.write_text(CONFIG.format(port=self.port, folder=self._folder))
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)  # sshd confines its unprivileged part there
        command = [SSHD, "-D", "-e", "-f", str(config)]
        self.service = Service("sshd", command, os.environ, self._folder / "sshd.log", says_ready=False)
        self.start()
        return self

    def start(self) -> None:
        """Start it, again if it was ended."""
        self.service.start()
        self.service.wait(lambda: port_in_use("127.0.0.1", self.port))

    def __exit__(self, *_: object) -> None:
        self.service.stop()

    def put(self, name: str, body: bytes) -> str:
        """Store a file; return its path below the connection."""
        path = self.files / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
        return name

    def connection(self, password: str = PASSPHRASE) -> SftpConnection:
        """Return a connection to its files; the password is that of the key."""
        return SftpConnection(
            host="127.0.0.1",
            port=self.port,
            user=getpass.getuser(),
            private_key=self.private_key,
            passphrase=password,
            host_key=self.host_key,
            root=str(self.files),
        )
