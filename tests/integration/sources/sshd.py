"""A real OpenSSH server that serves SFTP, with keys of its own, as the user that runs the tests."""

import getpass
import os
import subprocess
from pathlib import Path

from events.sources import SftpConnection
from tests.integration.sources.server import FolderServer

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


class Sshd(FolderServer):
    """`sshd`; its files are those of the folder `files`, named by their absolute paths."""

    def prepare(self) -> list[str]:
        """Write what the program reads, and return its command line."""
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
        return [SSHD, "-D", "-e", "-f", str(config)]

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
