"""Read the secrets that are kept outside every database, or make them on first use.

They are key-encryption keys, epoch keys, the pepper and the audit log's signing key: from the settings, or made once in
`<data directory>/keys`, mode 0600 in a 0700 directory of ours.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import SecretStr

from connectors.base.config import ConfigurationError
from service.configuration.data_directory import private_directory, unusable
from service.domain.audit.signed_note import SigningKey
from service.settings import Settings
from service.store.audit_log.signing_key import load_signing_key
from service.store.encryption import generated_kek, generated_pepper
from service.store.encryption.epoch_files import EpochFiles
from service.store.encryption.epoch_secrets import EpochSecrets
from service.store.encryption.epoch_vault import VaultEpochs
from service.store.encryption.key_encryption_keys import KeyEncryptionKeys
from service.store.encryption.keyed_hash import Pepper
from service.store.encryption.private_files import NotPrivate, read_private
from service.store.key_services.configured import configured_key_service
from service.store.key_services.vault_transit import VaultTransit


@dataclass(frozen=True)
class Secrets:
    """The secrets that only the processes of one installation share."""

    key_encryption_keys: KeyEncryptionKeys = field(repr=False)
    epochs: EpochSecrets = field(repr=False)
    pepper: Pepper


def load_secrets(settings: Settings) -> Secrets:
    """Read the secrets; those that aren't configured are made on first use. Raises ConfigurationError."""
    directory = keys_directory(settings)
    key_encryption_keys = KeyEncryptionKeys(lambda: _key_encryption_keys(settings, directory))
    return Secrets(
        key_encryption_keys=key_encryption_keys,
        epochs=_epochs(settings, key_encryption_keys),
        pepper=_pepper(settings, directory),
    )


def _epochs(settings: Settings, key_encryption_keys: KeyEncryptionKeys) -> EpochSecrets:
    vault = settings.keys.epoch_vault
    if vault is None:
        return EpochFiles(epoch_directory(settings), key_encryption_keys)
    base = Path() if settings.origin is None else settings.origin.resolve().parent
    roots = None if vault.ca_file is None else base / vault.ca_file
    transit = VaultTransit(vault.url, vault.mount, base / vault.token_file, namespace=vault.namespace, roots=roots)
    return VaultEpochs(transit, vault.key)


def _pepper(settings: Settings, directory: Path) -> Pepper:
    first = _secret(settings.keys.pepper, directory / generated_pepper.FIRST)
    added = [each.get_secret_value() for each in settings.keys.added_peppers]
    names = [f"keys.added_peppers[{place}]" for place in range(len(added))]
    if settings.keys.pepper is None:
        files = generated_pepper.added_files(directory)
        names = [path.name for path in files] + names
        added = [_private_text(path) for path in files] + added
    return Pepper(first, tuple(_parsed(text, name) for text, name in zip(added, names, strict=True)))


def _key_encryption_keys(settings: Settings, directory: Path) -> list[bytes]:
    """Newest first: the configured or generated one, then those that only unwrap."""
    secrets = [_secret(settings.keys.key_encryption_key, directory / generated_kek.NEWEST)]
    for place, each in enumerate(settings.keys.previous_key_encryption_keys):
        secrets.append(_parsed(each.get_secret_value(), f"keys.previous_key_encryption_keys[{place}]"))
    if settings.keys.key_encryption_key is None:
        with contextlib.suppress(FileNotFoundError):
            previous = _private_text(directory / generated_kek.PREVIOUS)
            secrets.append(_parsed(previous, generated_kek.PREVIOUS))
    return secrets


def epoch_directory(settings: Settings) -> Path:
    """Where the files of the epoch keys are; a relative path starts at the configuration file."""
    configured = settings.keys.epoch_directory
    if configured is None:
        return settings.service.data_directory / "keys" / "epochs"
    return configured if settings.origin is None else settings.origin.resolve().parent / configured


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
    except OSError as error:
        raise unusable(error) from None
    return _parsed(text, f"keys.{path.name}")


def _parsed(text: str, name: str) -> bytes:
    try:
        secret = bytes.fromhex(text.strip())
    except ValueError:
        secret = b""
    if len(secret) != 32:
        raise ConfigurationError(f"{name}: 64 hex digits are required")
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
    return _private_text(path)


def _private_text(path: Path) -> str:
    """Raises ConfigurationError for a file that isn't ours alone, FileNotFoundError where there is none."""
    try:
        return read_private(path).decode("ascii", errors="replace")
    except NotPrivate as refused:
        raise ConfigurationError(f"keys.{path.name}: {refused}") from None


def audit_signing_key(settings: Settings) -> SigningKey:
    """The audit log's signing key; made on first use. Raises SigningKeyUnusable, ConfigurationError."""
    service = configured_key_service(settings)
    return load_signing_key(audit_key_directory(settings), settings.keys.audit_origin, service)


def audit_key_directory(settings: Settings) -> Path:
    """Where the audit log's keys are."""
    return settings.keys.audit_key_directory or keys_directory(settings)
