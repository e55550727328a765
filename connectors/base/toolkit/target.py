"""The target of a call: the path as the vendor receives it, and the query.

Decides what may stand in a path unquoted. A path is only a path: what would end it early is quoted, since a call about
`12#34` must never become one about `12`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote, urlencode

from connectors.base.errors import RequestRefused

# RFC 3986 §3.3: what a path may hold, and percent signs only where they quote.
_NOT_IN_A_PATH = re.compile(r"%(?![0-9A-Fa-f]{2})|[^A-Za-z0-9\-._~!$&'()*+,;=:@/%]")
_DOT_SEGMENT = re.compile(r"/(?:\.|%2e){1,2}(?:/|$)", re.IGNORECASE)


def request_target(base: str, path: str, params: Mapping[str, str | int] | None = None) -> bytes:
    """`path` below `base` (no slash at its end), and the query.

    Raises RequestRefused (`dot_segment`): everybody on the way would take `/users/..` for all users.
    """
    below = "/" + path.lstrip("/")
    if _DOT_SEGMENT.search(below):
        raise RequestRefused("dot_segment")
    target = base + _NOT_IN_A_PATH.sub(_quoted, below)
    return f"{target}?{urlencode(params)}".encode("ascii") if params else target.encode("ascii")


def _quoted(found: re.Match[str]) -> str:
    return quote(found[0], safe="")
