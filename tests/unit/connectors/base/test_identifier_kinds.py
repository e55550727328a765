"""One rule for the names of identifier kinds: where one is configured, declared, sent or logged, it is asked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from connectors.base.config import ConfigurationError
from connectors.base.registry import connector_class
from connectors.base.values import Identifier, is_identifier_kind
from service.domain.audit.schema import KIND, is_code
from service.domain.identity.normalise import InvalidIdentifier, normalise
from service.settings import parse_settings

GOOD = ["email", "a", "id_123456", "a1b2c3d4e5f6", "x" * 63]
BAD = ["", "id_1234567", "1a", "_a", "E", "a-b", "a b", "a\n", "x" * 64, "a1b2c3d4e5f6g7", "é"]


def test_the_rule() -> None:
    assert [kind for kind in GOOD if not is_identifier_kind(kind)] == []
    assert [kind for kind in BAD if is_identifier_kind(kind)] == []


def test_every_kind_may_be_logged() -> None:
    assert all(KIND.accepts(kind) and is_code(kind) for kind in GOOD)
    assert not any(KIND.accepts(kind) for kind in BAD)


@pytest.mark.parametrize("kind", BAD)
def test_normalisation_asks_the_rule(kind: str) -> None:
    with pytest.raises(InvalidIdentifier):
        normalise(Identifier(kind, "7"), None)


@pytest.mark.parametrize("name", ["zendesk", "mailchimp", "warehouse", "salesforce"])
def test_a_declaration_asks_the_rule(name: str) -> None:
    declaration = connector_class(name).declaration
    with pytest.raises(ValueError, match="identifier kind"):
        replace(declaration, identifier_kinds=frozenset({"id_1234567"}))


def _system(connector: str, **policy: Any) -> dict[str, Any]:
    credentials = {
        "zendesk": {"email": "privacy@example.test", "api_token": "stand-in"},
        "salesforce": {"consumer_key": "stand-in", "consumer_secret": "stand-in"},
        "warehouse": {},
    }[connector]
    base_url = "duckdb:///w.duckdb" if connector == "warehouse" else "https://vendor.example.test"
    return {
        "systems": [
            {"name": "s", "connector": connector, "base_url": base_url, "credentials": credentials, "policy": policy}
        ]
    }


CONFIGURED = {
    "zendesk": lambda kind: _system("zendesk", external_id_kind=kind),
    "salesforce fields": lambda kind: _system("salesforce", fields={"Contact.Number__c": kind}),
    "salesforce shared": lambda kind: _system("salesforce", shared_kinds=[kind]),
    "warehouse": lambda kind: _system("warehouse", tables=[{"name": "people", "identifiers": {kind: "c"}}]),
    "graph shared": lambda kind: {"identity_graph": {"base_url": "duckdb:///w.duckdb", "shared_kinds": [kind]}},
    "graph one": lambda kind: {"identity_graph": {"base_url": "duckdb:///w.duckdb", "one_per_person_kinds": [kind]}},
}


@pytest.mark.parametrize("place", CONFIGURED)
def test_the_configuration_asks_the_rule(place: str) -> None:
    parse_settings(CONFIGURED[place]("id_123456"))
    for kind in ("id_1234567", "x" * 64):
        with pytest.raises(ConfigurationError):
            parse_settings(CONFIGURED[place](kind))


def test_a_reason_for_keeping_records_can_be_logged() -> None:
    for entry in (
        _system("salesforce", objects={"Order": "retain:law_1234567"}),
        _system("warehouse", tables=[{"name": "t", "action": "retain", "reason": "law_1234567"}]),
    ):
        with pytest.raises(ConfigurationError):
            parse_settings(entry)
