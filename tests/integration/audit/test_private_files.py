"""Every secret that we keep in a file is refused when others may read it: one rule for all."""

from __future__ import annotations

from pathlib import Path

import pytest

from connectors.base.config import ConfigurationError
from service.settings import Settings, parse_settings
from service.store.audit_log.signing_key import SigningKeyUnusable
from service.store.encryption.secrets import audit_signing_key, load_secrets


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    parsed = parse_settings({"service": {"data_directory": str(tmp_path / "data")}})
    load_secrets(parsed)
    audit_signing_key(parsed)
    return parsed


@pytest.mark.parametrize("name", ["key_encryption_key", "pepper", "audit.key"])
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o644])
def test_a_secret_that_is_open_to_others_is_refused(name: str, mode: int, settings: Settings) -> None:
    path = settings.service.data_directory / "keys" / name
    path.chmod(mode)
    with pytest.raises((ConfigurationError, SigningKeyUnusable), match=rf"{name} is open to others.* 0600"):
        (load_secrets(settings), audit_signing_key(settings))
    path.chmod(0o400)
    assert load_secrets(settings)
    assert audit_signing_key(settings)


@pytest.mark.parametrize("name", ["key_encryption_key", "pepper", "audit.key"])
def test_a_link_in_the_place_of_a_secret_is_refused(name: str, settings: Settings) -> None:
    path = settings.service.data_directory / "keys" / name
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))
    with pytest.raises((ConfigurationError, SigningKeyUnusable), match="symbolic links"):
        (load_secrets(settings), audit_signing_key(settings))
