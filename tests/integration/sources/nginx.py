"""A real nginx over a folder: ranges, index pages, compression on the fly, redirects, passwords."""

from pathlib import Path

from tests.integration.sources.server import FolderServer

NGINX = "/usr/sbin/nginx"
USER, PASSWORD = "ann", "hush-hush"
CONFIGURATION = """
daemon off;
worker_processes 1;
error_log {folder}/error.log;
pid {folder}/nginx.pid;
events {{ worker_connections 64; }}
http {{
  types {{ text/csv csv; text/html html; application/gzip gz; }}
  default_type application/octet-stream;
  access_log {folder}/access.log;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  server {{
    listen 127.0.0.1:{port};
    root {folder}/files;
    autoindex on;
    location /compressed/ {{
      alias {folder}/files/;
      gzip on; gzip_types text/csv; gzip_min_length 1; gzip_http_version 1.0;
    }}
    location /closed/ {{ alias {folder}/files/; autoindex off; }}
    location /moved/ {{ rewrite ^/moved/(.*)$ /$1 redirect; }}
    location /private/ {{
      alias {folder}/files/; auth_basic "files"; auth_basic_user_file {folder}/users;
    }}
  }}
}}
"""


class Nginx(FolderServer):
    """nginx on a free port; `files` is what it serves."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.url = f"http://127.0.0.1:{self.port}"

    def prepare(self) -> list[str]:
        """Write what the program reads, and return its command line."""
        (self._folder / "users").write_text(f"{USER}:{{PLAIN}}{PASSWORD}\n")
        configuration = self._folder / "nginx.conf"
        # Its workers are another user, who cannot read the folders of the tests.
        user = "user root;\n" if self._folder.owner() == "root" else ""
        configuration.write_text(user + CONFIGURATION.format(folder=self._folder, port=self.port))
        return [NGINX, "-e", str(self._folder / "error.log"), "-c", str(configuration)]
