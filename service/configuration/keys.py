"""Read `[keys]` and its Vault tables: the secrets outside every database.

Opens nothing.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr, field_validator, model_validator

from connectors.base.config import SystemModel
from connectors.base.destinations import service_rules


class VaultSettings(SystemModel):
    """`[keys.audit_vault]`: a Vault (or OpenBao) transit key that signs the audit log."""

    url: str = Field(pattern=r"^https?://", description="where Vault is; plain http on this machine only")
    token_file: Path = Field(description="read for every call, so that an agent can renew it there")
    key: str = Field("expunge-audit", pattern=r"^[A-Za-z0-9_-]{1,80}$", description="its name; of the type ed25519")
    mount: str = Field("transit", pattern=r"^[A-Za-z0-9_/-]{1,80}$", description="where the transit engine is mounted")
    namespace: str | None = Field(None, description="the namespace, where there is one")
    ca_file: Path | None = Field(None, description="trusted certificates, a PEM file; the system's if absent")

    @field_validator("url")
    @classmethod
    def _encrypted_on_the_way(cls, value: str) -> str:
        service_rules(value, allow_plain_http=False)
        return value


class EpochVaultSettings(VaultSettings):
    """`[keys.epoch_vault]`: a Vault (or OpenBao) transit engine that holds the epoch keys."""

    key: str = Field(
        "expunge-epoch", pattern=r"^[A-Za-z0-9_-]{1,40}$", description="what the names of its transit keys begin with"
    )


class KeySettings(SystemModel):
    """`[keys]`: secrets outside every database.

    They are created in `data_directory/keys` at the first start if absent.
    """

    key_encryption_key: SecretStr | None = Field(None, description="64 hex digits; wraps the epoch keys")
    previous_key_encryption_keys: tuple[SecretStr, ...] = Field(
        (), description="64 hex digits each; unwrap epoch keys until `expunge encryption rotate-kek` has run"
    )
    epoch_directory: Path | None = Field(
        None, description="files of the epoch keys; `keys/epochs` of the data if absent"
    )
    epoch_vault: EpochVaultSettings | None = Field(
        None, description="a Vault transit engine that holds the epoch keys, instead of epoch_directory"
    )
    epoch_seconds: float = Field(86400.0, gt=0, description="how long one epoch key wraps new data keys")
    epoch_backup_seconds: float = Field(
        3 * 86400.0, ge=0, description="how long an epoch key is kept after its last data key was re-wrapped"
    )
    pepper: SecretStr | None = Field(None, description="64 hex digits; key of the keyed hashes")
    added_peppers: tuple[SecretStr, ...] = Field(
        (), description="64 hex digits each, in the order in which they were added; never taken out"
    )
    audit_key_directory: Path | None = Field(None, description="where audit.key and audit.pub of the audit log are")
    audit_origin: str = Field(
        "expunge.local/audit", pattern=r"^[a-z0-9._/-]{1,120}$", description="the audit log's name in its checkpoints"
    )
    audit_key: SecretStr | None = Field(None, description="64 hex digits; signs the audit log instead of audit.key")
    audit_next_key: SecretStr | None = Field(None, description="64 hex digits; what a rotation takes after audit_key")
    audit_vault: VaultSettings | None = Field(
        None, description="a Vault transit key that signs the audit log; goes before audit_key"
    )

    @model_validator(mode="after")
    def _a_next_key_follows_one(self) -> KeySettings:
        if self.audit_next_key is not None and self.audit_key is None:
            raise ValueError("audit_next_key follows an audit_key")
        return self
