"""Access tokens and schemas that outlive a process, in files that only their owner can read.

Without a directory they live in this process alone. Decides where and how they are kept, not how long they are good.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import stat
from pathlib import Path
from typing import Any

from connectors.base.config import ConfigurationError

_in_process: dict[str, Any] = {}


class PrivateCache:
    """JSON values by key. Keys are hashed into file names, so neither names nor listings tell anything."""

    def __init__(self, directory: str | None) -> None:
        self._directory = Path(directory).expanduser() if directory else None
        if self._directory is not None:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            mode = stat.S_IMODE(self._directory.stat().st_mode)
            if mode & 0o077:
                raise ConfigurationError("policy.cache_directory: only its owner may have access to it (mode 0700)")

    def get(self, key: str) -> Any:
        """The value, or None where there is none or where it can't be read as one."""
        if self._directory is None:
            return _in_process.get(key)
        try:
            return json.loads(self._path(key).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return None

    def put(self, key: str, value: Any) -> None:
        """Keep the value; readers see the old one or the new one, never half of it."""
        if self._directory is None:
            _in_process[key] = value
            return
        path = self._path(key)
        draft = path.with_name(f".{secrets.token_hex(8)}")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            json.dump(value, file)
        draft.replace(path)

    def forget(self, key: str) -> None:
        """Drop the value, if there is one."""
        if self._directory is None:
            _in_process.pop(key, None)
        else:
            self._path(key).unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        assert self._directory is not None
        return self._directory / f"{hashlib.sha256(key.encode()).hexdigest()}.json"
