"""A made-up company's people, the same for the same seed and number: for demo, tests and benchmarks.

Decides who they are, which identifiers are whose, and what the company's warehouse and vendors hold about them. Most
are *ordinary*: everything that the warehouse links to them is theirs. The others are what an identity graph does wrong
in real life: households with one phone, placeholders that join strangers, and one over-merged cluster.

Names are invented; addresses end in reserved domains (RFC 2606); phone numbers are 555-01xx, kept for fiction.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from connectors.base.values import Identifier
from connectors.testing.sandbox.sample_warehouse import warehouse_policy, write_warehouse

PLACEHOLDER_EMAIL = "test@test.com"
PLACEHOLDER_PHONE = "unknown"

_GIVEN = (
    "Ada",
    "Grace",
    "Zoë",
    "Søren",
    "Núria",
    "Jürgen",
    "Léa",
    "Mei",
    "Kwame",
    "Olu",
    "Ines",
    "Tomás",
    "Anouk",
    "Raj",
)
_FAMILY = (
    "Lovelace",
    "Hopper",
    "O'Brien",
    "d'Arcy",
    "Müller",
    "García",
    "Nakamura",
    "Okafor",
    "Lindqvist",
    "de la Cruz",
)
_LATIN = str.maketrans("ëøúüéáíóçñ", "eouueaiocn")
_DOMAINS = ("example.test", "example.org", "mail.example.net", "bücher.example")
_HOUSEHOLD_EVERY = 50
_PLACEHOLDER_EVERY = 40
_OVER_MERGED = 3
_RICH = 60
_ORG_SHARE = 0.1


@dataclass(frozen=True)
class SamplePerson:
    """One person.

    Everything under `identifiers` is theirs alone; `household_phone` is shared and not among them.
    """

    ref: str
    number: int
    given: str = field(repr=False)
    family: str = field(repr=False)
    emails: tuple[str, ...] = field(repr=False)
    phones: tuple[str, ...] = field(repr=False)
    customer_id: str = field(repr=False)
    anonymous_ids: tuple[str, ...] = field(repr=False)
    household_phone: str | None = field(default=None, repr=False)
    has_placeholder: bool = False

    @property
    def name(self) -> str:
        """Given and family name."""
        return f"{self.given} {self.family}"

    @property
    def identifiers(self) -> tuple[Identifier, ...]:
        """The ground truth: this person's identifiers in normal form."""
        return (
            *(Identifier("email", value) for value in self.emails),
            *(Identifier("phone", value) for value in self.phones),
            Identifier("customer_id", self.customer_id),
            *(Identifier("anonymous_id", value) for value in self.anonymous_ids),
        )

    @property
    def residue_values(self) -> frozenset[str]:
        """Return the values that may stand nowhere once this person is erased."""
        return frozenset(identifier.value for identifier in self.identifiers)


