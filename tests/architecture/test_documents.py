"""The documents say what the code does: names are taken from the code, and a missing one fails."""

import json
import re
import tomllib
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, cast

import click
import pytest
import typer
from fastapi.routing import APIRoute
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from connectors.base.config import SYSTEM_KEYS
from connectors.base.errors import ConnectorError
from connectors.base.interface import Delays, Operation
from connectors.base.registry import connectors
from connectors.base.runner import Outcome
from connectors.base.transitions.results import after_confirm
from connectors.base.transitions.states import (
    EARLIER_SYSTEM,
    ENDED,
    KEY_GONE,
    LEGAL_HOLD,
    PROCESS_DIED,
    SYSTEM_REMOVED,
    WITHDRAWN,
    Phase,
    StepFacts,
    StepState,
    SystemRules,
    Transition,
)
from connectors.base.values import Answer, AnswerKind, Left, Located
from service import settings as settings_module
from service.api.app import _ROUTERS
from service.api.bodies.line_readers import FIXED_COLUMNS
from service.api.problems import TITLES
from service.api.routes.metrics import LINE_RESULTS
from service.cli.main import app
from service.configuration.audit import AnchorSettings
from service.configuration.keys import EpochVaultSettings, VaultSettings
from service.domain.access.api_key import Scope
from service.domain.audit.anchor import Disagreement
from service.domain.execution.decide import AMBIGUOUS_RECORD
from service.domain.execution.events import Decision, ResolutionReason
from service.domain.execution.parked_reasons import CONNECTORS_OWN, EXPLANATIONS, explain
from service.domain.execution.retry_policy import decide
from service.domain.identity.cluster import DoubtReason
from service.domain.identity.doubts import ALLOWED
from service.domain.requests.blast_radius import ApprovalReason
from service.domain.requests.deadlines import REGIMES
from service.domain.requests.imports import IMPORT_CANCELLED, ImportFormat, ImportState
from service.domain.requests.states import DenialReason, Progress, RequestState
from service.domain.suppression.reappearance import ReappearancePolicy
from service.settings import SYSTEM_EXTRAS, IdentityGraphSettings
from service.store.interlock import NOT_COMPARED
from tests.architecture.pages import (
    API,
    CONCEPTS,
    CONNECTORS,
    DEPLOY,
    DOCS,
    OPERATING,
    PARKED,
    README,
    REVIEWS,
    ROOT,
    RUNBOOKS,
    SETTINGS,
    TROUBLESHOOTING,
    USER_PAGES,
    commands,
    quoted,
    rows,
    section,
)

NOW = datetime(2026, 11, 22, tzinfo=UTC)
RULES = SystemRules(
    can_confirm=True,
    suppresses=False,
    erases_by_identifiers=False,
    accept_not_addressable=False,
    confirm_after=timedelta(0),
    poll_every=timedelta(0),
)


def missing(names: Iterable[str], text: str) -> list[str]:
    return sorted(set(names) - quoted(text))


# --- settings ---------------------------------------------------------------------------------------------------------


def setting_tables() -> dict[str, type[BaseModel]]:
    nested = {
        "[audit.anchors]": AnchorSettings,
        "keys.audit_vault": VaultSettings,
        "keys.epoch_vault": EpochVaultSettings,
    }
    return {**settings_module._SECTIONS, "identity_graph": IdentityGraphSettings, **nested}


def every_setting() -> Iterator[tuple[str, str, str]]:
    """Section, key, and the default as docs/settings.md writes it."""
    for name, model in setting_tables().items():
        for key, field in model.model_fields.items():
            default = field.default_factory() if field.default_factory else field.default  # type: ignore[call-arg]
            yield name, key, written(default)


def written(default: Any) -> str:
    if default is PydanticUndefined:
        return "required"
    if default is None:
        return "none"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, int | float):
        return f"`{default:.15g}`"
    if isinstance(default, str | Path):
        return f'`"{default}"`'
    return f"`{json.dumps(list(default))}`" if isinstance(default, list | frozenset | set | tuple) else f"`{default}`"


def test_there_are_settings_to_look_for() -> None:
    assert len(list(every_setting())) > 30


@pytest.mark.parametrize(("name", "key", "default"), list(every_setting()))
def test_every_setting_is_explained_with_its_default(name: str, key: str, default: str) -> None:
    table = rows(section(f"`[{name}]`"))
    cells = table.get(key) or table.get(f"{name}.{key}")
    assert cells is not None, f"no row for {name}.{key}"
    assert cells[0] == default
    assert len(cells[1]) > 10


def test_durations_are_said_to_be_seconds() -> None:
    assert "Durations are seconds" in SETTINGS


