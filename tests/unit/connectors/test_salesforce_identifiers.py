"""Identifiers: spellings asked for, equality, ids, quoting."""

from __future__ import annotations

import pytest

from connectors.base.errors import AnswerNotUnderstood
from connectors.base.values import Identifier, Subject
from connectors.salesforce.identifiers import Rules, long_id, wanted
from connectors.salesforce.org.soql import MAX_STATEMENT, all_of, quote, select, selects

RULES = Rules({}, None)


def test_emails_are_equal_without_regard_to_case_and_only_so() -> None:
    assert RULES.normal(Identifier("email", "Ada@Example.test")) == RULES.normal(
        Identifier("email", "ada@example.TEST")
    )
    assert RULES.normal(Identifier("email", "strasse@x.test")) != RULES.normal(Identifier("email", "straße@x.test"))


def test_letters_of_other_alphabets_make_another_address() -> None:
    # U+212A, the Kelvin sign, becomes an ordinary k in lower case.
    kelvin = RULES.normal(Identifier("email", "\u212aate@x.test"))
    assert kelvin != RULES.normal(Identifier("email", "kate@x.test"))


def test_a_phone_number_is_one_number_in_all_its_spellings() -> None:
    spellings = RULES.spellings(Identifier("phone", "+442079460958"))
    assert {"+442079460958", "+44 20 7946 0958", "442079460958"} <= set(spellings)
    assert len({RULES.normal(Identifier("phone", s)) for s in spellings}) == 1


def test_national_spellings_are_asked_for_in_the_home_region_only() -> None:
    at_home = Rules({}, "GB")
    assert "020 7946 0958" in at_home.spellings(Identifier("phone", "+442079460958"))
    assert "020 7946 0958" not in RULES.spellings(Identifier("phone", "+442079460958"))
    assert at_home.normal(Identifier("phone", "020 7946 0958")) == at_home.normal(Identifier("phone", "+442079460958"))


@pytest.mark.parametrize(
    ("given", "long"),
    [
        ("0015g0000000001", "0015g0000000001AAA"),
        ("0015g0000000001AAA", "0015g0000000001AAA"),
        ("0015g0000000001AAB", None),
        ("0015g' OR Id != '", None),
        ("", None),
    ],
)
def test_ids_have_one_long_form_and_a_checksum(given: str, long: str | None) -> None:
    assert long_id(given) == long


def test_nothing_ends_a_quoted_text() -> None:
    assert quote("o'brien\\' OR Id != null") == "'o\\'brien\\\\\\' OR Id != null'"


def test_many_values_make_many_statements_and_none_is_lost() -> None:
    values = [f"person.{n}@example.test" for n in range(9_000)]
    statements = selects(["Id"], "Contact", [("Email", values), ("Other__c", values[:3])], "IsPersonAccount = true")
    assert len(statements) > 1
    assert all(len(text) <= MAX_STATEMENT for text in statements)
    assert all(text.endswith(") AND IsPersonAccount = true") for text in statements)
    whole = "".join(statements)
    assert all(f"'{value}'" in whole for value in values)


def test_no_values_ask_nothing() -> None:
    assert selects(["Id"], "Contact", [("Email", [])]) == []


def test_a_statement_has_its_parts_in_soqls_order() -> None:
    cases = select(["Id", "Subject"], "Cases")
    assert select(["Id"], "Contact", all_of("A__c = true", "", "Id = 'x'"), sub_selects=[cases]) == (
        "SELECT Id, (SELECT Id, Subject FROM Cases) FROM Contact WHERE A__c = true AND Id = 'x'"
    )
    assert select(["Id"], "ns__Thing__c", order_by="SystemModstamp", limit=5) == (
        "SELECT Id FROM ns__Thing__c ORDER BY SystemModstamp LIMIT 5"
    )


@pytest.mark.parametrize("name", ["Id FROM User", "Id, Name", "", "Id--", "Name)", "Kelvin\u212a"])
def test_a_described_name_that_isnt_one_word_is_refused(name: str) -> None:
    for asked in (lambda: select([name], "Contact"), lambda: selects(["Id"], name, [("Id", ["x"])])):
        with pytest.raises(AnswerNotUnderstood, match="name_form"):
            asked()
    with pytest.raises(AnswerNotUnderstood, match="name_form"):
        selects(["Id"], "Contact", [(name, ["x"])])


def test_blank_identifiers_are_not_asked_for() -> None:
    assert wanted(RULES, [Subject("blank", (Identifier("email", " "),))]) == {}
