"""Epoch keys in a Vault: rotated and deleted there, and nothing that is stored elsewhere brings them back."""

from __future__ import annotations

import base64
import hmac
import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from service.encryption.rotate_epochs import rotate_epochs
from service.encryption.rotate_kek import rotate_kek
from service.settings import Settings
from service.store.encryption.epoch_secrets import EpochKeyMissing, EpochKeyUnusable
from service.store.encryption.epoch_vault import VaultEpochs
from service.store.encryption.key_store import request_owner
from service.store.encryption.secrets import load_secrets
from service.store.stores import Stores
from tests.integration.encryption.conftest import settings_in

TOKEN = "token-of-the-test"


class Vault(ThreadingHTTPServer):
    """A transit engine with the calls that epochs need; as strict as Vault about deletion and tokens."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.keys: dict[str, bytes] = {"expunge-audit": b"somebody else's"}
        self.deletable: set[str] = set()
        self.status: int | None = None


class _Handler(BaseHTTPRequestHandler):
    server: Vault

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else {}
        if self.headers["X-Vault-Token"] != TOKEN:
            self._send(403)
        elif self.server.status is not None:
            self._send(self.server.status)
        else:
            self._send(*self._do(body))

    do_GET = do_POST = do_DELETE = do_LIST = _answer  # noqa: N815 - the names that http.server asks for

    def _do(self, body: dict[str, Any]) -> tuple[int, dict[str, Any] | None]:
        keys = self.server.keys
        kind, _, name = self.path.removeprefix("/v1/transit/").partition("/")
        if self.command == "LIST":
            return 200, {"keys": sorted(keys)}
        if kind == "hmac":
            if name not in keys:
                return 400, None
            assert body["key_version"] == 1
            digest = hmac.digest(keys[name], base64.b64decode(body["input"]), "sha256")
            return 200, {"hmac": f"vault:v1:{base64.b64encode(digest).decode()}"}
        if self.command == "DELETE":
            if name not in self.server.deletable:
                return 400, None
            del keys[name]
            return 204, None
        if name.endswith("/config"):
            self.server.deletable |= {name.removesuffix("/config")} if body["deletion_allowed"] else set()
            return 200, {}
        keys.setdefault(name, os.urandom(32))
        return 200, {"name": name}

    def _send(self, status: int, data: dict[str, Any] | None = None) -> None:
        content = b"" if data is None else json.dumps({"data": data}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def vault() -> Iterator[Vault]:
    with Vault() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def settings(vault: Vault, tmp_path: Path) -> Settings:
    (tmp_path / "token").write_text(TOKEN)
    url = f"http://127.0.0.1:{vault.server_port}"
    place = {"url": url, "token_file": str(tmp_path / "token")}
    return settings_in(tmp_path / "data", epoch_vault=place, epoch_backup_seconds=0)


def epochs_in(vault: Vault) -> list[str]:
    return [name for name in vault.keys if name.startswith("expunge-epoch-")]


def test_an_epoch_is_a_key_in_vault_that_is_deleted_there(
    stores: Stores, settings: Settings, vault: Vault, database_url: str, key_database_url: str
) -> None:
    assert isinstance(load_secrets(settings).epochs, VaultEpochs)
    keys = stores.keys.create([request_owner(uuid4()) for _ in range(3)])
    first = epochs_in(vault)

    assert rotate_epochs(stores, settings, now=True).destroyed == 1

    assert len(epochs_in(vault)) == 1
    assert epochs_in(vault) != first
    assert "expunge-audit" in vault.keys  # Others' keys are left alone.
    another = Stores.open(database_url, key_database_url, load_secrets(settings))
    assert another.keys.get(list(keys)) == keys
    another.close()
    assert not (settings.service.data_directory / "keys/epochs").exists()
    assert rotate_kek(stores, settings).rewrapped == 0


def test_a_vault_that_does_not_answer_is_not_a_missing_key(stores: Stores, settings: Settings, vault: Vault) -> None:
    stores.keys.create([request_owner(uuid4())])
    for status in (403, 404, 500, 503):
        vault.status = status
        with pytest.raises(EpochKeyUnusable) as unusable:
            stores.keys.check()
        assert isinstance(unusable.value, EpochKeyMissing) is (status == 404)
    vault.status = None
    stores.keys.check()
    ((settings.keys.epoch_vault and Path(settings.keys.epoch_vault.token_file)) or Path()).unlink()
    with pytest.raises(EpochKeyUnusable, match="token_file"):
        stores.keys.check()


def test_a_key_that_was_deleted_in_vault_is_missing(stores: Stores, vault: Vault) -> None:
    stores.keys.create([request_owner(uuid4())])
    del vault.keys[epochs_in(vault)[0]]
    with pytest.raises(EpochKeyMissing):
        stores.keys.check()