def test_every_key_of_a_system_is_explained() -> None:
    table = rows(section("`[[systems]]`: one entry"))
    assert set(table) == {*SYSTEM_KEYS, *SYSTEM_EXTRAS}
    assert missing(Delays.__dataclass_fields__, section("`[[systems]]`: one entry")) == []


def test_every_environment_variable_is_named() -> None:
    sources = [
        path.read_text(encoding="utf-8") for room in ("service", "workers") for path in (ROOT / room).rglob("*.py")
    ]
    used = set(re.findall(r"\"(EXPUNGE_[A-Z_]+)\"", "\n".join(sources)))
    assert {"EXPUNGE_CONFIG", "EXPUNGE_API_KEY", "EXPUNGE_URL"} <= used
    assert missing(used, SETTINGS) == []
    assert missing(["env:NAME", "file:PATH"], SETTINGS) == []


# --- words ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "page"),
    [
        (RequestState, CONCEPTS),
        (Progress, CONCEPTS),
        (DenialReason, CONCEPTS),
        (StepState, CONCEPTS),
        (Phase, CONCEPTS),
        (AnswerKind, CONCEPTS),
        (Decision, CONCEPTS),
        (ResolutionReason, CONCEPTS),
        (ApprovalReason, CONCEPTS),
        (Outcome, CONNECTORS),
        (Operation, CONNECTORS),
        (Scope, API),
        (ImportState, API),
        (ImportFormat, API),
        (ReappearancePolicy, OPERATING),
    ],
)
def test_every_word_is_in_its_page(words: type[StrEnum], page: str) -> None:
    assert missing((word.value for word in words), page) == []


def test_results_and_columns_of_an_import_are_documented() -> None:
    assert missing([IMPORT_CANCELLED, *LINE_RESULTS, *FIXED_COLUMNS], API) == []
    assert missing([IMPORT_CANCELLED], CONCEPTS) == []


def test_which_states_of_a_step_are_ends_is_said() -> None:
    table = rows(CONCEPTS)
    assert {state for state in StepState if table[state.value][0].startswith("**ended**")} == set(ENDED)


def test_every_error_of_a_connector_is_documented() -> None:
    errors = {
        error.__name__ for error in ConnectorError.__subclasses__() if error.__module__ == "connectors.base.errors"
    }
    assert len(errors) == 4
    assert missing(errors, CONCEPTS) == []


def test_every_problem_and_regime_is_documented() -> None:
    assert missing(TITLES, API) == []
    assert missing(REGIMES, CONCEPTS) == []


def park_reasons() -> set[str]:
    """Reasons as the rules themselves give them; codes after a colon are the connectors'."""
    reasons = {LEGAL_HOLD, WITHDRAWN, SYSTEM_REMOVED, KEY_GONE, PROCESS_DIED, AMBIGUOUS_RECORD}
    for kind in ConnectorError.__subclasses__():
        reason = decide(kind("code"), consecutive_attempts=1, time_left=timedelta(days=1), now=NOW).reason
        if reason is not None:
            reasons.add(reason.replace(":code", ":<code>"))
    left = (Left("thing", "1"),)
    for answer in (Answer.partial(left), Answer.partial(left, found=Located()), Answer.not_addressable()):
        reasons.add(str(_parked(answer).reason))
    return reasons


def _parked(answer: Answer) -> Transition:
    facts = StepFacts(
        Phase.CONFIRM, consecutive_attempts=0, plan_rounds=RULES.max_plan_rounds, effect_possible=True, frozen=True
    )
    move = after_confirm(facts, answer, RULES, NOW)
    assert move.state is StepState.PARKED
    return move


def test_every_reason_to_park_is_documented_and_in_its_runbook() -> None:
    reasons = park_reasons()
    assert len(reasons) == 12
    assert missing(reasons, CONCEPTS) == []
    assert missing(reasons, PARKED) == []
    assert missing((decision.value for decision in Decision), PARKED) == []
    assert missing([EARLIER_SYSTEM], CONCEPTS) == []


def test_every_reason_to_park_is_explained_where_it_is_shown() -> None:
    words = {reason.partition(":")[0] for reason in park_reasons()}
    assert set(EXPLANATIONS) == words
    assert all(explain(f"{word}:code") is EXPLANATIONS[word] for word in words)
    assert explain("shared_inbox") is CONNECTORS_OWN
    texts = [text for each in (*EXPLANATIONS.values(), CONNECTORS_OWN) for text in (each.means, each.next)]
    named = {name for text in texts for name in re.findall(r"`([a-z_]+)`", text)}
    # Every word that an explanation tells people to use exists.
    assert named <= {*Decision, *ResolutionReason, "remaining"}
    commands_named = {name for text in texts for name in re.findall(r"`(expunge [a-z ]+)`", text)}
    assert commands_named <= set(commands(cast("click.Command", typer.main.get_command(app)), "expunge"))


