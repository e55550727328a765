"""Which identifier kinds an installation knows."""

from __future__ import annotations

from typing import Any

import pytest

from service.domain.errors import UnknownKind
from service.requests.intake.known_kinds import check_known_kind
from service.settings import BUILT_IN_KINDS, parse_settings

COLUMNS = {"left_kind": "a", "left_value": "b", "right_kind": "c", "right_value": "d"}
SYSTEMS: list[dict[str, Any]] = [
    {
        "name": "support",
        "connector": "zendesk",
        "base_url": "https://vendor.example.test",
        "credentials": {"email": "privacy@example.test", "api_token": "stand-in"},
        "policy": {"external_id_kind": "member_number"},
    },
    {
        "name": "house",
        "connector": "warehouse",
        "base_url": "duckdb:///w.duckdb",
        "policy": {
            "tables": [{"name": "people", "identifiers": {"loyalty_card": "card"}}],
            "identity_graph": {"table": "edges", "columns": COLUMNS},
        },
    },
]


def test_kinds_of_systems_of_the_graph_and_of_the_configuration_are_known() -> None:
    graph = {"base_url": "duckdb:///w.duckdb", "shared_kinds": ["household"], "one_per_person_kinds": ["passport"]}
    settings = parse_settings(
        {"systems": SYSTEMS, "identity_graph": graph, "service": {"identifier_kinds": ["device_id"]}}
    )

    named = {"member_number", "zendesk_user_id", "loyalty_card", "household", "passport", "device_id"}
    assert settings.identifier_kinds == BUILT_IN_KINDS | named


def test_a_system_with_the_graphs_rows_makes_not_every_kind_known() -> None:
    settings = parse_settings({"systems": SYSTEMS[1:]})

    with pytest.raises(UnknownKind) as refused:
        check_known_kind(settings, "loyaltycard", "/identifiers/0/kind")
    assert refused.value.did_you_mean == "loyalty_card"
    assert "loyaltycard" not in refused.value.reason
