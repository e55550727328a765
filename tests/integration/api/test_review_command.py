"""`expunge request review` at a terminal and without one: nothing is decided by default."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from click.testing import Result
from typer.testing import CliRunner

from service.cli.requests import request, review
from service.domain.identity.cluster import Cluster, Evidence, link_of
from service.domain.identity.doubts import OpenDoubt
from service.domain.identity.explanation import Explanation, explain
from service.requests.identifiers import read_identifiers
from service.requests.identity.explanations import write_explanations
from service.store.encryption.key_store import request_owner
from tests.integration.api.conftest import EMAIL, Office

SECOND = "anna.lovelace@example.test"
Run = Callable[..., Result]


@pytest.fixture
def run(office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    key_file = tmp_path / "key"
    key_file.write_text(office.key.token + "\n")
    monkeypatch.setenv("COLUMNS", "240")

    def call(*arguments: str, given: str | None = None) -> Result:
        options = ["--url", office.url, "--key-file", str(key_file)]
        return CliRunner().invoke(request.app, [*arguments, *options], input=given)

    return call


@pytest.fixture
def doubted(office: Office) -> UUID:
    """A request with a weak link between its two identifiers, as the walk would leave it."""
    request_id = office.submit(EMAIL, SECOND)
    keys = office.stores.keys.get([request_owner(request_id)])
    with office.stores.engine.begin() as connection:
        stored = read_identifiers(connection, [request_id], keys)[request_id]
        found = [each.identifier for each in stored if each.identifier is not None]
        pair = link_of(*found)
        cluster = Cluster(
            members=frozenset(found),
            spellings={},
            excluded={},
            doubts=(),
            paths={found[0]: (found[0],), found[1]: (found[0], found[1])},
            evidence={pair: frozenset({Evidence("guess", 0.25)})},
        )
        explanation = explain(Explanation(), found, cluster, office.stores.pepper.of_identifier)
        write_explanations(connection, {request_id: explanation}, keys)
    doubts = [OpenDoubt("low_confidence", (1, 2), is_edge=True, identifiers=tuple(each.id for each in stored))]
    office.put(
        request_id,
        state="in_progress",
        reason="needs_review",
        next_action=None,
        due_at=None,
        doubts=json.dumps([doubt.as_json() for doubt in doubts]),
        doubts_version=1,
    )
    return request_id


def test_without_a_terminal_the_missing_decisions_are_named(office: Office, run: Run, doubted: UUID) -> None:
    bare = run("review", str(doubted))
    as_json = run("review", str(doubted), "--json")
    unversioned = run("review", str(doubted), "--drop", "low_confidence.1-2")

    for result in (bare, as_json):
        assert result.exit_code == 2, result.output
        assert "--keep low_confidence.1-2 or --drop low_confidence.1-2" in result.stderr
        assert "--doubts-version 1" in result.stderr
        assert result.stdout == ""
    assert unversioned.exit_code == 2
    assert office.show(doubted)["reason"] == "needs_review"

    done = run("review", str(doubted), "--drop", "low_confidence.1-2", "--doubts-version", "1", "--json")
    assert done.exit_code == 0, done.output
    shown = json.loads(done.stdout)
    assert shown["reason"] == "locating"
    assert [each["decision"] for each in shown["reviews"][0]["decisions"]] == ["drop"]


def test_older_doubts_and_wrong_words_are_refused_by_the_service(run: Run, doubted: UUID) -> None:
    stale = run("review", str(doubted), "--drop", "low_confidence.1-2", "--doubts-version", "0")
    twice = ("--drop", "low_confidence.1-2", "--keep", "low_confidence.1-2", "--doubts-version", "1")
    doubled = run("review", str(doubted), *twice)
    assert (stale.exit_code, stale.stderr.split(":")[0]) == (1, "409 stale_doubts")
    assert (doubled.exit_code, doubled.stderr.split(":")[0]) == (1, "422 undecided_doubts")
    assert "/decisions/1/doubt: low_confidence.1-2 is decided twice" in doubled.stderr


def test_a_terminal_is_shown_the_picture_and_asked(
    office: Office, run: Run, doubted: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(review, "_is_terminal", lambda: True)
    silent = run("review", str(doubted), given="\n")
    assert silent.exit_code == 1
    assert office.show(doubted)["reason"] == "needs_review"

    asked = run("review", str(doubted), given="maybe\nkeep\n")

    assert asked.exit_code == 0, asked.output
    masks = [each["masked"] for each in office.show(doubted)["identifiers"]]
    for text in ("guess", "0.25", "1 > 2", *masks):
        assert text in asked.stdout
    assert "needs a second person's approval" in asked.stderr
    assert EMAIL not in asked.output
    assert [d["decision"] for d in office.show(doubted)["reviews"][0]["decisions"]] == ["keep"]


def test_show_and_reveal_explain_in_tables(run: Run, doubted: UUID) -> None:
    shown, revealed = run("show", str(doubted)), run("reveal", str(doubted))
    for result in (shown, revealed):
        assert result.exit_code == 0, result.output
        for text in (
            "low_confidence.1-2",
            "keep or drop",
            "guess",
            "0.25",
            "1 > 2",
            "1\tlow_confidence.1-2\tlow_confidence",
        ):
            assert text in result.stdout
    assert "a***@e***.test #1" in shown.stdout
    assert "a***@e***.test #2" in shown.stdout
    assert EMAIL not in shown.output
    assert {EMAIL, SECOND} <= set(revealed.stdout.split())


def test_without_the_question_a_terminal_would_decide_nothing(
    run: Run, doubted: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(*given: Any) -> tuple[list[tuple[str, str]], int]:
        return [], 1

    monkeypatch.setattr(review, "_decided", nothing)
    refused = run("review", str(doubted))
    assert (refused.exit_code, refused.stderr.split(":")[0]) == (1, "422 undecided_doubts")
