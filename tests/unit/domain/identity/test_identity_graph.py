"""The walk, case by case: who is a member, who isn't, and what a human gets to see."""

from collections.abc import Iterable

import pytest

from connectors.base.identity_source import Edge, Neighbours
from connectors.base.values import Identifier
from service.domain.identity.cluster import Cluster, Doubt, DoubtReason, Exclusion, Person, Seed, WalkRules, link_of
from service.domain.identity.walk import Walk, WalkNotFinished

ADA = Identifier("email", "ada@example.test")
EVE = Identifier("email", "eve@example.test")
PHONE = Identifier("phone", "+12125550123")
C1, C2, C3 = (Identifier("customer_id", f"C{n}") for n in (1, 2, 3))
DEVICE = Identifier("household_id", "H-77")

Link = tuple[Identifier, Identifier] | tuple[Identifier, Identifier, float | None]


def graph_of(links: Iterable[Link]) -> dict[Identifier, Neighbours]:
    edges: dict[Identifier, list[Edge]] = {}
    for link in links:
        confidence = link[2] if len(link) == 3 else None
        for here, there in ((link[0], link[1]), (link[1], link[0])):
            edges.setdefault(here, []).append(Edge(there, "profiles", confidence))
    return {asked: Neighbours(tuple(found), degree=len(found)) for asked, found in edges.items()}


def explore(walk: Walk[str], graph: dict[Identifier, Neighbours]) -> list[frozenset[Identifier]]:
    rounds = []
    while not walk.done:
        asked = walk.frontier()
        rounds.append(asked)
        walk.learn(asked, {identifier: graph[identifier] for identifier in asked & graph.keys()})
    return rounds


def cluster_of(
    links: Iterable[Link],
    *seeds: Identifier,
    rules: WalkRules | None = None,
    unverified: Iterable[Identifier] = (),
    dropped: Iterable[Identifier] = (),
    graph: dict[Identifier, Neighbours] | None = None,
) -> Cluster:
    submitted = [Seed(seed, verified=True) for seed in seeds] + [Seed(seed, verified=False) for seed in unverified]
    walk = Walk([Person("r", tuple(submitted), frozenset(dropped))], rules or WalkRules())
    explore(walk, {**graph_of(links), **(graph or {})})
    return walk.clusters()["r"]


def reasons(cluster: Cluster) -> set[DoubtReason]:
    return {doubt.reason for doubt in cluster.doubts}


def test_follows_links_to_the_end() -> None:
    cluster = cluster_of([(ADA, C1), (C1, PHONE), (EVE, C2)], ADA)
    assert cluster.members == {ADA, C1, PHONE}
    assert (dict(cluster.excluded), cluster.doubts) == ({}, ())


def test_a_person_unknown_to_the_graph_is_still_a_cluster() -> None:
    cluster = cluster_of([], ADA)
    assert cluster.members == {ADA}
    assert cluster.doubts == ()


@pytest.mark.parametrize(
    ("bridge", "excluded_as"),
    [
        (Identifier("email", "unknown"), Exclusion.PLACEHOLDER),
        (Identifier("email", ""), Exclusion.PLACEHOLDER),
        (Identifier("phone", "+1 000 000 0000"), Exclusion.PLACEHOLDER),
        (Identifier("customer_id", "null"), Exclusion.PLACEHOLDER),
        (Identifier("email", "noreply@shop.test"), Exclusion.PLACEHOLDER),
        (DEVICE, Exclusion.SHARED_KIND),
        (Identifier("email", "see notes"), Exclusion.MALFORMED),
        (Identifier("phone", "12345"), Exclusion.MALFORMED),
        (Identifier("Bad Kind", "x"), Exclusion.MALFORMED),
    ],
)
def test_a_placeholder_does_not_merge_two_people(bridge: Identifier, excluded_as: Exclusion) -> None:
    rules = WalkRules(shared_kinds=frozenset({"household_id"}))
    cluster = cluster_of([(ADA, bridge), (bridge, EVE)], ADA, rules=rules)
    assert cluster.members == {ADA}
    assert list(cluster.excluded.values()) == [excluded_as]
    assert cluster.doubts == ()


