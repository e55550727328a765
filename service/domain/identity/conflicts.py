"""Decides whether a record that was found in a system may be somebody else's, by the identifiers that it carries.

An identifier that the identity graph links to others, and that isn't this person's, is somebody else's; so is one that
a reviewer dropped from this person. One that nobody knows says nothing. Placeholders, shared kinds and supernodes say
nothing either: many people's records carry them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from connectors.base.identity_source import Neighbours
from connectors.base.values import Identifier
from service.domain.identity.cluster import WalkRules
from service.domain.identity.normalise import InvalidIdentifier, is_well_formed, normalise
from service.domain.identity.placeholders import is_placeholder


def unexplained(carried: Collection[Identifier], known: Collection[Identifier], rules: WalkRules) -> set[Identifier]:
    """Those carried identifiers, in normal form, of which the graph must be asked whose they are."""
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
    """Of the unexplained identifiers those that are somebody else's."""
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
