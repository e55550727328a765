"""Sign with a key of the transit engine of HashiCorp Vault, or of OpenBao, which has the same API.

The operator makes an Ed25519 key (`vault write -f transit/keys/expunge-audit type=ed25519`). The token needs `update`
on `transit/sign/<key>` and `transit/keys/<key>/rotate`, and `read` on `transit/keys/<key>`. Each version of it is a key
of the log: a version is pinned in every call, so that a rotation in Vault alone changes nothing here.

    POST /v1/<mount>/sign/<key>         {"input": <base64>, "key_version": n}
                                        -> {"data": {"signature": "vault:vn:<base64>"}}
    GET  /v1/<mount>/keys/<key>         {"data": {"type": "ed25519", "latest_version": n,
                                                  "keys": {"n": {"public_key": <base64>}}}}
    POST /v1/<mount>/keys/<key>/rotate

Source: developer.hashicorp.com/vault/api-docs/secret/transit, as in hashicorp/vault website/content/api-docs; the shape
of the public key, which that page leaves out, from builtin/logical/transit/path_keys.go of hashicorp/vault @0198c8f2
and of openbao/openbao @1335248a: base64 of 32 bytes, empty for a derived key (all read 2026-11-22; not run against a
server).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from pathlib import Path

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from service.store.key_services.interface import SigningKeyUnusable
from service.store.key_services.vault_transit import VaultRefused, VaultTransit


class VaultKeys:
    """One transit key. The token is read from its file for every call: an agent renews it there."""

    def __init__(
        self,
        url: str,
        mount: str,
        key: str,
        token_file: Path,
        *,
        namespace: str | None = None,
        roots: Path | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._key = key
        self._vault = VaultTransit(url, mount, token_file, namespace=namespace, roots=roots, transport=transport)

    def newest(self) -> str:
        """Return the id of the newest version."""
        return self._id(self._read().get("latest_version"))

    def create_next(self) -> str:
        """Make a new version in Vault. A version that an interrupted rotation made stays unused."""
        self._call("POST", f"keys/{self._key}/rotate", {})
        return self.newest()

    def public_key(self, key_id: str) -> Ed25519PublicKey:
        """Return the public half that Vault states; called once, when the log takes the key."""
        keys = self._read().get("keys")
        version = keys.get(str(self._version(key_id))) if isinstance(keys, Mapping) else None
        encoded = version.get("public_key") if isinstance(version, Mapping) else None
        try:
            content = base64.b64decode(encoded, validate=True) if isinstance(encoded, str) else b""
            return Ed25519PublicKey.from_public_bytes(content)
        except ValueError:
            raise SigningKeyUnusable("vault_public_key_not_understood") from None

    def sign(self, key_id: str, message: bytes) -> bytes:
        """Sign by exactly this version of the key."""
        version = self._version(key_id)
        asked = {"input": base64.b64encode(message).decode(), "key_version": version}
        answer = self._call("POST", f"sign/{self._key}", asked)
        signature = answer.get("signature")
        prefix = f"vault:v{version}:"
        if not isinstance(signature, str) or not signature.startswith(prefix):
            raise SigningKeyUnusable("vault_signature_not_understood")
        try:
            return base64.b64decode(signature.removeprefix(prefix), validate=True)
        except (binascii.Error, ValueError):
            raise SigningKeyUnusable("vault_signature_not_understood") from None

    def _id(self, version: object) -> str:
        if not isinstance(version, int) or isinstance(version, bool) or version < 1:
            raise SigningKeyUnusable("vault_version_not_understood")
        return f"vault:{self._key}:{version}"

    def _version(self, key_id: str) -> int:
        kind, _, rest = key_id.partition(":")
        key, _, version = rest.rpartition(":")
        if kind != "vault" or key != self._key or not version.isdecimal():
            raise SigningKeyUnusable("keys.audit_vault.key: the log's key is another one")
        return int(version)

    def _read(self) -> Mapping[str, object]:
        found = self._call("GET", f"keys/{self._key}", None)
        if found.get("type") != "ed25519":
            raise SigningKeyUnusable("keys.audit_vault.key: not of the type ed25519")
        return found

    def _call(self, method: str, path: str, body: Mapping[str, object] | None) -> Mapping[str, object]:
        try:
            return self._vault.call(method, path, body)
        except VaultRefused as refused:
            place = "keys.audit_vault." if refused.code.startswith("token_file") else ""
            raise SigningKeyUnusable(f"{place}{refused.code}") from None
