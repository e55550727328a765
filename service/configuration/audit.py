"""Read `[audit]` and `[[audit.anchors]]`: how long and where the audit log and its heads are kept.

Opens nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator, model_validator

from connectors.base.config import SystemModel
from connectors.base.destinations import service_rules

# Which keys a kind needs, and which it takes.
_ANCHOR_KEYS: Mapping[str, tuple[frozenset[str], frozenset[str]]] = {
    "file": (frozenset({"directory"}), frozenset()),
    "git": (frozenset({"directory"}), frozenset({"remote"})),
    "timestamp": (frozenset({"directory", "url", "ca_file"}), frozenset()),
    "witness": (frozenset({"url", "key"}), frozenset()),
    "s3": (frozenset({"bucket"}), frozenset({"url", "prefix", "region", "access_key", "secret_key", "lock_seconds"})),
}


class AnchorSettings(SystemModel):
    """`[[audit.anchors]]`: a place outside the database that keeps the audit log's signed heads."""

    kind: Literal["file", "git", "timestamp", "witness", "s3"] = Field(description="what the place is")
    name: str = Field(pattern=r"^[a-z][a-z_-]{0,39}$", description="its name in messages and metrics")
    directory: Path | None = Field(None, description="file, git, timestamp: where it is mounted")
    remote: SecretStr | None = Field(None, description="git: what is pushed to and compared")
    url: str | None = Field(
        None, pattern=r"^https?://", description="timestamp, witness: where it is asked; s3: endpoint"
    )
    key: str | None = Field(None, description="witness: its verifier key, `name+id+base64`")
    ca_file: Path | None = Field(None, description="timestamp: trusted certificates, a PEM file")
    bucket: str | None = Field(None, pattern=r"^[a-z0-9.-]{3,63}$", description="s3: a bucket with object lock")
    prefix: str | None = Field(None, pattern=r"^[A-Za-z0-9_./-]{1,200}$", description="s3: what the keys begin with")
    region: str | None = Field(None, pattern=r"^[a-z0-9-]{1,40}$", description="s3: its region")
    access_key: SecretStr | None = Field(None, description="s3: its id; the SDK's own way of finding one if absent")
    secret_key: SecretStr | None = Field(None, description="s3: belongs to access_key")
    lock_seconds: float | None = Field(None, gt=0, description="s3: how long a head is locked; audit.retention_seconds")

    @field_validator("url")
    @classmethod
    def _may_be_called(cls, value: str | None) -> str | None:
        if value is not None:
            service_rules(value, allow_plain_http=True)
        return value

    @model_validator(mode="after")
    def _has_what_its_kind_needs(self) -> AnchorSettings:
        needed, optional = _ANCHOR_KEYS[self.kind]
        given = {n for n in type(self).model_fields if n not in ("kind", "name") and getattr(self, n) is not None}
        if not needed <= given <= needed | optional:
            raise ValueError(f"an anchor of kind {self.kind} takes: {', '.join(sorted(needed | optional))}")
        if (self.access_key is None) != (self.secret_key is None):
            raise ValueError("access_key and secret_key belong together")
        return self


class AuditSettings(SystemModel):
    """`[audit]`: how long the log is kept, and where its heads are kept outside the database."""

    retention_seconds: float = Field(
        731 * 86400.0, ge=0, description="entries are kept at least this long; 24 months by 11 CCR § 7101(a)"
    )
    max_unsequenced_seconds: float = Field(
        300.0, gt=0, description="no new effect starts while an audit entry has waited longer to be signed into the log"
    )
    max_unsequenced_entries: int = Field(
        250_000, ge=1, description="no new effect starts while more audit entries than this wait"
    )
    max_unanchored_seconds: float = Field(
        6 * 3600.0, gt=0, description="no new effect starts while no anchor has taken a signed head for so long"
    )
    anchors: tuple[AnchorSettings, ...] | None = Field(
        None, min_length=1, description="absent: one file in `<data_directory>.audit-anchor`, beside the data"
    )

    @field_validator("anchors")
    @classmethod
    def _named_once(cls, value: tuple[AnchorSettings, ...] | None) -> tuple[AnchorSettings, ...] | None:
        names = [anchor.name for anchor in value or ()]
        if len(set(names)) != len(names):
            raise ValueError("two anchors have the same name")
        return value
