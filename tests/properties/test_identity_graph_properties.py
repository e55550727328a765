"""What holds for every graph: checked against a naive search, and against each person walked alone."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.base.identity_source import Edge, Neighbours
from connectors.base.values import Identifier
from service.domain.identity.cluster import Cluster, DoubtReason, Exclusion, Person, Seed, WalkRules
from service.domain.identity.normalise import InvalidIdentifier, normalise
from service.domain.identity.placeholders import is_placeholder
from service.domain.identity.walk import Walk

POOL = (
    *(Identifier("email", f"p{n}@example.test") for n in range(6)),
    *(Identifier("customer_id", f"C{n}") for n in range(5)),
    *(Identifier("household_id", f"H{n}") for n in range(2)),
    Identifier("email", "unknown"),
    Identifier("customer_id", "0"),
)
SPELLINGS = (
    *POOL,
    Identifier("email", "P0@Example.TEST"),
    Identifier("email", "ｐ1@example.test"),
    Identifier("customer_id", " C0"),
    Identifier("phone", "+12125550123"),
    Identifier("phone", "(212) 555-0123"),
    Identifier("phone", "212.555.0123"),
)
RULES = WalkRules(
    shared_kinds=frozenset({"household_id"}),
    one_per_person_kinds=frozenset({"customer_id"}),
    max_neighbours=4,
    max_cluster=50,
    max_rounds=50,
    min_confidence=0.5,
    default_region="US",
)
UNLIMITED = replace(RULES, max_neighbours=1000, max_cluster=1000, max_rounds=1000)


@dataclass(frozen=True)
class Graph:
    """An undirected graph as a warehouse holds it: links between spellings, found by their exact spelling."""

    links: tuple[tuple[Identifier, Identifier, float | None], ...]

    def edges(self, asked: Identifier) -> tuple[Edge, ...]:
        there = [Edge(other, "t", confidence) for one, other, confidence in self.links if one == asked]
        back = [Edge(one, "t", confidence) for one, other, confidence in self.links if other == asked and one != asked]
        return tuple(there + back)

    def neighbours(self, asked: Identifier, max_neighbours: int) -> Neighbours:
        edges = self.edges(asked)
        degree = len({edge.other for edge in edges} - {asked})
        return Neighbours(edges if degree <= max_neighbours else (), degree)


def graphs(pool: tuple[Identifier, ...]) -> st.SearchStrategy[Graph]:
    confidences = st.sampled_from([None, None, None, 1.0, 0.5, 0.3])
    link = st.tuples(st.sampled_from(pool), st.sampled_from(pool), confidences)
    return st.lists(link, max_size=22).map(lambda links: Graph(tuple(links)))


def persons(pool: tuple[Identifier, ...]) -> st.SearchStrategy[Person[str]]:
    seeds = st.lists(st.builds(Seed, st.sampled_from(pool), verified=st.booleans()), min_size=1, max_size=3)
    dropped = st.frozensets(st.sampled_from(pool), max_size=2)
    return st.builds(Person, ref=st.just("r"), seeds=seeds.map(tuple), dropped=dropped)


def explore(
    people: list[Person[str]], graph: Graph, rules: WalkRules
) -> tuple[Mapping[str, Cluster], list[Identifier]]:
    walk = Walk(people, rules)
    asked_ever: list[Identifier] = []
    while not walk.done:
        asked = walk.frontier()
        asked_ever += asked
        walk.learn(asked, {i: n for i in asked if (n := graph.neighbours(i, rules.max_neighbours)).degree or n.edges})
    return walk.clusters(), asked_ever


def alone(person: Person[str], graph: Graph, rules: WalkRules) -> Cluster:
    return explore([person], graph, rules)[0][person.ref]


def barred(identifier: Identifier) -> bool:
    return is_placeholder(identifier) or identifier.kind in RULES.shared_kinds


def naive_members(person: Person[str], graph: Graph, max_neighbours: int) -> set[Identifier]:
    """One identifier after the other, depth first, each checked before it is entered."""
    members: set[Identifier] = set()
    to_visit = [seed.identifier for seed in person.seeds if seed.verified]
    while to_visit:
        here = to_visit.pop()
        crowded = len({edge.other for edge in graph.edges(here)} - {here}) > max_neighbours
        if here in members or here in person.dropped or barred(here) or crowded:
            continue
        members.add(here)
        to_visit += [e.other for e in graph.edges(here) if e.confidence is None or e.confidence >= RULES.min_confidence]
    return members


@given(persons(POOL), graphs(POOL))
@settings(max_examples=400)
def test_equals_a_naive_search(person: Person[str], graph: Graph) -> None:
    assert alone(person, graph, RULES).members == naive_members(person, graph, RULES.max_neighbours)


@given(persons(SPELLINGS), graphs(SPELLINGS))
@settings(max_examples=400)
def test_finds_every_spelling_that_a_naive_search_over_rows_finds(person: Person[str], graph: Graph) -> None:
    rows = folded(graph)  # a source compares emails without regard to case
    dropped = {node_of(identifier) for identifier in person.dropped}
    visited: set[Identifier] = set()
    to_visit = [seed.identifier for seed in person.seeds if seed.verified]
    while to_visit:
        here = fold(to_visit.pop())
        node = node_of(here)
        if here in visited or node in dropped or barred(node):
            continue
        visited.add(here)
        links = [
            edge for edge in rows.edges(here) if edge.confidence is None or edge.confidence >= RULES.min_confidence
        ]
        to_visit += [node, *(edge.other for edge in links)]
    cluster = alone(person, rows, UNLIMITED)
    assert cluster.members == {node_of(row) for row in visited}
    assert cluster.spellings.keys() == cluster.members
    for member, spellings in cluster.spellings.items():
        assert spellings
        assert {node_of(spelling) for spelling in spellings} == {member}


def node_of(identifier: Identifier) -> Identifier:
    try:
        return normalise(identifier, RULES.default_region)
    except InvalidIdentifier:
        return identifier


def fold(identifier: Identifier) -> Identifier:
    return Identifier("email", identifier.value.lower()) if identifier.kind == "email" else identifier


def folded(graph: Graph) -> Graph:
    return Graph(tuple((fold(one), fold(other), confidence) for one, other, confidence in graph.links))


@given(
    st.lists(persons(SPELLINGS), max_size=5), graphs(SPELLINGS), st.integers(1, 6), st.integers(1, 8), st.integers(1, 5)
)
@settings(max_examples=400)
def test_company_changes_nothing_and_nothing_is_asked_twice(
    persons_: list[Person[str]], graph: Graph, max_neighbours: int, max_cluster: int, max_rounds: int
) -> None:
    rules = replace(RULES, max_neighbours=max_neighbours, max_cluster=max_cluster, max_rounds=max_rounds)
    people = [replace(person, ref=f"r{n}") for n, person in enumerate(persons_)]
    together, asked_ever = explore(people, graph, rules)
    assert len(asked_ever) == len(set(asked_ever))
    for person in people:
        assert together[person.ref] == alone(person, graph, rules)


@given(persons(SPELLINGS), graphs(SPELLINGS), st.randoms(use_true_random=False), st.integers(1, 6), st.integers(1, 8))
@settings(max_examples=300)
def test_the_order_of_seeds_links_and_answers_changes_nothing(
    person: Person[str], graph: Graph, random: Random, max_neighbours: int, max_cluster: int
) -> None:
    rules = replace(RULES, max_neighbours=max_neighbours, max_cluster=max_cluster)
    expected = alone(person, graph, rules)
    seeds, links = list(person.seeds), list(graph.links)
    random.shuffle(seeds)
    random.shuffle(links)
    walk = Walk([replace(person, seeds=tuple(seeds))], rules)
    shuffled = Graph(tuple(links))
    while not walk.done:
        one = frozenset({random.choice(sorted(walk.frontier()))})
        for _ in range(2):
            walk.learn(one, {i: shuffled.neighbours(i, rules.max_neighbours) for i in one})
    assert walk.clusters()["r"] == expected


@given(persons(POOL), graphs(POOL))
@settings(max_examples=200)
def test_walking_again_from_what_was_found_finds_the_same(person: Person[str], graph: Graph) -> None:
    first = alone(person, graph, RULES)
    again = replace(person, seeds=tuple(Seed(member, verified=True) for member in first.members))
    assert alone(again, graph, RULES).members == first.members


@given(persons(SPELLINGS), graphs(SPELLINGS), st.integers(1, 6), st.integers(1, 8), st.integers(1, 5))
@settings(max_examples=300)
def test_nobody_is_both_member_and_excluded_and_no_seed_is_forgotten(
    person: Person[str], graph: Graph, max_neighbours: int, max_cluster: int, max_rounds: int
) -> None:
    rules = replace(RULES, max_neighbours=max_neighbours, max_cluster=max_cluster, max_rounds=max_rounds)
    cluster = alone(person, graph, rules)
    assert cluster.members.isdisjoint(cluster.excluded)
    assert len(cluster.members) <= max_cluster
    doubtful = {identifier for doubt in cluster.doubts for identifier in doubt.identifiers}
    for seed in person.seeds:
        node = node_of(seed.identifier)
        settled = node in cluster.members or cluster.excluded[node] is Exclusion.DROPPED
        assert settled or node in doubtful
    stopped = Exclusion.NOT_EXAMINED in cluster.excluded.values()
    assert not stopped or {DoubtReason.TOO_LARGE, DoubtReason.TOO_DEEP} & {doubt.reason for doubt in cluster.doubts}


@given(st.sampled_from([i for i in POOL if barred(i)]), st.data())
@settings(max_examples=200)
def test_a_bridge_of_placeholders_or_shared_kinds_never_merges_two_people(
    bridge: Identifier, data: st.DataObject
) -> None:
    left = tuple(i for n, i in enumerate(POOL) if not barred(i) and n % 2)
    right = tuple(i for n, i in enumerate(POOL) if not barred(i) and not n % 2)
    graph = Graph(data.draw(graphs(left)).links + data.draw(graphs(right)).links)
    ends = data.draw(st.tuples(st.sampled_from(left), st.sampled_from(right)))
    bridged = Graph((*graph.links, *((end, bridge, None) for end in ends)))
    person = data.draw(persons(left))
    assert alone(person, bridged, UNLIMITED).members == alone(person, graph, UNLIMITED).members <= set(left)


@given(persons(POOL), graphs(POOL), st.sampled_from(POOL))
@settings(max_examples=200)
def test_dropping_removes_and_never_adds(person: Person[str], graph: Graph, dropped: Identifier) -> None:
    before = alone(person, graph, RULES).members
    after = alone(replace(person, dropped=person.dropped | {dropped}), graph, RULES).members
    assert dropped not in after
    assert after <= before
