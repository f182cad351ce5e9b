"""What is wrong with the paths and URLs of files that a batch is to read.

All of it stands in the log for ever and is shown to everybody, so a secret is refused.
"""

import re
from urllib.parse import SplitResult, parse_qsl, urlsplit

from events.sources import Connection, steps_up

ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
SECRETS = frozenset(
    {
        "access_token",
        "accesstoken",
        "api-key",
        "api_key",
        "apikey",
        "auth",
        "auth_token",
        "authorization",
        "awsaccesskeyid",
        "client_secret",
        "id_token",
        "jwt",
        "passwd",
        "password",
        "private_token",
        "pwd",
        "refresh_token",
        "secret",
        "session_token",
        "sessionid",
        "sig",
        "signature",
        "token",
        "x-amz-credential",
        "x-amz-security-token",
        "x-amz-signature",
        "x-goog-credential",
        "x-goog-signature",
        "x-oss-signature",
    }
)
"""Names in the query of a URL, in lower case, whose values let anybody read who has them."""


def wrong_url(path: str) -> str | None:
    """Say what is wrong with a URL of a file; None if nothing is."""
    try:
        url = urlsplit(path)
    except ValueError as error:
        return f"{path!r} is no URL: {error}"
    if url.scheme not in {"http", "https"} or not url.netloc:
        what = f"an address with {url.scheme}://" if url.scheme else "a path"
        return f"{what} needs a connection; without one a file is an http or https URL"
    if "@" in url.netloc:
        return "A URL must not hold a user or password; they belong into a connection"
    if "#" in path:
        return "A URL of a file has no part after #, which no server is told; a # in a name is written %23"
    return _secret(url)


def wrong_path(path: str, name: str, connection: Connection | None) -> str | None:
    """Say what is wrong with a path below a connection of this name, as far as it is known; None if nothing is."""
    if address := ADDRESS.match(path):
        return (
            f"A file of the connection {name} is a path below its root, without {address[1]}:// and host; "
            "an http or https URL stands alone, without a connection"
        )
    if steps_up(path):
        return "A path below a connection has no '.' or '..' in it"
    if connection is not None and connection.kind == "http":
        return _secret(urlsplit(f"http://host/{path.lstrip('/')}"))
    return None


def _secret(url: SplitResult) -> str | None:
    for name, _ in parse_qsl(url.query.replace(";", "&"), keep_blank_values=True):
        if name.lower() in SECRETS:
            return (
                f"A URL must not hold a secret, as {name} in its query seems to be: it would stand in the log for "
                "ever. Secrets belong into a connection"
            )
    return None
