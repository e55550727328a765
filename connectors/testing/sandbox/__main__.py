"""`python -m connectors.testing.sandbox --spec FILE.json`.

Runs several stand-ins in one process, until SIGTERM.

Decides the form of the spec; prints one JSON line `{"port": N}` when they answer. Nothing of a seed is ever printed.
Spec: {"control_token": "...", "port": 0,
       "sandboxes": {"<mount>": {"kind": "zendesk", "options": {...}, "seed_file": "path or null"}}}
The token stands in the spec and not on the command line, which everybody on the machine can read.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from connectors.base.config import ConfigurationError, check_keys
from connectors.base.registry import named, sandboxes
from connectors.testing.sandbox.harness import Sandbox
from connectors.testing.sandbox.server import SandboxServer

_SPEC_KEYS = ("control_token", "port", "sandboxes")
_SANDBOX_KEYS = ("kind", "options", "seed_file")


@dataclass(frozen=True)
class Spec:
    """A checked spec: the stand-ins are built and seeded."""

    control_token: str
    port: int
    sandboxes: Mapping[str, Sandbox]


def read_spec(path: Path) -> Spec:
    """Read and check a spec. Raises ConfigurationError naming the key."""
    table = _read_json(path, "spec")
    if not isinstance(table, dict):
        raise ConfigurationError("spec: an object is required")
    check_keys(table, _SPEC_KEYS, "spec")
    token, port, mounts = table.get("control_token"), table.get("port", 0), table.get("sandboxes")
    if not isinstance(token, str) or not token:
        raise ConfigurationError("spec.control_token: a text is required")
    if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port <= 65535:
        raise ConfigurationError("spec.port: a port number is required; 0 takes a free one")
    if not isinstance(mounts, dict) or not mounts:
        raise ConfigurationError("spec.sandboxes: at least one is required")
    if "" in mounts and len(mounts) > 1:
        raise ConfigurationError('spec.sandboxes: the mount "" hides all others')
    return Spec(token, port, {mount: _build(mount, entry) for mount, entry in mounts.items()})


def _build(mount: str, entry: Any) -> Sandbox:
    where = f"spec.sandboxes.{mount}"
    if not isinstance(entry, dict):
        raise ConfigurationError(f"{where}: an object is required")
    check_keys(entry, _SANDBOX_KEYS, where)
    kind = named(sandboxes(), str(entry.get("kind")), "sandbox")
    if not issubclass(kind, Sandbox):
        raise ConfigurationError(f"{where}.kind: not a Sandbox")
    sandbox = kind(entry.get("options"))
    if entry.get("seed_file") is not None:
        sandbox.seed(_read_json(Path(entry["seed_file"]), f"{where}.seed_file"))
    return sandbox


def _read_json(path: Path, where: str) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{where}: can't be read: {error.strerror}") from None
    except ValueError:
        # The parser's own message would quote the text.
        raise ConfigurationError(f"{where}: not JSON") from None


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT. 2 when the spec can't be used."""
    parser = argparse.ArgumentParser(prog="python -m connectors.testing.sandbox")
    parser.add_argument("--spec", type=Path, required=True)
    options = parser.parse_args(arguments)
    told_to_stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: told_to_stop.set())
    try:
        spec = read_spec(options.spec)
    except ConfigurationError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    with SandboxServer(spec.sandboxes, control_token=spec.control_token, port=spec.port) as server:
        sys.stdout.write(json.dumps({"port": server.port}) + "\n")
        sys.stdout.flush()
        told_to_stop.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
