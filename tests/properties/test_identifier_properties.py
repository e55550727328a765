"""Normal forms are stable, masks are blind, placeholders are recognised before and after normalising."""

import sys
import unicodedata

from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from connectors.base.values import Identifier
from service.domain.identity.mask import mask
from service.domain.identity.normalise import InvalidIdentifier, is_well_formed, normalise
from service.domain.identity.placeholders import is_placeholder

REGIONS = st.sampled_from([None, "US", "DE", "GB", "IT", "AR", "MX", "BR", "IN", "CI", "SM", "NU"])
KINDS = st.sampled_from(["email", "phone", "customer_id"])
PHONE_TEXT = st.text("+0123456789 ()-./x;ext=#٣", min_size=1, max_size=24)
EMAIL_TEXT = st.builds("{}@{}".format, st.text(min_size=1, max_size=12), st.from_regex(r"\A\w{1,8}(\.\w{2,5})?\Z"))
VALUES = st.one_of(st.text(max_size=40), PHONE_TEXT, EMAIL_TEXT)


def normal_or_none(identifier: Identifier, region: str | None) -> Identifier | None:
    try:
        return normalise(identifier, region)
    except InvalidIdentifier:
        return None


@given(KINDS, VALUES, REGIONS)
@settings(max_examples=500)
@example("email", "İ@example.test", None)
@example("phone", "+49 (0)30 23125 123", "IT")
def test_normalising_twice_changes_nothing(kind: str, value: str, region: str | None) -> None:
    normal = normal_or_none(Identifier(kind, value), region)
    if normal is None:
        return
    assert normalise(normal, region) == normal
    assert normal.kind == kind
    assert 1 <= len(normal.value) <= 512


@given(st.from_regex(r"\A[+]?[0-9]{3,16}\Z"), REGIONS, REGIONS)
@settings(max_examples=500)
def test_a_well_formed_phone_number_reads_alike_everywhere(value: str, region: str | None, other: str | None) -> None:
    normal = normal_or_none(Identifier("phone", value), region)
    if normal is not None and is_well_formed(normal):
        assert normalise(normal, other) == normal


def test_every_character_that_case_or_compatibility_changes_has_one_normal_form_in_an_email() -> None:
    unstable = []
    for code_point in range(sys.maxunicode + 1):
        if unicodedata.normalize("NFKC", chr(code_point).lower()) == chr(code_point):
            continue
        normal = normal_or_none(Identifier("email", f"a{chr(code_point)}b@example.test"), None)
        if normal is not None and normal_or_none(normal, None) != normal:
            unstable.append(unicodedata.name(chr(code_point), hex(code_point)))
    assert unstable == []


@given(KINDS, VALUES, REGIONS)
@settings(max_examples=500)
def test_a_refusal_shows_field_and_reason_only(kind: str, value: str, region: str | None) -> None:
    try:
        normalise(Identifier(kind, value), region)
    except InvalidIdentifier as refusal:
        shown = (refusal.field, refusal.reason, str(refusal))
    else:
        return
    assert shown == ("value", shown[1], f"invalid identifier: value is {shown[1]}")
    assert shown[1] in REFUSALS


REFUSALS = {"empty", "too_long", "control_character", "invisible_character", "malformed_email", "malformed_phone"}
PLACEHOLDERS = ("unknown", "N/A", "null", "test@test.com", "noreply@shop.test", "0000", "+1 555 555 5555", "(none)")


@given(st.sampled_from(PLACEHOLDERS), st.text(" \t\u00a0", max_size=3), st.booleans(), KINDS)
def test_spaces_and_case_hide_no_placeholder(text: str, space: str, upper: bool, kind: str) -> None:
    assume(kind == "phone" or not text.startswith("+"))
    written = Identifier(kind, space + (text.upper() if upper else text) + space)
    assert is_placeholder(written)
    normal = normal_or_none(written, "US")
    assert normal is None or is_placeholder(normal)


LETTERS = st.text(st.characters(categories=["Ll", "Lu", "Nd"]), min_size=3, max_size=30)


@given(LETTERS, LETTERS)
@settings(max_examples=500)
def test_a_mask_contains_neither_local_part_nor_domain(local_part: str, domain: str) -> None:
    shown = mask(Identifier("email", f"{local_part}@{domain}.test"))
    assert local_part not in shown.removesuffix(".test")
    assert domain not in shown.removesuffix(".test")
    assert len(shown) <= len("a***@e***.test")


@given(st.sampled_from(["phone", "customer_id", "email"]), st.text(min_size=3, max_size=40))
@settings(max_examples=500)
def test_a_mask_shows_two_characters_at_most_of_what_is_no_email(kind: str, value: str) -> None:
    assume("@" not in value and "*" not in value)
    shown = mask(Identifier(kind, value))
    assert value not in shown
    assert len(shown.replace("***", "")) <= (2 if len(value) >= 8 else 0)


@given(LETTERS, LETTERS, st.sampled_from(["phone", "customer_id"]))
def test_a_mask_tells_nothing_about_what_it_hides(one: str, other: str, kind: str) -> None:
    tail = "67"
    long_enough = [Identifier(kind, f"+12345{middle}{tail}") for middle in (one, other)]
    assert mask(long_enough[0]) == mask(long_enough[1])
    emails = [Identifier("email", f"a{middle}@e{middle}.test") for middle in (one, other)]
    assert mask(emails[0]) == mask(emails[1])
