"""The log's key in a KMS or in the configuration: the same log, the same rotation, and no answer taken on trust."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Engine

from connectors.base.config import ConfigurationError
from service.audit.rotate_signing_key import rotate_signing_key
from service.audit.sequence import checkpoint_everything
from service.domain.audit.signed_note import open_checkpoint, open_handover
from service.settings import parse_settings
from service.store.audit_log.signing_key import KEY_FILE, SigningKeyUnusable, load_signing_key
from service.store.key_services.configured import configured_key_service
from service.store.key_services.configured_keys import ConfiguredKeys
from service.store.key_services.vault import VaultKeys

ORIGIN = "expunge.example/log"
TOKEN = "hvs.example"
SEEDS = (b"\x01" * 32, b"\x02" * 32)


@dataclass
class Vault:
    """A strict stand-in of the transit engine, from its documentation (see the client); an Ed25519 key per version."""

    versions: list[Ed25519PrivateKey] = field(default_factory=lambda: [Ed25519PrivateKey.generate()])
    kind: str = "ed25519"
    calls: list[str] = field(default_factory=list)
    answers: Callable[[httpx.Request], httpx.Response | None] = lambda _: None

    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self._answer)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.calls.append(f"{request.method} {request.url.path}")
        if (told := self.answers(request)) is not None:
            return told
        if request.headers.get("X-Vault-Token") != TOKEN:
            return httpx.Response(403, json={"errors": ["permission denied"]})
        if request.method == "GET" and request.url.path == "/v1/transit/keys/log":
            keys = {
                str(number): {"public_key": base64.b64encode(key.public_key().public_bytes_raw()).decode()}
                for number, key in enumerate(self.versions, 1)
            }
            return httpx.Response(
                200, json={"data": {"type": self.kind, "latest_version": len(self.versions), "keys": keys}}
            )
        if request.method == "POST" and request.url.path == "/v1/transit/keys/log/rotate":
            self.versions.append(Ed25519PrivateKey.generate())
            return httpx.Response(204)
        if request.method == "POST" and request.url.path == "/v1/transit/sign/log":
            asked = json.loads(request.content)
            if set(asked) - {"input", "key_version"} or not 0 <= asked.get("key_version", 0) <= len(self.versions):
                return httpx.Response(400, json={"errors": ["invalid request"]})
            version = asked.get("key_version") or len(self.versions)
            signature = self.versions[version - 1].sign(base64.b64decode(asked["input"], validate=True))
            return httpx.Response(
                200, json={"data": {"signature": f"vault:v{version}:{base64.b64encode(signature).decode()}"}}
            )
        return httpx.Response(404, json={"errors": []})


@pytest.fixture
def vault() -> Vault:
    return Vault()


@pytest.fixture
def service(vault: Vault, tmp_path: Path) -> VaultKeys:
    token_file = tmp_path / "token"
    token_file.write_text(f"{TOKEN}\n")
    return VaultKeys("http://127.0.0.1:8200", "transit", "log", token_file, transport=vault.transport())


def test_a_log_is_signed_by_a_key_that_never_leaves_the_service(
    engine: Engine, writer: Any, vault: Vault, service: VaultKeys, tmp_path: Path
) -> None:
    key = load_signing_key(tmp_path / "keys", ORIGIN, service)
    writer.log(uuid4())
    checkpoint = open_checkpoint(checkpoint_everything(engine, key), key.trusted)
    assert checkpoint.size == 1
    assert key.trusted.public_bytes == vault.versions[0].public_key().public_bytes_raw()
    held = (tmp_path / "keys" / KEY_FILE).read_text()
    assert held.startswith("service vault:log:1 ")
    # Loading anew asks nobody: the public half was noted when the log took the key.
    vault.calls.clear()
    assert load_signing_key(tmp_path / "keys", ORIGIN, service).trusted == key.trusted
    assert vault.calls == []


def test_a_rotation_in_the_service_alone_changes_nothing(
    engine: Engine, writer: Any, vault: Vault, service: VaultKeys, tmp_path: Path
) -> None:
    key = load_signing_key(tmp_path / "keys", ORIGIN, service)
    vault.versions.append(Ed25519PrivateKey.generate())
    writer.log(uuid4())
    assert open_checkpoint(checkpoint_everything(engine, key), key.trusted)


def test_a_log_moves_from_a_file_to_a_service_and_on(
    engine: Engine, writer: Any, vault: Vault, service: VaultKeys, tmp_path: Path
) -> None:
    directory = tmp_path / "keys"
    first = load_signing_key(directory, ORIGIN)
    writer.log(uuid4())
    checkpoint_everything(engine, first)
    rotations = [
        rotate_signing_key(engine, directory, ORIGIN, operator="ada", service=service),
        rotate_signing_key(engine, directory, ORIGIN, operator="ada", service=service),
    ]
    assert [each.old for each in rotations] == [first.trusted, rotations[0].new]
    assert [vault.versions.index(key) for key in vault.versions if _is(key, rotations[1].new.public_bytes)] == [2]
    trusted = first.trusted
    for each in rotations:
        trusted = open_handover(each.handover, trusted).key
    writer.log(uuid4())
    note = checkpoint_everything(engine, load_signing_key(directory, ORIGIN, service))
    assert open_checkpoint(note, trusted).size > rotations[1].size
    with pytest.raises(SigningKeyUnusable, match="configures none"):
        load_signing_key(directory, ORIGIN)


def _is(key: Ed25519PrivateKey, public: bytes) -> bool:
    return key.public_key().public_bytes_raw() == public


def signature_of(key: Ed25519PrivateKey, version: int = 1) -> Callable[[httpx.Request], httpx.Response | None]:
    def answer(request: httpx.Request) -> httpx.Response | None:
        if "/sign/" not in request.url.path:
            return None
        signature = key.sign(base64.b64decode(json.loads(request.content)["input"]))
        text = f"vault:v{version}:{base64.b64encode(signature).decode()}"
        return httpx.Response(200, json={"data": {"signature": text}})

    return answer


def refusing(_: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("ada@example.test")


@pytest.mark.parametrize(
    ("answers", "code"),
    [
        (signature_of(Ed25519PrivateKey.generate()), "another key than the log's"),
        (signature_of(Ed25519PrivateKey.generate(), version=2), "vault_signature_not_understood"),
        (lambda _: httpx.Response(200, json={"data": {}}), "vault_signature_not_understood"),
        (lambda _: httpx.Response(200, json={"data": {"signature": "vault:v1:%%"}}), "vault_signature_not_understood"),
        (lambda _: httpx.Response(200, content=b"<html>"), "vault_jsondecodeerror"),
        (lambda _: httpx.Response(503, json={"errors": ["ada@example.test"]}), "vault_status_503"),
        (lambda _: httpx.Response(302, headers={"Location": "http://elsewhere.example"}), "vault_status_302"),
        (refusing, "vault_connecterror"),
    ],
)
def test_no_head_is_signed_by_what_the_service_answers_wrongly(
    engine: Engine, writer: Any, vault: Vault, service: VaultKeys, tmp_path: Path, answers: Any, code: str
) -> None:
    key = load_signing_key(tmp_path / "keys", ORIGIN, service)
    writer.log(uuid4())
    vault.answers = answers
    with pytest.raises(SigningKeyUnusable, match=code) as refused:
        checkpoint_everything(engine, key)
    assert "ada" not in str(refused.value)
    # Nothing was lost: once the service answers again the entry is signed over.
    vault.answers = lambda _: None
    assert open_checkpoint(checkpoint_everything(engine, key), key.trusted).size == 1


@pytest.mark.parametrize(
    ("data", "code"),
    [
        ({}, "vault_version_not_understood"),
        ({"latest_version": "1"}, "vault_version_not_understood"),
        ({"latest_version": 1}, "vault_public_key_not_understood"),
        ({"latest_version": 1, "keys": []}, "vault_public_key_not_understood"),
        ({"latest_version": 1, "keys": {"1": "2026-12-01T00:00:00Z"}}, "vault_public_key_not_understood"),
        ({"latest_version": 1, "keys": {"1": {"public_key": ""}}}, "vault_public_key_not_understood"),
    ],
)
def test_a_key_in_another_form_is_refused_with_a_code(
    vault: Vault, service: VaultKeys, tmp_path: Path, data: dict[str, object], code: str
) -> None:
    vault.answers = lambda _: httpx.Response(200, json={"data": {"type": "ed25519", **data}})
    with pytest.raises(SigningKeyUnusable, match=code):
        load_signing_key(tmp_path / "keys", ORIGIN, service)


def test_a_key_of_another_type_or_name_and_a_missing_token_are_refused(
    vault: Vault, service: VaultKeys, tmp_path: Path
) -> None:
    load_signing_key(tmp_path / "keys", ORIGIN, service)
    renamed = VaultKeys("http://127.0.0.1:8200", "transit", "other", tmp_path / "token", transport=vault.transport())
    with pytest.raises(SigningKeyUnusable, match="another one"):
        load_signing_key(tmp_path / "keys", ORIGIN, renamed).sign(b"x")
    with pytest.raises(SigningKeyUnusable, match="vault_status_404"):
        load_signing_key(tmp_path / "new", ORIGIN, renamed)
    vault.kind = "ecdsa-p256"
    with pytest.raises(SigningKeyUnusable, match="ed25519"):
        load_signing_key(tmp_path / "new", ORIGIN, service)
    (tmp_path / "token").unlink()
    with pytest.raises(SigningKeyUnusable, match="token_file"):
        load_signing_key(tmp_path / "new", ORIGIN, service)


def test_keys_from_the_configuration_rotate_too(engine: Engine, writer: Any, tmp_path: Path) -> None:
    directory, alone, both = tmp_path / "keys", ConfiguredKeys(SEEDS[:1]), ConfiguredKeys(SEEDS)
    first = load_signing_key(directory, ORIGIN, alone)
    writer.log(uuid4())
    checkpoint_everything(engine, first)
    with pytest.raises(SigningKeyUnusable, match="audit_next_key"):
        rotate_signing_key(engine, directory, ORIGIN, operator="ada", service=alone)
    rotation = rotate_signing_key(engine, directory, ORIGIN, operator="ada", service=both)
    assert open_handover(rotation.handover, first.trusted).key == rotation.new
    # Tidied up: the second is the only one now.
    later = load_signing_key(directory, ORIGIN, ConfiguredKeys(SEEDS[1:]))
    assert later.trusted == rotation.new
    writer.log(uuid4())
    assert checkpoint_everything(engine, later)
    with pytest.raises(SigningKeyUnusable, match="neither"):
        load_signing_key(directory, ORIGIN, alone).sign(b"x")
    assert SEEDS[0].hex() not in (directory / KEY_FILE).read_text()


def test_settings_name_one_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUDIT_KEY", SEEDS[0].hex())
    vault = {"url": "https://vault.example.test:8200", "token_file": "token"}

    def parsed(**keys: Any) -> Any:
        return configured_key_service(parse_settings({"keys": keys}, origin=tmp_path / "expunge.toml"))

    assert parsed() is None
    ours = parsed(audit_key="env:AUDIT_KEY").newest()
    assert ours.startswith("configured:")
    assert parsed(audit_key="env:AUDIT_KEY", audit_vault=vault).sign(ours, b"x")
    with pytest.raises(SigningKeyUnusable, match="token_file"):
        parsed(audit_key="env:AUDIT_KEY", audit_vault=vault).newest()
    with pytest.raises(SigningKeyUnusable, match="doesn't configure"):
        parsed(audit_vault=vault).sign(ours, b"x")
    for wrong in (
        {"audit_next_key": "env:AUDIT_KEY"},
        {"audit_key": "abcd"},
        {"audit_vault": vault | {"url": "http://vault.example.test"}},
        {"audit_vault": vault | {"url": "file:///etc"}},
    ):
        with pytest.raises(ConfigurationError) as refused:
            parsed(**wrong)
        assert SEEDS[0].hex() not in str(refused.value)
