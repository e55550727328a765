"""Keep epoch keys in the transit engine of Vault or OpenBao, one transit key for each epoch.

The transit key is deleted there at the epoch's end. The epoch key is the HMAC of a fixed text under version 1 of the
transit key `<prefix>-<epoch>`: it is the same in every process, is never stored outside Vault, and can't be made again
once the transit key is deleted. The token needs, on `<mount>/`: `list` on `keys`, `create`, `read`, `update` and
`delete` on `keys/<prefix>-*`, `update` on `keys/<prefix>-*/config` and on `hmac/<prefix>-*`. Copies of a deleted key in
Vault's own storage, snapshots and replicas are Vault's responsibility; its barrier encrypts them.

    POST   /v1/<mount>/keys/<name>         {"type": "aes256-gcm96"}
    POST   /v1/<mount>/hmac/<name>         {"input": <base64>, "key_version": 1}
                                           -> {"data": {"hmac": "vault:v1:<base64>"}}
    POST   /v1/<mount>/keys/<name>/config  {"deletion_allowed": true}
    DELETE /v1/<mount>/keys/<name>
    LIST   /v1/<mount>/keys                {"data": {"keys": [<name>]}}; 404 where there are none

Source: the HMAC, its pinned version and 400 for an unknown key from builtin/logical/transit/path_hmac.go of
hashicorp/vault @01c88db7 (read 2026-11-30); the other calls as developer.hashicorp.com/vault/api-docs/secret/transit
has them, not read again. Not run against a server.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from uuid import UUID

from service.store.encryption.epoch_secrets import EpochKeyMissing, EpochKeyUnusable
from service.store.key_services.vault_transit import VaultRefused, VaultTransit

_TEXT = base64.b64encode(b"expunge/epoch-key/v1").decode("ascii")
_PREFIX_OF_HMAC = "vault:v1:"
_KEY_BYTES = 32


class VaultEpochs:
    """The transit keys whose names begin with `<prefix>-`. Nothing else may use names like these."""

    def __init__(self, vault: VaultTransit, prefix: str) -> None:
        self._vault = vault
        self._prefix = f"{prefix}-"

    def create(self, epoch_id: UUID) -> None:
        """A new transit key, which Vault refuses to delete until `destroy` allows it."""
        if epoch_id in self.known():
            raise EpochKeyUnusable(f"epoch {epoch_id}: there is such a key in Vault already")
        self._call(epoch_id, "POST", f"keys/{self._name(epoch_id)}", {"type": "aes256-gcm96"})

    def read(self, epoch_id: UUID) -> bytes:
        """Derived by Vault. Raises EpochKeyMissing if Vault has no such key."""
        asked = {"input": _TEXT, "key_version": 1}
        try:
            answer = self._vault.call("POST", f"hmac/{self._name(epoch_id)}", asked)
        except VaultRefused as refused:
            if refused.status in (400, 404) and epoch_id not in self.known():
                raise EpochKeyMissing(f"epoch {epoch_id}: Vault has no key of that name") from None
            raise _unusable(epoch_id, refused) from None
        key = _decoded(answer.get("hmac"))
        if len(key) != _KEY_BYTES:
            raise EpochKeyUnusable(f"epoch {epoch_id}: vault_hmac_not_understood")
        return key

    def destroy(self, epoch_id: UUID) -> None:
        """Delete the transit key, and see that it is gone."""
        if epoch_id not in self.known():
            return
        name = self._name(epoch_id)
        self._call(epoch_id, "POST", f"keys/{name}/config", {"deletion_allowed": True})
        self._call(epoch_id, "DELETE", f"keys/{name}", None)
        if epoch_id in self.known():
            raise EpochKeyUnusable(f"epoch {epoch_id}: Vault still has the key")

    def known(self) -> Sequence[UUID]:
        """The epochs of all transit keys with our prefix."""
        try:
            names = self._vault.call("LIST", "keys").get("keys")
        except VaultRefused as refused:
            if refused.status == 404:
                return []
            raise EpochKeyUnusable(f"epoch keys: {refused.code}") from None
        if not isinstance(names, list):
            raise EpochKeyUnusable("epoch keys: vault_list_not_understood")
        ours = (str(name).removeprefix(self._prefix) for name in names if str(name).startswith(self._prefix))
        try:
            return [UUID(written) for written in ours]
        except ValueError:
            raise EpochKeyUnusable("epoch keys: a transit key with the prefix of epoch keys isn't one") from None

    def rewrap(self, epoch_id: UUID) -> bool:
        """Nothing of ours wraps these keys."""
        return False

    def tidy(self) -> None:
        """Vault leaves nothing half-made."""

    def _name(self, epoch_id: UUID) -> str:
        return f"{self._prefix}{epoch_id}"

    def _call(self, epoch_id: UUID, method: str, path: str, body: dict[str, object] | None) -> None:
        try:
            self._vault.call(method, path, body)
        except VaultRefused as refused:
            raise _unusable(epoch_id, refused) from None


def _decoded(hmac: object) -> bytes:
    if not isinstance(hmac, str) or not hmac.startswith(_PREFIX_OF_HMAC):
        return b""
    try:
        return base64.b64decode(hmac.removeprefix(_PREFIX_OF_HMAC), validate=True)
    except (binascii.Error, ValueError):
        return b""


def _unusable(epoch_id: UUID, refused: VaultRefused) -> EpochKeyUnusable:
    return EpochKeyUnusable(f"epoch {epoch_id}: {refused.code}")
