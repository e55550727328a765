"""Runs the blocks of a tutorial as its reader would: one shell for commands, a terminal for each that stays open."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_BLOCK = re.compile(r"^```(\w+)(?: ([^\n]+))?\n(.*?)^```$", flags=re.DOTALL | re.MULTILINE)
_FRAMES = re.compile("[\u2500-\u257f]+")
_DONE = "block-is-done"


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, the word after it, and its lines."""

    language: str
    mark: str | None
    text: str


def blocks(document: str) -> list[Block]:
    """All fenced blocks in their order."""
    return [Block(language, mark or None, text) for language, mark, text in _BLOCK.findall(document)]


def is_shown(expected: str, output: str) -> bool:
    """Whether the lines stand in the output in their order; `...` is any text, frames and widths don't count."""
    lines = [_words(line) for line in output.splitlines()]
    place = 0
    for wanted in map(_words, expected.splitlines()):
        if wanted == "...":
            continue
        pattern = re.compile(".*".join(re.escape(part.strip()) for part in wanted.split("...")))
        place = next((n + 1 for n in range(place, len(lines)) if pattern.search(lines[n])), 0)
        if place == 0:
            return False
    return True


def _words(line: str) -> str:
    return " ".join(_FRAMES.sub(" ", line).split())


class Shell:
    """One bash that runs block after block; its output is standard output and error together."""

    def __init__(self, directory: Path, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=directory,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, text: str) -> str:
        """Run a block; every command in it must succeed. Raises AssertionError with the output otherwise."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"set -eo pipefail\n{text}\nprintf '\\n{_DONE}\\n'\n")
        self._process.stdin.flush()
        output = []
        for line in self._process.stdout:
            if line.strip() == _DONE:
                return "".join(output)
            output.append(line)
        raise AssertionError(f"a command failed:\n{text}\n{''.join(output)}")

    def close(self) -> None:
        """End the shell."""
        self._process.kill()
        self._process.communicate()


class Terminal:
    """A command that stays running, in a session of its own."""

    def __init__(self, text: str, directory: Path, environment: Mapping[str, str]) -> None:
        self._output: list[str] = []
        self._process = subprocess.Popen(
            ["bash", "--noprofile", "--norc", "-ec", text],
            cwd=directory,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._output.append(line)

    @property
    def output(self) -> str:
        """What it has printed until now."""
        return "".join(self._output)

    def wait_for(self, expected: str, seconds: float) -> None:
        """Return when it shows the lines. Raises AssertionError when it ends before, or takes too long."""
        until = time.monotonic() + seconds
        while not is_shown(expected, self.output):
            assert self._process.poll() is None, f"ended too early:\n{self.output}"
            assert time.monotonic() < until, f"not shown:\n{expected}\nbut:\n{self.output}"
            time.sleep(0.2)

    def press_ctrl_c(self, seconds: float) -> int:
        """Interrupt it as a terminal does, and answer its exit code."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGINT)
        return self._process.wait(seconds)

    def close(self) -> None:
        """End it: as a reader would, so that it takes down what it started; at once if that takes too long."""
        try:
            self.press_ctrl_c(60)
        except ProcessLookupError:
            pass
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._reader.join(10)
