"""The doubts of a review, invalid lists of decisions, and doubts that need a second person."""

from __future__ import annotations

from uuid import UUID

import pytest

from connectors.base.identity_source import Edge, Neighbours
from connectors.base.values import Identifier
from service.domain.identity.cluster import Cluster, DoubtReason, Evidence, Person, Seed, WalkRules, link_of
from service.domain.identity.doubts import ALLOWED, DoubtDecision, OpenDoubt, doubts_of, mistakes_in, second_person_for
from service.domain.identity.explanation import Explanation, explain
from service.domain.identity.walk import Walk
from service.domain.requests.blast_radius import ApprovalReason, BlastRadius, BlastRadiusRules, needs_approval

ADA, BOX, EVE = (Identifier("email", f"{name}@example.test") for name in ("ada", "box", "eve"))
C1, C2 = Identifier("customer_id", "C1"), Identifier("customer_id", "C2")
PHONE = Identifier("phone", "+12125550123")
RULES = WalkRules(one_per_person_kinds=frozenset({"customer_id"}), min_confidence=0.5, max_neighbours=3)
KEEP, DROP = DoubtDecision.KEEP, DoubtDecision.DROP
# ADA and C1 are one person; BOX is a recycled mailbox that leads on to EVE and C2.
MERGED = [(ADA, C1, 1.0), (C1, BOX, 1.0), (BOX, EVE, 0.9), (EVE, C2, 1.0), (C2, PHONE, 1.0)]


def walked(
    links: list[tuple[Identifier, Identifier, float]], rules: WalkRules = RULES, **person: frozenset[object]
) -> Cluster:
    graph: dict[Identifier, list[Edge]] = {}
    for one, other, confidence in links:
        graph.setdefault(one, []).append(Edge(other, "crm", confidence))
        graph.setdefault(other, []).append(Edge(one, "crm", confidence))
    walk = Walk([Person("r", (Seed(ADA, verified=True),), **person)], rules)  # type: ignore[arg-type] # decisions by name
    while not walk.done:
        asked = walk.frontier()
        walk.learn(asked, {i: Neighbours(tuple(graph[i]), len(graph[i])) for i in asked if i in graph})
    return walk.clusters()["r"]


def asked_about(cluster: Cluster) -> tuple[dict[str, OpenDoubt], dict[Identifier, int]]:
    explanation = explain(Explanation(), [ADA], cluster, lambda each: each.value.encode())
    rows = {member: UUID(int=n) for n, member in enumerate(sorted(cluster.members), start=1)}
    return {doubt.id: doubt for doubt in doubts_of(cluster, explanation.ordinals, rows)}, dict(explanation.ordinals)


def decided(choice: dict[tuple[Identifier, Identifier], DoubtDecision]) -> list[tuple[OpenDoubt, DoubtDecision]]:
    """Every doubt of the merged cluster kept, but for those named by their ends."""
    doubts, ordinals = asked_about(walked(MERGED))
    named = {tuple(sorted(ordinals[each] for each in ends)): word for ends, word in choice.items()}
    assert named.keys() <= {doubt.about for doubt in doubts.values()}
    return [(doubt, named.get(doubt.about, KEEP)) for doubt in doubts.values()]


def test_two_values_are_in_doubt_link_by_link() -> None:
    cluster = walked(MERGED)
    assert cluster.members == {ADA, C1, BOX, EVE, C2, PHONE}
    doubts, ordinals = asked_about(cluster)
    assert ordinals[ADA] == 1
    named = {doubt.about: {*doubt.leads_to} for doubt in doubts.values()}
    ends = {tuple(sorted((ordinals[a], ordinals[b]))) for a, b, _ in MERGED[:4]}
    assert named.keys() == ends, "the phone behind the second value hangs on it and isn't asked about by itself"
    assert named[1, ordinals[C1]] == {ordinals[C1], ordinals[C2]}
    assert all(doubt.is_edge and doubt.allowed == (KEEP, DROP) for doubt in doubts.values())


def test_a_cut_link_removes_only_its_own_identifiers() -> None:
    cut = frozenset({link_of(BOX, EVE)})
    assert walked(MERGED, cut=cut).members == {ADA, C1, BOX}
    around = [*MERGED, (ADA, EVE, 1.0)]
    assert walked(around, cut=cut).members == {ADA, C1, BOX, EVE, C2, PHONE}


def test_each_member_has_its_shortest_path_and_each_link_its_evidence() -> None:
    cluster = walked([*MERGED, (ADA, EVE, 0.7)])
    assert cluster.paths[C2] == (ADA, EVE, C2)
    assert cluster.paths[ADA] == (ADA,)
    assert cluster.evidence[link_of(ADA, EVE)] == {Evidence("crm", 0.7)}


def test_a_followed_weak_link_stays_in_doubt() -> None:
    links = [(ADA, C1, 1.0), (ADA, EVE, 0.2), (EVE, PHONE, 1.0)]
    weak = frozenset({link_of(ADA, EVE)})
    assert walked(links).members == {ADA, C1}
    assert walked(links, cut=weak).doubts == ()
    kept = walked(links, followed=weak)
    assert kept.members == {ADA, C1, EVE, PHONE}
    assert [(doubt.reason, doubt.links) for doubt in kept.doubts] == [(DoubtReason.LOW_CONFIDENCE, weak)]


