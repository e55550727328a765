"""The people of the suite: difficult identifiers, look-alikes, and canaries that must never leak.

Decides the values only; a fixture decides which records they get. Reserved names throughout.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import ClassVar

from connectors.base.values import Identifier, Subject


@dataclass(frozen=True)
class TestPerson:
    """One person for a stand-in.

    `identifier` is theirs alone; `name` is a canary that stands in every record.

    `related` is how many records hang on the person's root record (tickets, orders, notes). `roots` is how many root
    records carry the identifier; more than one only where the fixture has `roots_over_pages`.
    """

    __test__: ClassVar[bool] = False
    """pytest collects no test class by this name."""

    ref: str
    identifier: Identifier
    name: str = field(repr=False)
    related: int = 2
    roots: int = 1

    @property
    def subject(self) -> Subject:
        """The person as the engine would hand them to a connector."""
        return Subject(self.ref, (self.identifier,))

    @property
    def canaries(self) -> tuple[str, ...]:
        """Texts that must not appear in any log, error or `repr`."""
        return (self.identifier.value, self.name)


def make_person(ref: str, identifier: Identifier, *, related: int = 2, name: str | None = None) -> TestPerson:
    """A person, with a name that nothing else contains unless one is given."""
    digest = hashlib.sha256(f"{ref}|{identifier.value}".encode()).hexdigest()[:10]
    return TestPerson(ref, identifier, name or f"Canary-{digest}", related)


# Every one must be found exactly, and its look-alikes must stay: fuzzy searches, unescaped quotes, "+" read as a
# space, wildcards and prefixes all fail here.
DIFFICULT_EMAILS = {
    "plus_tag": "ada+news@example.test",
    "quote": "o'brien@example.test",
    "unicode": "zoë.ångström@example.test",
    "upper_case": "Ada.Lovelace@Example.test",
    "wildcard": "a_a%@example.test",
    "ampersand": "ada&co=1@example.test",
    "slash": "ada/eve@example.test",
    "prefix_of_another": "ada@example.te",
    "dots": "a.d.a@example.test",
}
DIFFICULT_TEXTS = {
    "space": "Ada of Example",
    "quote": 'o\'brien "x"',
    "unicode": "zoë-ångström-名",
    "plus": "+1 555 0100",
    "slash": "a/../b?c#d",
    "wildcard": "a_a%*",
    "prefix_of_another": "customer-1",
}

_LOOK_ALIKE_EMAILS = {
    "ada+news@example.test": ("ada@example.test", "ada news@example.test", "ada+newsletter@example.test"),
    "o'brien@example.test": ("obrien@example.test", "o''brien@example.test"),
    "zoë.ångström@example.test": ("zoe.angstrom@example.test",),
    "Ada.Lovelace@Example.test": ("ada-lovelace@example.test", "ada.lovelace@example.test.example.test"),
    "a_a%@example.test": ("aba1@example.test",),
    "ada&co=1@example.test": ("ada@example.test",),
    "ada/eve@example.test": ("eve@example.test",),
    "ada@example.te": ("ada@example.test", "grada@example.te"),
    "a.d.a@example.test": ("ada@example.test",),
}


def identifier(kind: str, label: str) -> Identifier:
    """An ordinary identifier of one kind, different for every label."""
    if kind == "email":
        return Identifier(kind, f"{label}@example.test")
    if kind == "phone":
        digits = int(hashlib.sha256(label.encode()).hexdigest(), 16) % 10**4
        return Identifier(kind, f"+1202555{digits:04d}")
    return Identifier(kind, f"id-{label}")


def difficult(kind: str) -> dict[str, str]:
    """Difficult values of one kind by the name of their difficulty."""
    return DIFFICULT_EMAILS if kind == "email" else {} if kind == "phone" else DIFFICULT_TEXTS


def look_alikes(of: Identifier) -> tuple[Identifier, ...]:
    """Identifiers of *other* people that a careless comparison takes for this one."""
    if of.kind != "email":
        return (Identifier(of.kind, of.value + "0"), Identifier(of.kind, "0" + of.value))
    local, _, domain = of.value.rpartition("@")
    values = _LOOK_ALIKE_EMAILS.get(of.value, (f"{local}.{local}@{domain}", f"x{of.value}", f"{local}+tag@{domain}"))
    return tuple(Identifier("email", value) for value in values)
