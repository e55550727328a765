"""Documents, docstrings, comments, help texts and commit subjects are plain English; old findings may only fall."""

from __future__ import annotations

import re
import subprocess
from operator import gt

import pytest

from tests.architecture.english import (
    Text,
    broken_subjects,
    comments,
    counts,
    every_text,
    findings,
    room_of,
)
from tests.architecture.house import ROOT, Source

# Per room: sentences whose subject is who, whoever, whose, what, nobody, somebody or whichever; first lines of
# docstrings over 100 characters. A room that isn't listed has (0, 0). Lower a number when it falls:
# `python -m tests.architecture.english` prints the findings and this table.
ALLOWED = {
    "connectors/salesforce": (57, 84),
}
MUST_BE_CLEAN = (
    "connectors/amplitude",
    "connectors/base",
    "connectors/base/kit",
    "connectors/intercom",
    "connectors/mailchimp",
    "connectors/zendesk",
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "docs",
    "docs/develop",
    "deploy/runbooks",
    "help texts",
    "service/requests",
    "service/requests/steps",
    "service/domain",
    "connectors",
    "connectors/testing",
    "connectors/warehouse",
    "service/suppression",
    "service",
    "service/configuration",
    "service/embedded",
    "service/monitoring",
    "service/execution",
    "service/access",
    "service/audit",
    "service/encryption",
    "service/store",
    "workers",
    "workers/tasks",
)
# Subjects of later commits follow docs/develop/CONTRIBUTING.md.
RULE_SINCE = "dd0f104e6d48dbe8c2acd23b8d7e326daac018e4"
_SUBJECT = re.compile(r"[A-Z][A-Za-z-]*(?: [A-Za-z-]+)?: ([a-z][a-z-]*) \S.*")
_NOT_IMPERATIVE = re.compile(r"(?:a|an|the|no|who|whoever|what|nobody|somebody|it|its|this|\w+ed|\w+ing|\w{3,}[^s]s)")
_ENDS_LIKE_ANOTHER_FORM = frozenset({"embed", "feed", "need", "seed", "speed", "exceed", "bring", "string", "ring"})


def is_a_good_subject(subject: str) -> bool:
    """At most 60 characters, `Room: verb ...`; the first word doesn't look like another form than an imperative."""
    words = _SUBJECT.fullmatch(subject)
    if words is None or len(subject) > 60 or subject.endswith("."):
        return False
    return words[1] in _ENDS_LIKE_ANOTHER_FORM or _NOT_IMPERATIVE.fullmatch(words[1]) is None


def test_no_room_has_more_or_fewer_findings_than_its_number() -> None:
    found = list(findings(every_text()))
    now = counts(found)
    rooms = {room for room in {*now, *ALLOWED} if now.get(room, (0, 0)) != ALLOWED.get(room, (0, 0))}
    changed = [f'"{room}": {ALLOWED.get(room, (0, 0))} is now {now.get(room, (0, 0))}' for room in sorted(rooms)]
    zero = (0, 0)
    more = {room for room in rooms if any(map(gt, now.get(room, zero), ALLOWED.get(room, zero)))}
    shown = [f"{each.origin}: {each.rule}: {each.words[:120]}" for each in found if each.room in more]
    assert rooms == set(), "\n".join([*changed, *shown])


def test_new_rooms_and_pages_have_no_allowance() -> None:
    assert [room for room in MUST_BE_CLEAN if room in ALLOWED] == []
    assert room_of("service/requests/steps/store.py") == "service/requests/steps"
    assert room_of("service/domain/execution/decide.py") == "service/domain/execution/decide.py"
    assert room_of("service/domain/execution/bisect.py") == "service/domain"
    assert room_of("docs/develop/GLOSSARY.md") == "docs/develop"
    assert room_of("docs/api.md") == "docs"


def test_every_kind_of_text_is_read() -> None:
    origins = {each.origin for each in every_text()}
    assert {"README.md", "docs/tutorial.md", "docs/develop/GLOSSARY.md", "deploy/runbooks/down.md"} <= origins
    assert {"expunge up config", "service/requests/steps/store.py::apply_transitions"} <= origins


@pytest.mark.parametrize(
    "sentence",
    [
        "Who has the key can sign.",
        "The step parks. Whoever calls it waits.",
        "The lease ends; nobody waits.",
        "The default asks, because nobody knows the owner.",
        "| a cell | What the row says |",
        "- What is left stays.",
        "## What it promises",
        "Nobody's slot is taken.",
        "The call waits, and whoever comes later waits, too.",
    ],
)
def test_such_a_subject_is_found(sentence: str) -> None:
    assert len(broken_subjects(sentence)) == 1


@pytest.mark.parametrize(
    "sentence",
    [
        "The worker that has the lease renews it.",
        "Who is it?",
        "What does Zendesk hold about this person? Ask its API.",
        "The people who wait are served.",
        "A record of somebody else stays untouched.",
        "Run `who` first.",
        "```sh\nwho\n```",
        "The account `nobody` can't read our keys.",
    ],
)
def test_another_sentence_is_not(sentence: str) -> None:
    assert broken_subjects(sentence) == []


def test_comments_are_read_without_the_markers_of_tools() -> None:
    code = (
        "# The lease ends because the worker died, and\n# nobody renews it.\n"
        "x = 1  # what is left\n"
        "y = f(x)  # noqa: S608 - whoever calls it quotes\n"
        "z = f(y)  # type: ignore[misc]  # its base class has no annotation\n"
        "s = '# who'\n"
    )
    read = list(comments(Source("service/a.py", code)))
    assert [each.text.splitlines()[-1] for each in read] == [
        "nobody renews it.",
        "what is left",
        "whoever calls it quotes",
        "its base class has no annotation",
    ]
    assert sum(len(broken_subjects(each.text)) for each in read) == 3
    assert {(each.room, each.is_docstring) for each in read} == {("service", False)}


def test_a_long_first_line_of_a_docstring_is_found() -> None:
    texts = [Text("room", "a.py::f", f"{'x' * 101}\n\nMore.", True), Text("room", "a.md", "x" * 101, False)]
    assert [(each.origin, each.rule) for each in findings(texts)] == [("a.py::f", "long line")]


def new_subjects() -> list[str]:
    """Subjects of the commits since the rule; none where the history isn't there (an export, a shallow clone)."""
    git = ["git", "-c", "safe.directory=*"]
    known = subprocess.run(
        [*git, "merge-base", "--is-ancestor", RULE_SINCE, "HEAD"], cwd=ROOT, check=False, capture_output=True
    )
    if known.returncode != 0:
        pytest.skip("the history doesn't reach back to the commit since which the rule holds")
    command = [*git, "log", "--no-merges", "--format=%s", f"{RULE_SINCE}..HEAD"]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()


def test_subjects_of_new_commits_are_short_imperative_and_name_the_room() -> None:
    assert [subject for subject in new_subjects() if not is_a_good_subject(subject)] == []


@pytest.mark.parametrize(
    ("subject", "is_good"),
    [
        ("API: name unknown body fields", True),
        ("Execution: process each batch once", True),
        ("Engine: a lease is five words to the database less", False),
        ("Who kills process after process alone parks", False),
        ("Engine: parked a step after 16 crashes", False),
        ("Engine: parks a step after 16 crashes", False),
        ("Name unknown body fields", False),
        (f"API: name {'x' * 50} fields", False),
    ],
)
def test_a_subject_of_a_commit(subject: str, is_good: bool) -> None:
    assert is_a_good_subject(subject) is is_good
