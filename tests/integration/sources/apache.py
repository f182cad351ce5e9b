"""A real Apache with mod_dav, as the user that runs the tests."""

import base64
import grp
import hashlib
import os
import pwd
from pathlib import Path

from events.sources import WebdavConnection
from tests.integration.sources.server import FolderServer

APACHE = "/usr/sbin/apache2"
MODULES = "/usr/lib/apache2/modules"
USER = "reader"
PASSWORD = "apache-pass-phrase"
NAMES = "mpm_event authn_core authn_file authz_core authz_user auth_basic dav dav_fs alias mime"
CONFIG = """\
ServerRoot {folder}
ServerName 127.0.0.1
Listen 127.0.0.1:{port}
PidFile {folder}/pid
ErrorLog {folder}/error.log
Mutex pthread
DefaultRuntimeDir {folder}
{user}
StartServers 1
ThreadsPerChild 16
ThreadLimit 16
MaxRequestWorkers 16
ServerLimit 1
MinSpareThreads 1
MaxSpareThreads 16
DavLockDB {folder}/lock
TypesConfig /dev/null
AddType text/csv .csv
DocumentRoot {folder}/files
Redirect 302 /inside/ http://127.0.0.1:{elsewhere}/
<Directory {folder}/files>
  Dav On
  AuthType Basic
  AuthName files
  AuthUserFile {folder}/users
  Require valid-user
</Directory>
"""


class Apache(FolderServer):
    """Apache over the folder `files`, with one user; `/inside/` leads to another port of this machine."""

    def __init__(self, folder: Path, elsewhere: int = 9) -> None:
        super().__init__(folder)
        self._elsewhere = elsewhere
        self.url = f"http://127.0.0.1:{self.port}"

    def prepare(self) -> list[str]:
        """Write what the program reads, and return its command line."""
        digest = base64.b64encode(hashlib.sha1(PASSWORD.encode()).digest()).decode()
        (self._folder / "users").write_text(f"{USER}:{{SHA}}{digest}\n")
        modules = "".join(f"LoadModule {name}_module {MODULES}/mod_{name}.so\n" for name in NAMES.split())
        user = ""
        if os.getuid() == 0:
            account = pwd.getpwnam("www-data")
            user = f"User www-data\nGroup {grp.getgrgid(account.pw_gid).gr_name}"
            for folder in (self._folder, *self._folder.parents):
                # pytest makes its folders private; Apache gives up root's rights.
                if folder.stat().st_uid == 0 and not folder.stat().st_mode & 0o001:
                    folder.chmod(folder.stat().st_mode | 0o011)
        config = self._folder / "apache.conf"
        facts = {"folder": self._folder, "port": self.port, "user": user, "elsewhere": self._elsewhere}
        config.write_text(modules + CONFIG.format(**facts))
        return [APACHE, "-f", str(config), "-DFOREGROUND"]

    def connection(self, password: str = PASSWORD) -> WebdavConnection:
        """Return a connection to its files."""
        return WebdavConnection(root=self.url, user=USER, password=password)