@pytest.mark.parametrize(
    ("written", "region"),
    [("0123456", "DE"), ("1 (555) 555-5555", "US")],  # a placeholder only as written, and only in normal form
)
def test_a_placeholder_is_recognised_as_written_and_in_normal_form(written: str, region: str) -> None:
    bridge = Identifier("phone", written)
    cluster = cluster_of([(ADA, bridge), (bridge, EVE)], ADA, rules=WalkRules(default_region=region))
    assert cluster.members == {ADA}
    assert list(cluster.excluded.values()) == [Exclusion.PLACEHOLDER]


def test_barred_identifiers_are_never_asked_for() -> None:
    walk = Walk([Person("r", (Seed(ADA, verified=True),))], WalkRules(shared_kinds=frozenset({"household_id"})))
    rounds = explore(walk, graph_of([(ADA, DEVICE), (ADA, Identifier("email", "unknown"))]))
    assert rounds == [frozenset({ADA})]


def test_a_supernode_is_neither_member_nor_bridge() -> None:
    crowd = [(PHONE, Identifier("customer_id", f"K{n}")) for n in range(4)]
    rules = WalkRules(max_neighbours=4)
    cluster = cluster_of([(ADA, PHONE), *crowd], ADA, rules=rules)
    assert cluster.members == {ADA}
    assert cluster.excluded == {PHONE: Exclusion.SUPERNODE}
    assert cluster.doubts == ()
    assert len(cluster_of([(ADA, PHONE), *crowd[:3]], ADA, rules=rules).members) == 5


def test_a_supernode_with_neighbours_withheld_by_the_source() -> None:
    graph = {PHONE: Neighbours(degree=51)}
    cluster = cluster_of([(ADA, C1)], C1, graph={C1: Neighbours((Edge(PHONE), Edge(ADA)), degree=2), **graph})
    assert cluster.members == {C1, ADA}
    assert cluster.excluded == {PHONE: Exclusion.SUPERNODE}


@pytest.mark.parametrize("verified", [True, False])
@pytest.mark.parametrize(
    ("seed", "excluded_as", "doubt"),
    [
        (DEVICE, Exclusion.SHARED_KIND, DoubtReason.SHARED_IDENTIFIER),
        (PHONE, Exclusion.SUPERNODE, DoubtReason.SUPERNODE),
        (Identifier("email", "test@test.com"), Exclusion.PLACEHOLDER, DoubtReason.PLACEHOLDER),
        (Identifier("phone", "12345"), Exclusion.MALFORMED, DoubtReason.MALFORMED_IDENTIFIER),
    ],
)
def test_a_submitted_identifier_that_cannot_be_used_is_a_doubt(
    seed: Identifier, excluded_as: Exclusion, doubt: DoubtReason, verified: bool
) -> None:
    rules = WalkRules(shared_kinds=frozenset({"household_id"}), max_neighbours=2)
    crowd = [(PHONE, C1), (PHONE, C2), (PHONE, ADA)]
    seeds = ((ADA, seed), ()) if verified else ((ADA,), (seed,))
    cluster = cluster_of(crowd, *seeds[0], unverified=seeds[1], rules=rules)
    assert cluster.members == {ADA}
    assert cluster.excluded == {seed: excluded_as, PHONE: Exclusion.SUPERNODE}
    assert Doubt(doubt, frozenset({seed})) in cluster.doubts
    assert len(cluster.doubts) == 1


def test_an_unverified_seed_starts_nothing() -> None:
    cluster = cluster_of([(ADA, C1), (EVE, C2)], ADA, unverified=[EVE])
    assert cluster.members == {ADA, C1}
    assert cluster.excluded == {EVE: Exclusion.UNVERIFIED}
    assert cluster.doubts == (Doubt(DoubtReason.UNVERIFIED_IDENTIFIER, frozenset({EVE})),)


def test_an_unverified_seed_is_never_asked_for() -> None:
    walk = Walk([Person("r", (Seed(EVE, verified=False),))], WalkRules())
    assert walk.done
    assert walk.clusters()["r"].members == frozenset()


def test_an_unverified_seed_that_the_walk_reaches_is_a_member_like_any_other() -> None:
    cluster = cluster_of([(ADA, C1), (C1, EVE), (EVE, C2)], ADA, unverified=[EVE])
    assert cluster.members == {ADA, C1, EVE, C2}
    assert cluster.doubts == ()


