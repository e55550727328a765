"""The demo's output directory, which replaces an earlier one only when it is complete.

Decides which files the demo leaves and what happens to them when a run fails or is interrupted.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shlex import quote

CERTIFICATES, LOG, KEY, VERIFIER = "certificates", "audit.jsonl", "audit.pub", "verify_audit.py"
REPORT, RECORDS, VERIFY = "report.html", "records.csv", "verify.sh"
REPORT_MANIFEST = f"{REPORT}.manifest"
_OURS = {CERTIFICATES, LOG, KEY, VERIFIER, REPORT, REPORT_MANIFEST, RECORDS, VERIFY}
_VERIFY = """\
#!/bin/sh
# Verifies every piece of evidence in this directory, offline. It needs Python 3.11 with the package "cryptography" and
# nothing of Expunge: with another Python, PYTHON=/path/to/python sh verify.sh
set -eu
cd "$(dirname "$0")"
python="${{PYTHON:-{python}}}"
"$python" {verifier} {log}
"$python" {verifier} --manifest {manifest} {report}
for certificate in {certificates}/*.json; do
    "$python" {verifier} --certificate "$certificate" --key {key}
done
"""


class OutputUnusable(Exception):  # noqa: N818 - says what is true
    """The output directory can't be written, or holds files that aren't the demo's."""


class RunFailed(Exception):  # noqa: N818 - says what is true
    """A run that failed. The text says why, and where its unfinished output is."""


@contextmanager
def replaced_when_whole(output: Path) -> Iterator[Path]:
    """A new directory beside `output`, which takes its place when the context ends without an error.

    An interrupted run removes its own directory; a failed one keeps it and names it, for a look. In both cases an
    earlier output is untouched. Raises OutputUnusable before anything is made, RunFailed for every ordinary error.
    """
    place = output.resolve()
    _refuse_strange(place, output)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f"{place.name}.unfinished-", dir=place.parent))
        draft.chmod(0o755)
    except OSError as error:
        raise OutputUnusable(f"can't write beside {output}: {error.strerror}") from None
    try:
        yield draft
        _swap(draft, place)
    except Exception as error:
        kept = f"; its unfinished output is in {draft}" if any(draft.iterdir()) else ""
        if not kept:
            draft.rmdir()
        raise RunFailed(f"{str(error) or type(error).__name__}{kept}") from error
    except BaseException:
        shutil.rmtree(draft)
        raise


def _refuse_strange(place: Path, output: Path) -> None:
    if place.exists() and not place.is_dir():
        raise OutputUnusable(f"{output} isn't a directory; give another --output")
    strange = {path.name for path in place.iterdir()} - _OURS if place.exists() else set()
    if strange:
        raise OutputUnusable(f"{output} holds other files; give another --output")


def _swap(draft: Path, place: Path) -> None:
    """Two renames: between them the earlier output lies under the name of the draft with `.earlier`."""
    earlier = draft.with_name(f"{draft.name}.earlier")
    had_one = place.exists()
    if had_one:
        place.rename(earlier)
    try:
        draft.rename(place)
    except BaseException:
        if had_one:
            earlier.rename(place)
        raise
    if had_one:
        shutil.rmtree(earlier)


def write_verify_script(directory: Path) -> None:
    """Write the command that verifies the whole directory; it works after the directory was moved."""
    names = {"verifier": VERIFIER, "log": LOG, "manifest": REPORT_MANIFEST, "report": REPORT}
    text = _VERIFY.format(python=sys.executable, certificates=CERTIFICATES, key=KEY, **names)
    (directory / VERIFY).write_text(text, encoding="utf-8")


def verify_command(output: Path) -> str:
    """Return the command to copy into a shell in the present working directory."""
    return f"sh {quote(str(output / VERIFY))}"
