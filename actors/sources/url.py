"""URLs as paths of files: what is said is sent, and names come back as people read them."""

import re
from urllib.parse import quote, unquote

from yarl import URL

from actors.sources.errors import SourceError

SCHEMES = ("http", "https")
KEPT = "%!$&'()*+,;=:@/?~-._[]"
"""What stands in URLs as it is; a % of no escape does not."""


def parsed(text: str, shown: str) -> URL:
    """Return a URL of http or https as it was given, with escapes only where it would not be one; without userinfo.

    Escapes stay as they are, because signed URLs are signed with them.
    """
    try:
        url = URL(text)
        if text.isascii():
            url = URL(escaped(text.partition("#")[0]), encoded=True)
        host, _ = url.host, url.port
    except ValueError:
        raise SourceError(f"{shown} is not a URL") from None
    if url.scheme not in SCHEMES or not host:
        raise SourceError(f"{shown} is not a URL of http or https")
    return url.with_user(None).with_fragment(None)


def escaped(text: str) -> str:
    """Escape what cannot stand in a URL, and nothing that is escaped already."""
    return quote(re.sub(r"%(?![0-9A-Fa-f]{2})", "%25", text), safe=KEPT)


def readable(segment: str) -> str:
    """Return a part of a URL's path as people read it; `escaped` makes the same part of it again.

    %, ? and # stay escaped, and so do slashes, control characters, and what is no UTF-8.
    """
    kept = re.sub(r"%(?=(?:25|3f|23|2f|5c|[01][0-9a-f]|7f))", "%25", segment, flags=re.IGNORECASE)
    try:
        return unquote(kept, errors="strict")
    except UnicodeDecodeError:
        return segment