class SampleWorld:
    """`people` persons, at least 10. `over_merged` are one cluster by mistake; `households` share a phone."""

    def __init__(self, seed: int, people: int) -> None:
        if people < 10:
            raise ValueError("a sample world has at least 10 people")
        self.seed = seed
        self._random = random.Random(seed)  # noqa: S311 - made-up people, the same ones every time
        self._phones = self._free_phones(people)
        self.people: tuple[SamplePerson, ...] = tuple(self._person(n, people) for n in range(people))

    @property
    def over_merged(self) -> tuple[SamplePerson, ...]:
        """People whom recycled mailboxes join into one cluster: for the review."""
        return self.people[-_OVER_MERGED:]

    @cached_property
    def households(self) -> tuple[tuple[SamplePerson, SamplePerson], ...]:
        """Two people each with one phone between them."""
        members = [person for person in self.people if person.household_phone is not None]
        return tuple(zip(members[::2], members[1::2], strict=True))

    @cached_property
    def ordinary(self) -> tuple[SamplePerson, ...]:
        """People whose cluster is theirs and nobody else's."""
        odd = set(self.over_merged)
        return tuple(p for p in self.people if p not in odd and p.household_phone is None and not p.has_placeholder)

    @cached_property
    def everywhere(self) -> SamplePerson:
        """An ordinary person who is in every system of the company: the one to try an erasure with."""
        users = {user["person"] for user in self.zendesk_seed("support") if user["tickets"]}
        audiences = self.mailchimp_seed()
        members = {member["person"] for audience in audiences for member in audience["members"]}
        org = {person.ref for person, is_rich in self.org_members() if is_rich}
        present = users & members & org
        return next(p for p in self.ordinary if p.ref in present and p.emails[0].endswith("@example.test"))

    def edges(self) -> Iterator[tuple[str, str, str, str, str, float]]:
        """Return the identity graph as the warehouse holds it, with untidy values.

        Each edge is kind, value, kind, value, source, confidence.
        """
        for person in self.people:
            yield from _edges_of(person)
        for one, other in zip(self.over_merged, self.over_merged[1:], strict=False):
            yield "email", one.emails[-1], "email", other.emails[0], "import", 0.95

    def load_warehouse(self, path: Path) -> dict[str, Any]:
        """Write a DuckDB file with the company's tables and the identity graph; returns `warehouse_config()`."""
        write_warehouse(path, self.people, self.edges())
        return self.warehouse_config()

    def warehouse_config(self) -> dict[str, Any]:
        """The policy of a warehouse system over these tables, the identity graph among them."""
        return warehouse_policy()

    def zendesk_seed(self, account: str) -> list[dict[str, Any]]:
        """Return the people with a user and tickets in a support account of that name, in no vendor's form."""
        chosen = random.Random(f"{self.seed}:{account}")  # noqa: S311 - as above
        statuses = ("new", "open", "pending", "solved", "closed")
        return [
            {
                "person": person.ref,
                "name": person.name,
                "emails": list(person.emails[: 1 + person.number % 2]),
                "phones": list(person.phones[:1]),
                "customer_id": person.customer_id,
                "tickets": [
                    {"subject": f"Question {n + 1} of {person.given}", "status": chosen.choice(statuses)}
                    for n in range(chosen.randrange(3))
                ],
            }
            for person in self.people
            if chosen.random() < 0.6
        ]

    def mailchimp_seed(self) -> list[dict[str, Any]]:
        """Which audiences exist and who is in them, in no vendor's form."""
        chosen = random.Random(f"{self.seed}:audiences")  # noqa: S311 - as above
        statuses = ("subscribed", "subscribed", "subscribed", "unsubscribed", "cleaned", "archived")
        return [
            {
                "audience": audience,
                "members": [
                    {
                        "person": person.ref,
                        "name": person.name,
                        "email": person.emails[which % len(person.emails)],
                        "phone": person.phones[0] if person.phones else None,
                        "status": chosen.choice(statuses),
                    }
                    for person in self.people
                    if chosen.random() < share
                ],
            }
            for which, (audience, share) in enumerate((("newsletter", 0.5), ("offers", 0.2)))
        ]

    def org_members(self) -> list[tuple[SamplePerson, bool]]:
        """Return the people in the Salesforce org, each with whether a record of every kind hangs on them.

        That is so for the first people and the over-merged ones; the others have the commonest records only.
        """
        chosen = random.Random(f"{self.seed}:org")  # noqa: S311 - as above
        rich = {*self.people[:_RICH], *self.over_merged}
        return [(p, p in rich) for p in self.people if chosen.random() < _ORG_SHARE or p in rich]

    def _free_phones(self, people: int) -> list[str]:
        """Return numbers 555-01xx of North American area codes.

        They are enough for about 15,000 people; later ones have no phone.
        """
        codes = [code for code in range(201, 990) if code % 100 != 11 and code // 10 % 10 != 9]
        numbers = [f"+1{code}55501{line:02d}" for line in range(100) for code in codes][: people * 3]
        self._random.shuffle(numbers)
        return numbers

    def _person(self, number: int, people: int) -> SamplePerson:
        pick = self._random
        given, family = pick.choice(_GIVEN), pick.choice(_FAMILY)
        emails = [_email(given, family, number, pick.choice(_DOMAINS), n) for n in range(2 + number % 2)]
        is_apart = number < people - _OVER_MERGED
        in_household = is_apart and number % _HOUSEHOLD_EVERY < 2 and number // 2 * 2 + 1 < people - _OVER_MERGED
        return SamplePerson(
            ref=f"p{number:06d}",
            number=number,
            given=given,
            family=family,
            emails=tuple(emails),
            phones=tuple(self._phones.pop() for _ in range(1 + number % 2) if self._phones),
            customer_id=f"C-{number:07d}",
            anonymous_ids=tuple(f"anon-{pick.getrandbits(64):016x}" for _ in range(1 + number % 3 // 2)),
            household_phone=f"+44770090{number // _HOUSEHOLD_EVERY % 10000:04d}" if in_household else None,
            has_placeholder=is_apart and number % _PLACEHOLDER_EVERY == 5,
        )


def _email(given: str, family: str, number: int, domain: str, n: int) -> str:
    """A different form each time: with an apostrophe and a tag, beyond ASCII, or plain."""
    name = f"{given}.{family}".lower().replace(" ", "")
    if n == 0:
        return f"{name.translate(_LATIN)}.{number:07d}@{domain}".replace("bücher", "xn--bcher-kva")
    if n == 1:
        return f"{name}.{number:07d}+shop@example.test"
    return f"{number:07d}.{given.lower()}@example.org"


def _untidy(value: str, number: int) -> str:
    """How some imports spell an email: capitals, spaces around it."""
    return (value, value.upper(), f" {value}", f"{value.title()}\t", value)[number % 5]


def _edges_of(person: SamplePerson) -> Iterator[tuple[str, str, str, str, str, float]]:
    owner = ("customer_id", person.customer_id)
    for n, email in enumerate(person.emails):
        yield *owner, "email", _untidy(email, person.number + n), "crm", 1.0
    for phone in person.phones:
        yield "phone", phone, *owner, "crm", 0.9
    for anonymous_id in person.anonymous_ids:
        yield "anonymous_id", anonymous_id, "email", person.emails[0], "web", 0.97
    if person.household_phone is not None:
        yield *owner, "phone", person.household_phone, "crm", 0.9
    if person.has_placeholder:
        yield *owner, "email", PLACEHOLDER_EMAIL, "shop", 1.0
        yield *owner, "phone", PLACEHOLDER_PHONE, "shop", 1.0
