"""Which scopes a request may name, and which entries they mean."""

import pytest

from service.domain.suppression.scopes import CHANNELS, ERASED, UnknownScope, stored_scopes


def test_no_contact_means_every_channel() -> None:
    assert stored_scopes(["do_not_contact"]) == tuple(sorted(f"do_not_contact:{channel}" for channel in CHANNELS))
    assert stored_scopes(["do_not_contact", "do_not_contact:email"]) == stored_scopes(["do_not_contact"])


def test_scopes_are_sorted_without_repeats() -> None:
    named = ["objection", "do_not_sell", "purpose:newsletter", "do_not_sell", "do_not_contact:sms"]
    assert stored_scopes(named) == ("do_not_contact:sms", "do_not_sell", "objection", "purpose:newsletter")


@pytest.mark.parametrize(
    "unknown",
    [
        ERASED,
        "",
        "sell",
        "DO_NOT_SELL",
        "do_not_contact:fax",
        "do_not_contact:",
        "purpose:",
        "purpose:a,b",
        "purpose:4915112345678",
        "purpose:n1234567",
        "purpose:" + "n" * 41,
        "objection ",
    ],
)
def test_other_texts_are_refused(unknown: str) -> None:
    with pytest.raises(UnknownScope) as refused:
        stored_scopes(["do_not_sell", unknown])
    assert "purpose:<name>" in str(refused.value)
