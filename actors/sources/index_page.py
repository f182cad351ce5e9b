"""The index page of a web server's directory: the links on it that lead to what lies in the directory."""

import html
import re
from collections.abc import Iterator

from yarl import URL

from actors.sources.url import readable

ANCHOR = re.compile(r"<a\s([^<>]*)>", re.IGNORECASE)
HREF = re.compile(r"""(?:^|\s)href\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))""", re.IGNORECASE)
MAX_PAGE_BYTES = 64 * 1024 * 1024


def entries(page: str, url: URL) -> dict[str, bool]:
    """Return the names on the index page of a URL, sorted, and whether each is a directory.

    Only what lies directly in the directory: no links up, to the page itself in another order, or elsewhere.
    """
    base = url.with_query(None).with_fragment(None)
    folder = base.raw_path if base.raw_path.endswith("/") else f"{base.raw_path}/"
    base = base.with_path(folder, encoded=True)
    found = [entry for link in _links(page) if (entry := _entry(link, base, folder))]
    return dict(sorted(found))


def _links(page: str) -> Iterator[str]:
    for anchor in ANCHOR.finditer(page):
        if href := HREF.search(anchor[1]):
            yield html.unescape(href[1] or href[2] or href[3] or "").strip()


def _entry(link: str, base: URL, folder: str) -> tuple[str, bool] | None:
    if not link or "?" in link or "#" in link or "\\" in link:
        return None
    try:
        target = base.join(URL(link))
        if target.origin() != base.origin():
            return None
    except ValueError:
        return None
    if not target.raw_path.startswith(folder):
        return None
    name, slash, rest = target.raw_path.removeprefix(folder).partition("/")
    name = readable(name)
    if not name or rest or re.search(r"%2f|%5c|%00|\\|\0", name, re.IGNORECASE) or name in (".", ".."):
        return None
    return name, bool(slash)
