"""The log's key: made once, kept to ourselves, and refused when it may not be only ours."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

from service.domain.audit.signed_note import TrustedKey
from service.store.audit_log.signing_key import SigningKeyUnusable, load_signing_key

ORIGIN = "expunge.example/log"


def test_the_key_is_made_on_first_use_and_kept(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    first = load_signing_key(keys, ORIGIN)
    assert load_signing_key(keys, ORIGIN).trusted == first.trusted
    assert stat.S_IMODE(keys.stat().st_mode) == 0o700
    assert stat.S_IMODE((keys / "audit.key").stat().st_mode) == 0o600
    assert TrustedKey.parse((keys / "audit.pub").read_text().strip()) == first.trusted
    assert sorted(path.name for path in keys.iterdir()) == ["audit.key", "audit.pub"]


def test_processes_that_come_at_once_get_the_same_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: load_signing_key(tmp_path / "keys", ORIGIN).trusted, range(16)))
    assert len(set(made)) == 1


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_key_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    load_signing_key(tmp_path, ORIGIN)
    (tmp_path / "audit.key").chmod(mode)
    with pytest.raises(SigningKeyUnusable, match="0600"):
        load_signing_key(tmp_path, ORIGIN)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to somebody else")
def test_a_key_of_another_user_is_refused(tmp_path: Path) -> None:
    load_signing_key(tmp_path, ORIGIN)
    os.chown(tmp_path / "audit.key", 65534, 65534)
    with pytest.raises(SigningKeyUnusable, match="another user"):
        load_signing_key(tmp_path, ORIGIN)


def test_a_link_in_the_place_of_the_key_is_not_followed(tmp_path: Path) -> None:
    load_signing_key(tmp_path, ORIGIN)
    (tmp_path / "audit.key").rename(tmp_path / "elsewhere")
    (tmp_path / "audit.key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SigningKeyUnusable, match="symbolic links"):
        load_signing_key(tmp_path, ORIGIN)


def test_something_that_is_no_ed25519_key_is_refused_without_being_shown(tmp_path: Path) -> None:
    load_signing_key(tmp_path, ORIGIN)
    other = generate_private_key(SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    for content in (b"secret nonsense", other):
        (tmp_path / "audit.key").write_bytes(content)
        with pytest.raises(SigningKeyUnusable) as refusal:
            load_signing_key(tmp_path, ORIGIN)
        assert "secret" not in str(refusal.value)


def test_a_public_key_that_is_not_of_this_key_and_origin_is_refused(tmp_path: Path) -> None:
    load_signing_key(tmp_path / "a", ORIGIN)
    load_signing_key(tmp_path / "b", ORIGIN)
    with pytest.raises(SigningKeyUnusable, match="public half"):
        load_signing_key(tmp_path / "a", "other.example/log")
    (tmp_path / "a" / "audit.pub").write_bytes((tmp_path / "b" / "audit.pub").read_bytes())
    with pytest.raises(SigningKeyUnusable, match="public half"):
        load_signing_key(tmp_path / "a", ORIGIN)
