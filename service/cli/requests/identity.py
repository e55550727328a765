"""Print a request's identifiers, links and doubts as tables, masked or in clear."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from service.cli.printing import say, show_table
from service.cli.requests.answers import DoubtAnswer, EdgeAnswer, EvidenceAnswer, IdentityAnswer, VerificationAnswer

Labels: TypeAlias = Mapping[int | None, str]
"""A text for each identifier, by its ordinal."""


def show_identity(view: IdentityAnswer) -> None:
    """The identifiers, links and doubts of a request's view or of its reveal."""
    shown = _labels(view)
    identifiers: list[tuple[object, ...]] = [
        (
            each["ordinal"],
            each["id"],
            each["kind"],
            shown.get(each["ordinal"]),
            each["origin"],
            each["use"],
            each["exclusion"],
            _method(each.get("verification")),
            " > ".join(map(str, _steps(each["path"]))),
        )
        for each in view["identifiers"]
    ]
    columns = ("#", "id", "kind", "value", "origin", "use", "excluded for", "verified by", "path")
    show_table("identifiers", columns, identifiers)
    if view["beyond"]:
        beyond: list[tuple[object, ...]] = [
            (each["ordinal"], each["kind"], shown[each["ordinal"]], each["exclusion"]) for each in view["beyond"]
        ]
        show_table("left out", ("#", "kind", "value", "because"), beyond)
    if view["edges"]:
        show_table("edges", ("from", "to", "source", "confidence", "first seen", "last seen"), _edges(view, shown))
    show_doubts(view)


def show_doubts(view: IdentityAnswer) -> None:
    """The open doubts with what each allows, and the reviews that were decided."""
    if view["doubts"]:
        shown = _labels(view)
        doubts: list[tuple[object, ...]] = [
            (
                view["doubts_version"],
                each["id"],
                each["reason"],
                worded(each, shown),
                " or ".join(each["allowed"]),
                "yes" if each["takes_second_person"] else "",
            )
            for each in view["doubts"]
        ]
        columns = ("version", "doubt", "reason", "about", "decide", "second person if it goes on")
        show_table("open doubts", columns, doubts)
    for review in view["reviews"]:
        decisions = ", ".join(f"{each['decision']} {each['doubt']}" for each in review["decisions"])
        say(f"reviewed at {review['decided_at']} by key {review['decided_by']}: {decisions or 'verified'}")


def worded(doubt: DoubtAnswer, shown: Labels) -> str:
    """Return the subject of a doubt in words."""
    edge = doubt["edge"]
    if edge is not None:
        said = f"{shown.get(edge['near'], edge['near'])} - {shown.get(edge['far'], edge['far'])}"
        claims = ", ".join(_claimed(each) for each in edge["evidence"])
        said += f" ({claims})" if claims else ""
    else:
        said = ", ".join(str(shown.get(ordinal, ordinal)) for ordinal in doubt["about"])
    if doubt["leads_to"]:
        said += f"; leads to {', '.join(str(shown.get(each, each)) for each in doubt['leads_to'])}"
    if doubt["meets_request"]:
        said += f"; also in request {doubt['meets_request']}"
    return said


def labels(view: IdentityAnswer) -> Labels:
    """Kind and mask, or value, of each identifier by its ordinal."""
    shown = _labels(view)
    kinds = {each["ordinal"]: each["kind"] for each in (*view["identifiers"], *view["beyond"])}
    return {ordinal: f"{kinds[ordinal]} {text}" for ordinal, text in shown.items()}


def _labels(view: IdentityAnswer) -> Labels:
    found: dict[int | None, str] = {}
    for each in (*view["identifiers"], *view["beyond"]):
        value = each["value"] if "value" in each else each["masked"]
        if value is not None:
            found[each["ordinal"]] = value
    return found


def _method(verification: VerificationAnswer | None) -> str | None:
    return None if verification is None else verification["method"]


def _steps(path: list[EdgeAnswer]) -> list[int]:
    return [path[0]["near"], *(edge["far"] for edge in path)] if path else []


def _edges(view: IdentityAnswer, shown: Labels) -> list[tuple[object, ...]]:
    return [
        (
            shown.get(edge["near"], edge["near"]),
            shown.get(edge["far"], edge["far"]),
            claim["source"],
            claim["confidence"],
            claim["first_seen_at"],
            claim["last_seen_at"],
        )
        for edge in view["edges"]
        for claim in edge["evidence"]
    ]


def _claimed(claim: EvidenceAnswer) -> str:
    confidence = "" if claim["confidence"] is None else f" {claim['confidence']}"
    return f"{claim['source'] or 'no source'}{confidence}"