def test_a_kept_supernode_is_a_member_and_leads_nowhere() -> None:
    links = [(ADA, Identifier("anonymous_id", f"a{n}"), 1.0) for n in range(4)]
    assert walked(links).members == frozenset()
    kept = walked(links, kept=frozenset({ADA}))
    assert kept.members == {ADA}
    assert [(doubt.reason, doubt.identifiers) for doubt in kept.doubts] == [(DoubtReason.SUPERNODE, {ADA})]


def test_a_clean_cut_needs_no_second_person() -> None:
    assert second_person_for(decided({(BOX, EVE): DROP, (EVE, C2): DROP})) == frozenset()
    assert second_person_for(decided({(C1, BOX): DROP, (BOX, EVE): DROP, (EVE, C2): DROP})) == frozenset()


def test_a_kept_link_that_nothing_vouches_for_takes_a_second_person() -> None:
    too_late = second_person_for(decided({(EVE, C2): DROP}))
    assert too_late == {ApprovalReason.TWO_VALUES_KEPT}
    # The same by dropping the second value beside the decisions.
    cluster = walked(MERGED)
    value = UUID(int=1 + sorted(cluster.members).index(C2))
    assert second_person_for(decided({}), {value}) == {ApprovalReason.TWO_VALUES_KEPT}


@pytest.mark.parametrize(
    ("reason", "decision", "why"),
    [
        (DoubtReason.SUPERNODE, KEEP, {ApprovalReason.SUPERNODE_KEPT}),
        (DoubtReason.SUPERNODE, DROP, set()),
        (DoubtReason.LOW_CONFIDENCE, KEEP, {ApprovalReason.WEAK_EDGE_KEPT}),
        (DoubtReason.LOW_CONFIDENCE, DROP, set()),
        (DoubtReason.TOO_LARGE, DROP, {ApprovalReason.CLUSTER_CUT_SHORT}),
        (DoubtReason.PLACEHOLDER, DROP, set()),
    ],
)
def test_doubts_that_need_a_second_person(reason: str, decision: DoubtDecision, why: set[ApprovalReason]) -> None:
    assert second_person_for([(OpenDoubt(reason, (1,)), decision)]) == why


def test_a_kept_doubt_needs_approval_for_every_plan() -> None:
    kept = ["weak_edge_kept", "two_values_kept"]
    found = needs_approval(BlastRadius(1), BlastRadiusRules(), kept=kept)
    assert found == (ApprovalReason.TWO_VALUES_KEPT, ApprovalReason.WEAK_EDGE_KEPT)
    assert needs_approval(BlastRadius(1), BlastRadiusRules()) == ()


def test_every_doubt_needs_exactly_one_decision_that_it_allows() -> None:
    doubts = [
        OpenDoubt("supernode", (1,)),
        OpenDoubt("low_confidence", (1, 4), is_edge=True),
        OpenDoubt("malformed_identifier", (2,)),
    ]
    right = [("supernode.1", KEEP), ("low_confidence.1-4", DROP), ("malformed_identifier.2", DROP)]
    assert mistakes_in(doubts, right) == []
    assert [m.reason for m in mistakes_in(doubts, right[1:])] == ["supernode.1 is undecided; allowed: keep, drop"]
    assert [m.field for m in mistakes_in(doubts, [*right, right[0]])] == ["/decisions/3/doubt"]
    assert [m.field for m in mistakes_in(doubts, [("supernode.9", KEEP), *right])] == ["/decisions/0/doubt"]
    refused = mistakes_in(doubts, [*right[:2], ("malformed_identifier.2", KEEP)])
    assert [(m.field, m.reason) for m in refused] == [
        ("/decisions/2/decision", "malformed_identifier.2 allows only: drop")
    ]


def test_every_reason_of_the_walk_allows_a_decision() -> None:
    assert {*DoubtReason} <= ALLOWED.keys()
    assert all(ALLOWED.values())


def test_an_explanation_is_read_back_and_ordinals_stay() -> None:
    first = explain(Explanation(), [ADA], walked(MERGED), lambda each: each.value.encode())
    assert Explanation.of_json(first.to_json()) == first
    second = explain(first, [ADA], walked(MERGED, cut=frozenset({link_of(BOX, EVE)})), lambda each: b"")
    assert second.ordinals == first.ordinals
    assert second.path_to(second.ordinals[C2]) == ()


def test_a_doubt_is_read_back_as_it_was_stored() -> None:
    for doubt in asked_about(walked(MERGED))[0].values():
        assert OpenDoubt.of_json(doubt.as_json()) == doubt


def test_a_doubt_of_an_earlier_version_can_only_be_looked_at_again() -> None:
    old = {"reason": "two_values_of_one_per_person_kind", "identifiers": [str(UUID(int=1))], "sources": []}
    doubt = OpenDoubt.of_json(old)
    assert (doubt.id, doubt.allowed) == ("two_values_of_one_per_person_kind", (KEEP,))