def test_two_values_of_a_kind_that_one_person_has_once() -> None:
    rules = WalkRules(one_per_person_kinds=frozenset({"customer_id", "email"}))
    cluster = cluster_of([(ADA, C1), (ADA, C2)], ADA, rules=rules)
    assert cluster.members == {ADA, C1, C2}
    assert cluster.doubts == (Doubt(DoubtReason.TWO_VALUES_OF_ONE_PER_PERSON_KIND, frozenset({C1, C2})),)


def test_two_spellings_are_not_two_values() -> None:
    rules = WalkRules(one_per_person_kinds=frozenset({"email"}))
    cluster = cluster_of([(Identifier("email", "Ada@Example.TEST"), C1), (ADA, C1)], C1, rules=rules)
    assert cluster.members == {C1, ADA}
    assert cluster.doubts == ()


@pytest.mark.parametrize("confidence", [0.0, 0.49, float("nan")])
def test_a_weak_link_is_shown_and_not_walked(confidence: float) -> None:
    rules = WalkRules(min_confidence=0.5)
    cluster = cluster_of([(ADA, EVE, confidence), (EVE, C2)], ADA, rules=rules)
    assert cluster.members == {ADA}
    sources, links = frozenset({"profiles"}), frozenset({link_of(ADA, EVE)})
    assert cluster.doubts == (Doubt(DoubtReason.LOW_CONFIDENCE, frozenset({EVE}), sources, links),)


@pytest.mark.parametrize("confidence", [0.5, 1.0, None])
def test_a_strong_link_is_walked(confidence: float | None) -> None:
    cluster = cluster_of([(ADA, EVE, confidence)], ADA, rules=WalkRules(min_confidence=0.5))
    assert cluster.members == {ADA, EVE}
    assert cluster.doubts == ()


def test_a_weak_link_to_a_member_reached_otherwise_is_no_doubt() -> None:
    links: list[Link] = [(ADA, C1), (C1, PHONE), (ADA, PHONE, 0.1), (ADA, DEVICE, 0.1)]
    rules = WalkRules(min_confidence=0.5, shared_kinds=frozenset({"household_id"}))
    cluster = cluster_of(links, ADA, rules=rules)
    assert cluster.members == {ADA, C1, PHONE}
    assert cluster.doubts == ()


def test_a_cluster_that_grows_too_large_stops_growing() -> None:
    links: list[Link] = [(ADA, C1), (C1, C2), (C1, C3), (C2, EVE)]
    cluster = cluster_of(links, ADA, rules=WalkRules(max_cluster=3))
    assert cluster.members == {ADA, C1}
    assert cluster.excluded == {C2: Exclusion.NOT_EXAMINED, C3: Exclusion.NOT_EXAMINED}
    assert cluster.doubts == (Doubt(DoubtReason.TOO_LARGE, frozenset({C2, C3})),)
    assert reasons(cluster_of(links, ADA, rules=WalkRules(max_cluster=5))) == set()


def test_a_chain_that_is_too_long_stops_with_a_doubt() -> None:
    links: list[Link] = [(ADA, C1), (C1, C2), (C2, C3)]
    cluster = cluster_of(links, ADA, rules=WalkRules(max_rounds=3))
    assert cluster.members == {ADA, C1, C2}
    assert cluster.excluded == {C3: Exclusion.NOT_EXAMINED}
    assert cluster.doubts == (Doubt(DoubtReason.TOO_DEEP, frozenset({C3})),)
    assert reasons(cluster_of(links, ADA, rules=WalkRules(max_rounds=4))) == set()


def test_dropping_separates_and_settles_the_doubt() -> None:
    links: list[Link] = [(ADA, C1), (C1, PHONE), (PHONE, C2), (C2, EVE)]
    rules = WalkRules(one_per_person_kinds=frozenset({"customer_id"}))
    assert reasons(cluster_of(links, ADA, rules=rules)) == {DoubtReason.TWO_VALUES_OF_ONE_PER_PERSON_KIND}
    cluster = cluster_of(links, ADA, rules=rules, dropped=[PHONE])
    assert cluster.members == {ADA, C1}
    assert cluster.excluded == {PHONE: Exclusion.DROPPED}
    assert cluster.doubts == ()


