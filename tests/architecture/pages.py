"""The project's pages, and how their tables and words are read."""

import re
from collections.abc import Iterator
from pathlib import Path

import click

ROOT = Path(__file__).parents[2]


DEPLOY = ROOT / "deploy"


RUNBOOKS = DEPLOY / "runbooks"


DOCS = ROOT / "docs"


README = (ROOT / "README.md").read_text(encoding="utf-8")


API = (DOCS / "api.md").read_text(encoding="utf-8")


CONCEPTS = (DOCS / "concepts.md").read_text(encoding="utf-8")


CONNECTORS = (DOCS / "connectors.md").read_text(encoding="utf-8")


OPERATING = (DOCS / "operating.md").read_text(encoding="utf-8")


SETTINGS = (DOCS / "settings.md").read_text(encoding="utf-8")


TROUBLESHOOTING = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")


USER_PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]


PARKED = (RUNBOOKS / "parked_step.md").read_text(encoding="utf-8")


REVIEWS = (RUNBOOKS / "review_waiting.md").read_text(encoding="utf-8")


def quoted(text: str) -> set[str]:
    """What stands between back-ticks outside code blocks."""
    return set(re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL)))


def rows(text: str) -> dict[str, list[str]]:
    """Rows of tables by what their first cell quotes first; the other cells follow."""
    found: dict[str, list[str]] = {}
    for line in re.findall(r"^\| (`.*) \|$", text, flags=re.MULTILINE):
        first, *others = re.split(r"(?<!\\) \| ", line)
        for name in quoted(first):
            found.setdefault(name, others)
    return found


def section(beginning: str) -> str:
    """The text from the line that introduces a table of settings to the next such line or heading."""
    start = re.search(rf"^(?=`\[).*{re.escape(beginning)}", SETTINGS, flags=re.MULTILINE)
    assert start is not None, f"no table of {beginning}"
    rest = SETTINGS[start.end() :]
    end = re.search(r"^(`\[|#|\| environment)", rest, flags=re.MULTILINE)
    return rest[: end.start()] if end else rest


def commands(command: click.Command, path: str) -> Iterator[str]:
    children = getattr(command, "commands", None)
    if not children:
        yield path
        return
    for name, child in children.items():
        yield from commands(child, f"{path} {name}")
