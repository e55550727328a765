"""Every secret that we keep in a file is refused when others may read it: one rule for all."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import pytest

from connectors.base.config import ConfigurationError
from service.settings import Settings, parse_settings
from service.store.audit_log.signing_key import SigningKeyUnusable
from service.store.encryption.epoch_secrets import EpochKeyUnusable
from service.store.encryption.generated_kek import begin_replacing
from service.store.encryption.generated_pepper import prepare_next, take_next
from service.store.encryption.secrets import audit_signing_key, load_secrets

EPOCH = UUID(int=7)
REFUSED = (ConfigurationError, SigningKeyUnusable, EpochKeyUnusable)
every_secret = pytest.mark.parametrize(
    "name",
    [
        "key_encryption_key",
        "key_encryption_key.previous",
        "pepper",
        "pepper.2",
        "audit.key",
        f"epochs/{EPOCH}.epoch",
    ],
)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Every secret that Expunge makes is there, those of a rotation included."""
    parsed = parse_settings({"service": {"data_directory": str(tmp_path / "data")}})
    load_secrets(parsed)
    begin_replacing(tmp_path / "data/keys")
    prepare_next(tmp_path / "data/keys")
    take_next(tmp_path / "data/keys")
    load_secrets(parsed).epochs.create(EPOCH)
    read_all(parsed)
    return parsed


def read_all(settings: Settings) -> None:
    load_secrets(settings).epochs.read(EPOCH)
    audit_signing_key(settings)


@every_secret
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o644])
def test_a_secret_that_is_open_to_others_is_refused(name: str, mode: int, settings: Settings) -> None:
    path = settings.service.data_directory / "keys" / name
    path.chmod(mode)
    with pytest.raises(REFUSED, match=rf"{path.name} is open to others.* 0600"):
        read_all(settings)
    path.chmod(0o400)
    read_all(settings)


@every_secret
def test_a_link_in_the_place_of_a_secret_is_refused(name: str, settings: Settings) -> None:
    path = settings.service.data_directory / "keys" / name
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))
    with pytest.raises(REFUSED, match="symbolic links"):
        read_all(settings)
