"""Keep signed heads in a git repository: a commit per head, pushed to a remote if one is configured.

The branch's newest commit holds the newest head, its history all of them; the remote must refuse force-pushes
(`receive.denyNonFastForwards`). The remote's branch is compared, because a local clone that agrees with a rewritten
database proves nothing. Runs the `git` program, with no shell, no prompt and no configuration of the user's.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from service.domain.audit.anchor import AnchorUnreachable, Conflict, SignedHead, SignedLog, compare_with

HEAD_FILE = "head.note"
_BRANCH = "audit-heads"
_REMOTE_REF = "refs/remotes/anchor/audit-heads"
_PATIENCE_SECONDS = 60.0


class GitAnchor:
    """A bare repository in `directory`; `remote` is a URL or path that `git push` takes."""

    def __init__(self, name: str, directory: Path, remote: str | None = None) -> None:
        self._name = name
        self._directory = directory
        self._remote = remote

    @property
    def name(self) -> str:
        """The anchor's configured name."""
        return self._name

    def compare(self, log: SignedLog) -> Conflict | None:
        """Where the store disagrees with the branch's newest commit. Raises AnchorUnreachable."""
        return compare_with(self._name, self.last_note, log)

    def publish(self, head: SignedHead, log: SignedLog, *, over: bool = False) -> None:
        """Commit the head on top of the remote's branch, and push. Raises AnchorUnreachable."""
        tip = self._tip()
        if tip is not None and self._note_at(tip) == head.note:
            return
        blob = self._git("hash-object", "-w", "--stdin", given=head.note.encode()).strip()
        tree = self._git("mktree", given=f"100644 blob {blob.decode()}\t{HEAD_FILE}\n".encode()).strip()
        parents = () if tip is None else ("-p", tip)
        message = f"audit log at {head.checkpoint.size}\n".encode()
        commit = self._git("commit-tree", tree.decode(), *parents, given=message).strip().decode()
        if self._remote is not None:
            self._git("push", "--quiet", "--", self._remote, f"{commit}:refs/heads/{_BRANCH}")
        self._git("update-ref", f"refs/heads/{_BRANCH}", commit)

    def last_note(self) -> str | None:
        """The newest commit's note; None for a repository without commits. Raises AnchorUnreachable."""
        tip = self._tip()
        return None if tip is None else self._note_at(tip)

    def _note_at(self, commit: str) -> str:
        try:
            return self._git("cat-file", "blob", f"{commit}:{HEAD_FILE}").decode()
        except UnicodeDecodeError:
            return ""

    def _tip(self) -> str | None:
        """The commit that counts: the remote's if there is a remote."""
        if not (self._directory / "HEAD").exists():
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._git("init", "--quiet", "--bare", f"--initial-branch={_BRANCH}")
        ref = f"refs/heads/{_BRANCH}"
        if self._remote is not None:
            listed = self._git("ls-remote", "--", self._remote, ref)
            if not listed:
                return None
            self._git("fetch", "--quiet", "--", self._remote, f"+{ref}:{_REMOTE_REF}")
            ref = _REMOTE_REF
        found = self._git("for-each-ref", "--format=%(objectname)", ref).strip().decode()
        return found or None

    def _git(self, *arguments: str, given: bytes = b"") -> bytes:
        try:
            done = subprocess.run(  # our own arguments, no shell
                ["git", "--git-dir", str(self._directory), *arguments],
                input=given,
                capture_output=True,
                env=_environment(),
                timeout=_PATIENCE_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise AnchorUnreachable(f"git_{type(error).__name__}".lower()) from None
        if done.returncode != 0:
            # Git's output may hold the remote's address with credentials.
            raise AnchorUnreachable(f"git_{arguments[0]}_failed")
        return done.stdout


def _environment() -> Mapping[str, str]:
    passed_on = ("PATH", "HOME", "SSH_AUTH_SOCK", "GIT_SSH_COMMAND")
    kept = {name: os.environ[name] for name in passed_on if name in os.environ}
    who = {"NAME": "expunge", "EMAIL": "expunge@localhost"}
    return kept | {
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_TERMINAL_PROMPT": "0",
        **{f"GIT_{role}_{part}": value for role in ("AUTHOR", "COMMITTER") for part, value in who.items()},
    }
