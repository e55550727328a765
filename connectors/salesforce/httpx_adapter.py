"""Let a requests session speak through our strict httpx client, with its guard, deadline and limits.

simple-salesforce takes a requests session and nothing else. Decides nothing; requests' own sockets aren't used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import requests
from requests.adapters import BaseAdapter
from requests.structures import CaseInsensitiveDict
from requests.utils import get_encoding_from_headers

from connectors.base.outbound.client import open_client
from connectors.base.outbound.transport import BODY_LIMIT


class HttpxAdapter(BaseAdapter):
    """Sends prepared requests over `transport`.

    `body_limit` gives the largest body that the next answer may have. The transport decides time-outs, verification and
    proxies, whatever requests passes here.
    """

    def __init__(self, transport: httpx.BaseTransport, body_limit: Callable[[], int]) -> None:
        super().__init__()
        self._client = open_client(transport)
        self._body_limit = body_limit

    def send(self, request: requests.PreparedRequest, *_args: Any, **_kwargs: Any) -> requests.Response:
        """One call, answered whole. Raises httpx.RequestError and httpx.InvalidURL."""
        body = request.body
        if not isinstance(body, str | bytes | None):
            raise TypeError("a body is sent whole, or not at all")
        answer = self._client.send(
            httpx.Request(
                request.method or "GET",
                request.url or "",
                headers=[(_bytes(name), _bytes(value)) for name, value in request.headers.items()],
                content=None if body is None else _bytes(body),
                extensions={BODY_LIMIT: self._body_limit()},
            )
        )
        return _as_requests(request, answer)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def _bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text


def _as_requests(request: requests.PreparedRequest, answer: httpx.Response) -> requests.Response:
    response = requests.Response()
    response.status_code = answer.status_code
    response.headers = CaseInsensitiveDict(answer.headers.items())
    response.encoding = get_encoding_from_headers(response.headers)
    response.reason = answer.reason_phrase
    response.url = request.url or ""
    response.request = request
    # requests itself sets both when it has read a body to its end.
    response._content = answer.content
    response._content_consumed = True
    return response
