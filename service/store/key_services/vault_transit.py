"""Call one transit engine of HashiCorp Vault or OpenBao over HTTP: calls, token, and errors.

Decides nothing about keys. The token is read from its file for every call, because an agent renews it there.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import httpx

from connectors.base.outbound.client import open_client
from connectors.base.outbound.services import open_service_client

_PATIENCE_SECONDS = 10.0


class VaultRefused(Exception):  # noqa: N818 - says what is true
    """Vault didn't carry out a call.

    `code` is the reason and holds nothing of Vault's own text; `status` is HTTP's.
    """

    def __init__(self, code: str, status: int | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.status = status


class VaultTransit:
    """The engine at `<url>/v1/<mount>`."""

    def __init__(
        self,
        url: str,
        mount: str,
        token_file: Path,
        *,
        namespace: str | None = None,
        roots: Path | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._base = f"{url.rstrip('/')}/v1/{mount}"
        self._token_file = token_file
        self._namespace = namespace
        self._roots = roots
        self._transport = transport
        self._client: httpx.Client | None = None

    def call(self, method: str, path: str, body: Mapping[str, object] | None = None) -> Mapping[str, object]:
        """The answer's `data`; {} for an answer without a body. Raises VaultRefused."""
        try:
            headers = {"X-Vault-Token": self._token_file.read_text(encoding="utf-8").strip(), "X-Vault-Request": "true"}
        except (OSError, UnicodeDecodeError):
            raise VaultRefused("token_file: can't be read") from None
        if self._namespace is not None:
            headers["X-Vault-Namespace"] = self._namespace
        try:
            answer = self._open().request(method, f"{self._base}/{path}", json=body, headers=headers)
            document = answer.json() if answer.content and answer.status_code == 200 else {}
        except (httpx.HTTPError, ValueError) as error:
            raise VaultRefused(f"vault_{type(error).__name__}".lower()) from None
        if answer.status_code not in (200, 204):
            raise VaultRefused(f"vault_status_{answer.status_code}", answer.status_code)
        data = document.get("data") if isinstance(document, dict) else None
        return data if isinstance(data, dict) else {}

    def _open(self) -> httpx.Client:
        if self._client is None:
            self._client = (
                open_service_client(self._base, _PATIENCE_SECONDS, roots=self._roots)
                if self._transport is None
                else open_client(self._transport)
            )
        return self._client