@pytest.mark.parametrize("seed", [EVE, DEVICE, Identifier("email", "unknown"), Identifier("phone", "12345"), PHONE])
def test_a_dropped_seed_is_no_member_and_no_doubt(seed: Identifier) -> None:
    rules = WalkRules(shared_kinds=frozenset({"household_id"}), min_confidence=0.5)
    links: list[Link] = [(seed, C2), (ADA, seed, 0.1)]
    for verified, unverified in (((ADA, seed), ()), ((ADA,), (seed,))):
        cluster = cluster_of(links, *verified, unverified=unverified, rules=rules, dropped=[seed])
        assert cluster.members == {ADA}
        assert cluster.excluded == {seed: Exclusion.DROPPED}
        assert cluster.doubts == ()


def test_dropping_any_spelling_drops_the_identifier() -> None:
    cluster = cluster_of([(ADA, C1), (ADA, EVE)], C1, dropped=[Identifier("email", " ADA@example.test")])
    assert cluster.members == {C1}


def test_an_identifier_dropped_in_one_cluster_stays_in_another() -> None:
    people = [
        Person("a", (Seed(ADA, verified=True),), frozenset({PHONE})),
        Person("b", (Seed(EVE, verified=True),)),
    ]
    walk = Walk(people, WalkRules())
    explore(walk, graph_of([(ADA, PHONE), (EVE, PHONE)]))
    assert {ref: cluster.members for ref, cluster in walk.clusters().items()} == {"a": {ADA}, "b": {EVE, PHONE, ADA}}


def test_keeps_the_warehouses_spellings_to_address_rows_by() -> None:
    stored, submitted = Identifier("email", "Ada@Example.TEST"), Identifier("email", "ADA@example.test ")
    cluster = cluster_of([(stored, C1), (ADA, C1)], submitted, graph={ADA: Neighbours((Edge(C1),), 1)})
    assert cluster.members == {ADA, C1}
    assert cluster.spellings == {ADA: {submitted, stored, ADA}, C1: {C1}}


def test_a_reported_spelling_must_read_as_the_same_identifier() -> None:
    graph = {
        ADA: Neighbours((Edge(C1),), 1, frozenset({"Ada@example.test"})),
        C1: Neighbours((Edge(ADA),), 1, frozenset({"C1", "c1"})),
    }
    cluster = cluster_of([], ADA, graph=graph)
    assert cluster.spellings == {ADA: {ADA, Identifier("email", "Ada@example.test")}, C1: {C1}}


def test_asks_for_a_spelling_that_no_source_can_derive() -> None:
    stored = Identifier("phone", "(212) 555-0123")
    walk = Walk([Person("r", (Seed(ADA, verified=True),))], WalkRules(default_region="US"))
    rounds = explore(walk, graph_of([(ADA, stored), (stored, C1)]))
    assert rounds == [{ADA}, {stored, PHONE}, {C1}]
    assert walk.clusters()["r"].members == {ADA, PHONE, C1}
    assert walk.clusters()["r"].spellings[PHONE] == {stored}


def test_does_not_ask_twice_for_an_email_in_another_case() -> None:
    walk = Walk([Person("r", (Seed(C1, verified=True),))], WalkRules())
    rounds = explore(walk, {C1: Neighbours((Edge(Identifier("email", "Ada@Example.TEST")),), 1)})
    assert rounds == [{C1}, {ADA}]


def test_a_member_that_proves_crowded_by_another_spelling_takes_its_finds_with_it() -> None:
    stored = Identifier("phone", "(212) 555-0123")
    crowd = tuple(Edge(Identifier("customer_id", f"K{n}")) for n in range(3))
    graph = {
        ADA: Neighbours((Edge(PHONE),), 1),
        PHONE: Neighbours((Edge(ADA), Edge(C1)), 2),
        C1: Neighbours((Edge(stored),), 1),
        stored: Neighbours((*crowd, Edge(C1)), 4),
    }
    cluster = cluster_of([], ADA, graph=graph, rules=WalkRules(default_region="US", max_neighbours=4))
    assert cluster.members == {ADA}
    assert cluster.excluded == {PHONE: Exclusion.SUPERNODE}


