"""The secrets that live outside every database: key-encryption key, pepper, the audit log's signing key.

Read from the settings, or made once in `<data directory>/keys`, mode 0600 in a 0700 directory of ours.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import SecretStr

from connectors.base.config import ConfigurationError
from service.data_directory import private_directory, unusable
from service.domain.signed_note import SigningKey
from service.settings import Settings
from service.storage.key_services.configured import configured_key_service
from service.storage.key_store import LocalKeyWrapper
from service.storage.keyed_hash import Pepper
from service.storage.signing_key import load_signing_key


@dataclass(frozen=True)
class Secrets:
    """What the processes of one installation share and nobody else has."""

    wrapper: LocalKeyWrapper = field(repr=False)
    pepper: Pepper


def load_secrets(settings: Settings) -> Secrets:
    """Read the secrets; those that aren't configured are made on first use. Raises ConfigurationError."""
    directory = keys_directory(settings)
    return Secrets(
        wrapper=LocalKeyWrapper(_secret(settings.keys.key_encryption_key, directory / "key_encryption_key")),
        pepper=Pepper(_secret(settings.keys.pepper, directory / "pepper")),
    )


def keys_directory(settings: Settings) -> Path:
    """The directory of our own keys, made 0700 if it isn't there."""
    directory = private_directory(settings.service.data_directory / "keys")
    try:
        directory.chmod(0o700)
    except OSError as error:
        raise unusable(error) from None
    return directory


def _secret(configured: SecretStr | None, path: Path) -> bytes:
    try:
        text = configured.get_secret_value() if configured is not None else _read_or_make(path)
        secret = bytes.fromhex(text.strip())
    except OSError as error:
        raise unusable(error) from None
    except ValueError:
        secret = b""
    if len(secret) != 32:
        raise ConfigurationError(f"keys.{path.name}: 64 hex digits are required")
    return secret


def _read_or_make(path: Path) -> str:
    """Make the file in one step, so that two processes that start together end with the same secret."""
    if not path.exists():
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(os.urandom(32).hex() + "\n")
            file.flush()
            os.fsync(file.fileno())
        # If another process was first, its secret counts.
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
        draft.unlink()
    return path.read_text(encoding="ascii")


def audit_signing_key(settings: Settings) -> SigningKey:
    """The audit log's signing key; made on first use. Raises SigningKeyUnusable, ConfigurationError."""
    service = configured_key_service(settings)
    return load_signing_key(audit_key_directory(settings), settings.keys.audit_origin, service)


def audit_key_directory(settings: Settings) -> Path:
    """Where the audit log's keys are."""
    return settings.keys.audit_key_directory or keys_directory(settings)