def test_every_reason_of_a_review_is_in_its_runbook() -> None:
    assert {doubt.value for doubt in DoubtReason} < ALLOWED.keys()
    assert missing(ALLOWED, REVIEWS) == []


def test_every_disagreement_with_an_anchor_is_in_its_runbook() -> None:
    runbook = (RUNBOOKS / "anchor_conflict.md").read_text(encoding="utf-8")
    assert missing([*(code.value for code in Disagreement), NOT_COMPARED], runbook) == []


# --- commands, operations, connectors ---------------------------------------------------------------------------------


def test_every_command_is_documented() -> None:
    known = set(commands(cast("click.Command", typer.main.get_command(app)), "expunge"))
    assert {"expunge up", "expunge demo", "expunge connector run"} <= known
    assert missing(known, OPERATING) == []
    pages = [path.read_text(encoding="utf-8") for path in USER_PAGES]
    named = {name for page in pages for name in quoted(page) if re.fullmatch(r"expunge( [a-z]+)+", name)}
    assert {name for name in named if not any(each.startswith(name) for each in known)} == set()


def operations() -> set[tuple[str, str, frozenset[str]]]:
    found = set()
    for router in _ROUTERS:
        for route in router.routes:
            assert isinstance(route, APIRoute)
            security = (route.openapi_extra or {})["security"]
            scopes = frozenset(scope for requirement in security for scope in requirement["apiKey"])
            found |= {(method, route.path.replace(":uuid}", "}"), scopes) for method in route.methods}
    return found


def test_every_operation_of_the_api_is_documented_with_its_scope() -> None:
    told: dict[str, frozenset[str]] = {}
    for line in re.findall(r"^\| `(?:GET|POST|DELETE).*\|$", API, flags=re.MULTILINE):
        cell = line.split(" | ")[-1]
        assert "`" in cell or "none needed" in cell, line
        told.update(dict.fromkeys(re.findall(r"`((?:GET|POST|DELETE) [^`]+)`", line), frozenset(quoted(cell))))
    assert told == {f"{method} {path}": scopes for method, path, scopes in operations()}


def test_every_connector_is_documented_with_its_level_and_its_readme() -> None:
    table = re.findall(
        r"^\| \[`([a-z_]+)`\]\(\.\./(connectors/[a-z_]+/README\.md)\) \|.*\| ([a-z]+) \|$", CONNECTORS, re.MULTILINE
    )
    ours = {name: kind for name, kind in connectors().items() if kind.__module__.startswith("connectors.")}
    assert {name: (readme, level) for name, readme, level in table} == {
        name: (f"connectors/{kind.__module__.split('.')[1]}/README.md", kind.declaration.level)
        for name, kind in ours.items()
    }


def test_the_first_commands_of_the_readme_are_targets() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    first_block = re.search(r"```sh\n(.*?)```", README, flags=re.DOTALL)
    assert first_block is not None
    assert re.findall(r"^make ([a-z]+)", first_block[1], flags=re.MULTILINE) == ["demo", "test"]
    pages = [path.read_text(encoding="utf-8") for path in [*USER_PAGES, DOCS / "develop" / "CONTRIBUTING.md"]]
    assert {name for page in pages for name in re.findall(r"`make ([a-z]+)", page)} | {"demo", "test"} <= targets


def test_the_contributing_page_explains_every_target() -> None:
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert phony is not None
    page = (DOCS / "develop" / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert missing((f"make {name}" for name in phony[1].split()), page) == []


def test_no_example_puts_a_person_or_a_key_on_a_command_line() -> None:
    for path in (*USER_PAGES, *RUNBOOKS.glob("*.md")):
        for block in re.findall(r"```sh[^\n]*\n(.*?)```", path.read_text(encoding="utf-8"), flags=re.DOTALL):
            assert "@example" not in block
            assert "xpg_" not in block
            assert not re.search(r"Bearer [^%\"']", block)


def test_every_runbook_is_linked_for_its_reader() -> None:
    linked = {name for page in (TROUBLESHOOTING, OPERATING) for name in re.findall(r"runbooks/(\w+\.md)", page)}
    assert linked == {path.name for path in RUNBOOKS.glob("*.md")}
    alerts = re.findall(r"alert: (\w+)", (DEPLOY / "alerts.yaml").read_text(encoding="utf-8"))
    assert missing(alerts, TROUBLESHOOTING) == []


# --- blocks -----------------------------------------------------------------------------------------------------------


# --- links ------------------------------------------------------------------------------------------------------------


def test_the_changelog_speaks_of_this_version_and_of_every_connector() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert re.search(rf"^## \[{re.escape(version)}\] - (unreleased|\d{{4}}-\d{{2}}-\d{{2}})$", text, flags=re.MULTILINE)
    for name, kind in connectors().items():
        if kind.__module__.startswith("connectors."):
            assert f"**{name.capitalize()}**" in text
