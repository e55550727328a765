"""Configuration as TOML text: what is read back is what was written."""

from __future__ import annotations

import tomllib

from service.cli.toml_text import to_toml


def test_every_form_is_read_back_as_it_was() -> None:
    table = {
        "service": {"listen_port": 8080, "controller": 'Ada\'s "Tea" ☕', "dedicated_workers": {}},
        "systems": [
            {"name": "a", "rate_limits": [], "policy": {"tables": [{"key": ["x"]}, {"deep": [{"n": 1}]}]}},
            {"name": "b", "policy": {"fields": {"Contact.Number__c": "customer_id"}}, "flag": True, "share": 0.5},
        ],
    }

    assert tomllib.loads(to_toml(table)) == table
