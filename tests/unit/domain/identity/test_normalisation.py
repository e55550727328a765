"""The strict normal form: what is the same identifier, what isn't, and what is none at all."""

import pytest

from connectors.base.values import Identifier
from service.domain.identity.normalise import InvalidIdentifier, is_well_formed, normalise


def value_of(kind: str, value: str, region: str | None = None) -> str:
    return normalise(Identifier(kind, value), region).value


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("ada@example.test", "ada@example.test"),
        ("  Ada.Lovelace+Promo@Example.TEST\n", "ada.lovelace+promo@example.test"),
        ("a.d.a@example.test", "a.d.a@example.test"),
        ("ｅｖｅ＠example.test", "eve@example.test"),
        ("ada@Bücher.test", "ada@xn--bcher-kva.test"),
        ("ada@straße.test", "ada@xn--strae-oqa.test"),
        ("ada@XN--BCHER-KVA.test", "ada@xn--bcher-kva.test"),
        ("ada@mail_host.example.test", "ada@mail_host.example.test"),
        ("o'brien@example.test", "o'brien@example.test"),
        ('"ada lovelace"@example.test', '"ada lovelace"@example.test'),
        ("jos\u0065\u0301@example.test", "jos\u00e9@example.test"),
        ("ada@localhost", "ada@localhost"),
    ],
)
def test_email_forms(written: str, normal: str) -> None:
    assert value_of("email", written) == normal


def test_no_loose_merging_of_emails() -> None:
    forms = ["ada@example.test", "ada+x@example.test", "a.da@example.test", "ada@mail.example.test"]
    assert len({value_of("email", form) for form in forms}) == len(forms)


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("", "empty"),
        (" \t\n", "empty"),
        ("ada", "malformed_email"),
        ("@example.test", "malformed_email"),
        ("ada@", "malformed_email"),
        ("ada@@example.test", "malformed_email"),
        ("ada@example..test", "malformed_email"),
        ("ada@-example.test", "malformed_email"),
        ("ada@example.test.", "malformed_email"),
        ("ada lovelace@example.test", "malformed_email"),
        ("Ada <ada@example.test>", "malformed_email"),
        ("ada@example.test, eve@example.test", "malformed_email"),
        ("mailto:ada@example.test", "malformed_email"),
        ("ada@\u2603\u200d.test", "invisible_character"),
        ("a\u200bda@example.test", "invisible_character"),
        ("ada\x00@example.test", "control_character"),
        ("ada@b\u00fc\u0640cher.test", "malformed_email"),
        ("a" * 600 + "@example.test", "too_long"),
    ],
)
def test_a_malformed_email_is_refused(written: str, reason: str) -> None:
    with pytest.raises(InvalidIdentifier) as caught:
        normalise(Identifier("email", written), None)
    assert (caught.value.field, caught.value.reason) == ("value", reason)


@pytest.mark.parametrize(
    ("written", "region", "normal", "well_formed"),
    [
        ("(212) 555-0123", "US", "+12125550123", True),
        ("+1 (212) 555-0123", None, "+12125550123", True),
        ("+1 (212) 555-0123", "DE", "+12125550123", True),
        ("030 23125 123", "DE", "+493023125123", True),
        ("+49 (0)30 23125 123", None, "+493023125123", True),
        ("0049 30 23125123", "DE", "+493023125123", True),
        ("(+49) 30/23125-123", None, "+493023125123", True),
        ("\u202d+49 30 23125123\u202c", None, "+493023125123", True),
        ("٠٣٠ ٢٣١٢٥١٢٣", "DE", "+493023125123", True),
        ("02 1234 5678", "IT", "+390212345678", True),
        ("030 23125 123", None, "03023125123", False),
        ("555-0123", "US", "5550123", False),
        ("+999 12", None, "+99912", False),
        ("12", "US", "12", False),
        ("030 111111 / 030 222222", "DE", "030111111030222222", False),
        ("+1 212 555 0123 ext. 45", None, "+12125550123;ext=45", False),
        ("212-555-0123 x45", "US", "+12125550123;ext=45", False),
        ("+12125550123;ext=45", None, "+12125550123;ext=45", False),
    ],
)
def test_phone_forms(written: str, region: str | None, normal: str, well_formed: bool) -> None:
    phone = normalise(Identifier("phone", written), region)
    assert (phone.value, is_well_formed(phone)) == (normal, well_formed)


@pytest.mark.parametrize(
    "written", ["call me", "1-800-FLOWERS", "ada 030 123456", "+49 30 1 +49 30 2", "+", "()-", "٪"]
)
def test_a_malformed_phone_number_is_refused(written: str) -> None:
    with pytest.raises(InvalidIdentifier) as caught:
        normalise(Identifier("phone", written), "DE")
    assert caught.value.reason == "malformed_phone"


def test_an_unknown_region_is_a_mistake_of_the_configuration() -> None:
    with pytest.raises(ValueError, match="region"):
        normalise(Identifier("phone", "030 123456"), "XX")


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("  Cust-00A7 ", "Cust-00A7"),
        ("cust-00a7", "cust-00a7"),
        ("Zo\u0065\u0308", "Zo\u00eb"),
        ("ﬁ", "ﬁ"),
        ("a b", "a b"),
    ],
)
def test_other_kinds_keep_case_and_compatibility_forms(written: str, normal: str) -> None:
    assert value_of("customer_id", written) == normal


@pytest.mark.parametrize("written", ["a\x07b", "a\nb", "a\u2028b", "a\ud800b", "a\x85b"])
def test_control_characters_are_refused(written: str) -> None:
    with pytest.raises(InvalidIdentifier) as caught:
        normalise(Identifier("customer_id", written), None)
    assert caught.value.reason == "control_character"


def test_length_limits() -> None:
    assert len(value_of("customer_id", "x" * 512)) == 512
    for value in ("x" * 513, "\u337f" * 200 + "@example.test"):
        with pytest.raises(InvalidIdentifier) as caught:
            normalise(Identifier("email" if "@" in value else "customer_id", value), None)
        assert caught.value.reason == "too_long"


@pytest.mark.parametrize("kind", ["", "Email", "e-mail", "1st", "_x", "a" * 64, "email\n", "émail"])
def test_malformed_kinds(kind: str) -> None:
    with pytest.raises(InvalidIdentifier) as caught:
        normalise(Identifier(kind, "ada@example.test"), None)
    assert (caught.value.field, caught.value.reason) == ("kind", "malformed")


def test_the_longest_kind() -> None:
    assert normalise(Identifier("a" * 63, "x"), None).kind == "a" * 63


@pytest.mark.parametrize(
    "identifier",
    [
        Identifier("email", "secret-person@bü\u0640cher.test"),
        Identifier("email", "secret-person"),
        Identifier("phone", "secret-person"),
        Identifier("secret-person", "x"),
    ],
)
def test_a_refusal_never_repeats_the_value(identifier: Identifier) -> None:
    with pytest.raises(InvalidIdentifier) as caught:
        normalise(identifier, None)
    assert "secret" not in f"{caught.value!s}{caught.value!r}{caught.value.args}"
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