def test_a_supernode_found_late_stays_out_of_the_cluster() -> None:
    stored = Identifier("phone", "(212) 555-0123")
    crowd = tuple(Edge(Identifier("customer_id", f"K{n}")) for n in range(4))
    graph = {
        ADA: Neighbours((Edge(PHONE), Edge(C1)), 2),
        PHONE: Neighbours((Edge(ADA),), 1),
        C1: Neighbours((Edge(stored), Edge(C2)), 2),
        stored: Neighbours((*crowd, Edge(C1)), 5),
        C2: Neighbours((Edge(C3),), 1),
        C3: Neighbours((Edge(EVE),), 1),
    }
    cluster = cluster_of([], ADA, graph=graph, rules=WalkRules(default_region="US", max_neighbours=4))
    assert cluster.members == {ADA, C1, C2, C3, EVE}
    assert cluster.excluded == {PHONE: Exclusion.SUPERNODE}


def test_a_supernode_met_again_in_another_spelling_stays_out() -> None:
    stored = Identifier("phone", "(212) 555-0123")
    graph = {
        ADA: Neighbours((Edge(PHONE), Edge(C1)), 2),
        PHONE: Neighbours(degree=51),
        C1: Neighbours((Edge(C2),), 1),
        C2: Neighbours((Edge(stored),), 1),
        stored: Neighbours((Edge(EVE),), 1),
    }
    cluster = cluster_of([], ADA, graph=graph, rules=WalkRules(default_region="US"))
    assert cluster.members == {ADA, C1, C2}
    assert cluster.excluded == {PHONE: Exclusion.SUPERNODE}


def test_links_between_spellings_make_no_supernode() -> None:
    graph = {ADA: Neighbours((Edge(Identifier("email", "ADA@example.test")), Edge(C1)), 1)}
    cluster = cluster_of([], ADA, graph=graph, rules=WalkRules(max_neighbours=1))
    assert cluster.members == {ADA, C1}


def test_more_verified_seeds_than_a_cluster_may_have_are_too_many_and_not_unverified() -> None:
    cluster = cluster_of([], ADA, EVE, rules=WalkRules(max_cluster=1))
    assert cluster.members == frozenset()
    assert cluster.doubts == (Doubt(DoubtReason.TOO_LARGE, frozenset({ADA, EVE})),)


def test_nothing_is_told_before_everything_is_asked() -> None:
    walk = Walk([Person("r", (Seed(ADA, verified=True),))], WalkRules())
    with pytest.raises(WalkNotFinished):
        walk.clusters()
    walk.learn(frozenset({ADA}), {})
    assert walk.clusters()["r"].members == {ADA}


def test_learns_part_of_the_frontier_and_the_same_again() -> None:
    walk = Walk([Person("r", (Seed(ADA, verified=True), Seed(EVE, verified=True)))], WalkRules())
    walk.learn(frozenset({ADA}), {ADA: Neighbours((Edge(C1),), 1)})
    assert walk.frontier() == {EVE}
    walk.learn(frozenset({ADA}), {ADA: Neighbours((Edge(C2),), 1)})
    walk.learn(frozenset({EVE}), {})
    assert walk.frontier() == {C1}


@pytest.mark.parametrize(
    ("asked", "answered"),
    [({EVE}, {}), ({ADA}, {EVE: Neighbours()}), (set(), {ADA: Neighbours()})],
)
def test_an_unrequested_answer_is_refused(asked: set[Identifier], answered: dict[Identifier, Neighbours]) -> None:
    walk = Walk([Person("r", (Seed(ADA, verified=True),))], WalkRules())
    with pytest.raises(ValueError, match="not asked") as caught:
        walk.learn(frozenset(asked), answered)
    assert "example" not in str(caught.value)


def test_refs_are_unique() -> None:
    with pytest.raises(ValueError, match="unique"):
        Walk([Person("r", ()), Person("r", ())], WalkRules())


@pytest.mark.parametrize(
    "limits",
    [{"max_neighbours": 0}, {"max_cluster": 0}, {"max_rounds": 0}, {"min_confidence": -0.1}, {"min_confidence": 1.1}],
)
def test_rules_that_make_no_sense(limits: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        WalkRules(**limits)  # type: ignore[arg-type]  # the values are what is tested


def test_no_value_in_a_repr() -> None:
    cluster = cluster_of([(ADA, PHONE), (PHONE, DEVICE)], ADA, unverified=[EVE])
    assert not any(secret in repr(cluster) for secret in ("ada", "eve@", "2125550123", "H-77"))
