"""Decides by a found record's identifiers whether the record may belong to another person.

An identifier that isn't this person's belongs to another person if the identity graph links it to others or a reviewer
dropped it from this person. An identifier that the graph doesn't know proves nothing. Placeholders, shared kinds and
supernodes prove nothing either, because they are in the records of many people.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from connectors.base.identity_source import Neighbours
from connectors.base.values import Identifier
from service.domain.identity.cluster import WalkRules
from service.domain.identity.normalise import InvalidIdentifier, is_well_formed, normalise
from service.domain.identity.placeholders import is_placeholder


def unexplained(carried: Collection[Identifier], known: Collection[Identifier], rules: WalkRules) -> set[Identifier]:
    """Return the record's identifiers, in normal form, about whose owner the graph must be asked."""
    own = {_normal(identifier, rules) for identifier in known}
    found: set[Identifier] = set()
    for identifier in carried:
        normal = _normal(identifier, rules)
        if normal is None or normal in own or normal.kind in rules.shared_kinds:
            continue
        if is_placeholder(identifier, rules.placeholders) or is_placeholder(normal, rules.placeholders):
            continue
        if is_well_formed(normal):
            found.add(normal)
    return found


def somebody_elses(
    questions: Collection[Identifier],
    answers: Mapping[Identifier, Neighbours],
    dropped: Collection[Identifier],
    rules: WalkRules,
) -> set[Identifier]:
    """Return those of the unexplained identifiers that belong to another person."""
    not_ours = {_normal(identifier, rules) for identifier in dropped}
    return {
        question
        for question in questions
        if question in not_ours or 1 <= answers.get(question, Neighbours()).degree <= rules.max_neighbours
    }


def _normal(identifier: Identifier, rules: WalkRules) -> Identifier | None:
    try:
        return normalise(identifier, rules.default_region)
    except InvalidIdentifier:
        return None
