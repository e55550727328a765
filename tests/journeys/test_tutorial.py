"""docs/tutorial.md: every file and command in it, in its order, against the real service and stand-ins."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import tempfile
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from connectors.base.registry import sandboxes
from connectors.testing.sandbox import Sandbox
from service.cli.sandbox import system_entry
from tests.journeys.tutorial_shell import Block, Shell, Terminal, blocks, is_shown

pytestmark = pytest.mark.journey

ROOT = Path(__file__).parents[2]
TUTORIAL = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
PORTS = ("8080", "9001", "9002")
_PATIENCE_SECONDS = 150.0


@pytest.fixture
def home() -> Iterator[Path]:
    # Not below pytest's own directory: it is 0700, and as root the servers' account must get through.
    place = Path(tempfile.mkdtemp(prefix="expunge-"))
    place.chmod(0o711)
    yield place
    shutil.rmtree(place, ignore_errors=True)


def with_free_ports(text: str) -> tuple[str, str]:
    """The text with other ports, since those of the tutorial may be taken, and the address of the API."""
    with contextlib.ExitStack() as stack:
        free = []
        for _ in PORTS:
            probe = stack.enter_context(socket.socket())
            probe.bind(("127.0.0.1", 0))
            free.append(str(probe.getsockname()[1]))
    for port, other in zip(PORTS, free, strict=True):
        assert port in text
        text = re.sub(rf"\b{port}\b", other, text)
    return text, f"http://127.0.0.1:{free[0]}"


class Reader:
    """Does what the tutorial says, with a home directory of its own and hardly any environment."""

    def __init__(self, home: Path, url: str) -> None:
        names = ("PATH", "LANG", "TMPDIR")
        self._environment = {name: os.environ[name] for name in names if name in os.environ} | {
            "HOME": str(home),
            # A reader has the default address; only the test has another.
            "EXPUNGE_URL": url,
        }
        self.directory = home / "expunge-tutorial"
        self.shell = Shell(ROOT, self._environment)
        self.terminals: list[Terminal] = []

    def do(self, block: Block, expected: str | None) -> None:
        """Carry out one block; `expected` is the text that the tutorial shows after it."""
        if block.mark == "terminal":
            assert expected is not None
            self.terminals.append(Terminal(block.text, ROOT, self._environment))
            self.terminals[-1].wait_for(expected, _PATIENCE_SECONDS)
            return
        if block.mark == "end":
            assert [terminal.press_ctrl_c(60) for terminal in self.terminals] == [0] * len(self.terminals)
        output = self.shell.run(block.text)
        until = time.monotonic() + _PATIENCE_SECONDS
        while block.mark == "repeat" and not is_shown(expected or "", output) and time.monotonic() < until:
            time.sleep(1)
            output = self.shell.run(block.text)
        assert expected is None or is_shown(expected, output), f"{block.text}\nshould show\n{expected}\nbut\n{output}"

    def close(self) -> None:
        for each in (*self.terminals, self.shell):
            each.close()


@pytest.mark.slow(seconds=110)
@pytest.mark.timeout(600)
def test_the_tutorial_ends_with_verified_evidence(home: Path) -> None:
    text, url = with_free_ports(TUTORIAL)
    all_blocks = blocks(text)
    assert len(all_blocks) == TUTORIAL.count("```") // 2
    reader = Reader(home, url)
    try:
        for place, block in enumerate(all_blocks):
            following = all_blocks[place + 1] if place + 1 < len(all_blocks) else None
            shows = following is not None and following.language == "text" and following.mark is None
            if block.language == "sh":
                reader.do(block, following.text if following is not None and shows else None)
            elif block.mark is not None:
                (reader.directory / block.mark).write_text(block.text, encoding="utf-8")
    finally:
        reader.close()

    assert not reader.directory.exists()


def test_the_tutorial_connects_the_stand_ins_as_they_say_themselves() -> None:
    (shown,) = [block.text for block in blocks(TUTORIAL) if block.mark == "expunge.toml"]
    for entry in tomllib.loads(shown)["systems"]:
        kind = sandboxes()[entry["connector"]]
        assert issubclass(kind, Sandbox)
        port = entry["base_url"].split(":")[2].partition("/")[0]
        printed = system_entry(entry["connector"], f"http://127.0.0.1:{port}", kind.manual)
        assert entry | {"name": ""} == printed | {"name": ""}


@pytest.mark.parametrize(
    ("expected", "output", "shown"),
    [
        ("a b", "│ a │  b │", True),
        ("a ... d", "a b c d", True),
        ("a\nc", "a\nb\nc", True),
        ("c\na", "a\nb\nc", False),
        ("a ... d", "a b c", False),
        ("...\nb", "a", False),
        ("a", "", False),
    ],
)
def test_what_the_tutorial_shows_is_compared_with_the_output(expected: str, output: str, shown: bool) -> None:
    assert is_shown(expected, output) is shown
