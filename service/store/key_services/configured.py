"""The key service of this installation, from its settings; None where the log's key is a file of ours.

With keys in the configuration *and* a Vault, a new log begins with Vault's key, and a rotation takes Vault's key; the
key that a log began with still signs until then. So a log can be moved from the one to the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import SecretStr

from connectors.base.config import ConfigurationError
from service.settings import Settings
from service.store.key_services.configured_keys import ConfiguredKeys
from service.store.key_services.interface import KeyService, SigningKeyUnusable
from service.store.key_services.vault import VaultKeys


def configured_key_service(settings: Settings) -> KeyService | None:
    """Return the service, without connecting: it connects when it is called. Raises ConfigurationError."""
    services: dict[str, KeyService] = {}
    if settings.keys.audit_vault is not None:
        vault, base = settings.keys.audit_vault, Path()
        if settings.origin is not None:
            base = settings.origin.resolve().parent
        roots = None if vault.ca_file is None else base / vault.ca_file
        services["vault"] = VaultKeys(
            vault.url, vault.mount, vault.key, base / vault.token_file, namespace=vault.namespace, roots=roots
        )
    if settings.keys.audit_key is not None:
        named = (("audit_key", settings.keys.audit_key), ("audit_next_key", settings.keys.audit_next_key))
        seeds = [_seed(each, name) for name, each in named if each is not None]
        services["configured"] = ConfiguredKeys(seeds)
    return _Services(services) if services else None


class _Services:
    """Several services, the one for new keys first; a key id begins with the kind of its service."""

    def __init__(self, by_kind: Mapping[str, KeyService]) -> None:
        self._by_kind = by_kind
        self._first = next(iter(by_kind.values()))

    def newest(self) -> str:
        return self._first.newest()

    def create_next(self) -> str:
        return self._first.create_next()

    def public_key(self, key_id: str) -> Ed25519PublicKey:
        return self._of(key_id).public_key(key_id)

    def sign(self, key_id: str, message: bytes) -> bytes:
        return self._of(key_id).sign(key_id, message)

    def _of(self, key_id: str) -> KeyService:
        kind = key_id.partition(":")[0]
        if kind not in self._by_kind:
            raise SigningKeyUnusable("the log's key is of a key service that [keys] doesn't configure")
        return self._by_kind[kind]


def _seed(secret: SecretStr, name: str) -> bytes:
    try:
        seed = bytes.fromhex(secret.get_secret_value().strip())
    except ValueError:
        seed = b""
    if len(seed) != 32:
        raise ConfigurationError(f"keys.{name}: 64 hex digits are required")
    return seed
