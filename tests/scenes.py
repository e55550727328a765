"""What the engine's tests do again and again: shorten delays, stop the engine at a moment, look at what vendors got."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import text

from connectors.base.values import Identifier
from connectors.testing.sandbox.sample_world import SamplePerson
from service.domain.access.api_key import Caller, Scope
from service.domain.identity.doubts import DoubtDecision
from service.domain.requests.holds import HoldReason
from service.requests.holds.place import PlacedHold, place_hold
from service.requests.identity.review import Review, continue_request
from service.requests.identity.show import DoubtView
from service.requests.reveal import reveal_identifiers
from service.settings import ConfiguredSystem, Settings
from tests.company import Company
from tests.drive import turn

_QUICK = {
    "confirm_after": timedelta(seconds=0.12),
    "poll_every": timedelta(seconds=0.06),
    "purge_after": timedelta(seconds=0.12),
}
VENDORS = ("support", "support-eu", "mailing")


def quicken(company: Company, *, approval: dict[str, Any] | None = None, **engine: Any) -> None:
    """Short delays for every vendor, and settings of the engine and of approvals as a test wants them."""
    systems = tuple(
        replace(s, config=replace(s.config, delays=_QUICK)) if s.config.name in VENDORS else s
        for s in company.settings.systems
    )
    use(
        company,
        replace(
            company.settings,
            systems=systems,
            engine=company.settings.engine.model_copy(update=engine),
            approval=company.settings.approval.model_copy(update=approval or {}),
        ),
    )


def use(company: Company, settings: Settings) -> None:
    """The whole service runs with these settings from now on."""
    company.settings = settings
    company.runtime.settings = settings


def changed(company: Company, name: str, **config: Any) -> tuple[ConfiguredSystem, ...]:
    """The configured systems, one of them with another configuration."""
    return tuple(
        replace(s, config=replace(s.config, **config)) if s.config.name == name else s for s in company.settings.systems
    )


def without(company: Company, name: str) -> Settings:
    """The settings less one system."""
    return replace(company.settings, systems=tuple(s for s in company.settings.systems if s.config.name != name))


def person_in(company: Company, *systems: str, skip: int = 0) -> SamplePerson:
    """An ordinary person of whom all these vendors hold something."""
    found = [
        p for p in company.world.ordinary if all(company.sandboxes[s].residue(set(p.residue_values)) for s in systems)
    ]
    return found[skip]


def turn_until(
    company: Company, happened: Callable[[], object], *, only: Callable[[str], bool] | None = None, seconds: float = 90
) -> None:
    """Turn the engine until something has happened."""
    until = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < until, "it did not come to that"
        if not turn(company.runtime, only=only):
            time.sleep(0.01)


def is_due_in(company: Company, request: UUID, system: str, phase: str) -> bool:
    """True if that step may be leased in that phase now."""
    step = company.steps(request).get(system)
    return step is not None and (step.phase, step.state) == (phase, "due") and step.due_at <= datetime.now(UTC)


def stop_before_erasing(company: Company, request: UUID, *systems: str) -> None:
    """Turn until the steps of these systems are due to erase; nothing is erased in them."""

    def may_work(name: str) -> bool:
        step = company.steps(request).get(name)
        return name not in systems or step is None or step.phase != "erase"

    turn_until(company, lambda: all(is_due_in(company, request, s, "erase") for s in systems), only=may_work)


def effects(company: Company, *systems: str) -> list[tuple[str, str]]:
    """The calls that could change something, as the vendors' journals have them."""
    return [
        (entry["method"], entry["path"])
        for system in systems or VENDORS
        for entry in company.sandboxes[system].journal
        if entry["method"] != "GET"
    ]


def endings(company: Company, request: UUID) -> dict[str, tuple[str, str | None]]:
    """State and reason of each step."""
    return {name: (step.state, step.reason) for name, step in company.steps(request).items()}


def write(company: Company, statement: str, **values: Any) -> None:
    """Let time pass, or put something into the main store that the service can't be made to write quickly."""
    with company.stores.engine.begin() as connection:
        connection.execute(text(statement), values)


def caller() -> Caller:
    """Somebody with a key of their own."""
    return Caller(uuid4(), frozenset(Scope))


def decide(company: Company, request: UUID, *drop: str, by: Caller | None = None) -> None:
    """Review a request: what is about one of these values, or can't be kept, is dropped; everything else is kept.

    Further identifiers with these values are dropped beside.
    """
    revealed = reveal_identifiers(company.stores, request, actor="cli")
    picture = revealed.picture
    others = {n for n, each in enumerate(picture.explanation.identifiers, 1) if each.value.strip().lower() in drop}
    decisions = [(d.id, _decision(d, others)) for d in picture.doubts]
    kept = {
        row for d, (_, word) in zip(picture.doubts, decisions, strict=True) if word == "keep" for row in d.identifiers
    }
    review = Review(
        decisions=decisions,
        doubts_version=revealed.doubts_version,
        drop=[each.id for each in revealed.identifiers if each.ordinal in others and each.id not in kept],
    )
    continue_request(company.stores, request, review, caller=by or caller())


def _decision(doubt: DoubtView, others: set[int]) -> DoubtDecision:
    is_others = bool(others & {*doubt.about}) or "keep" not in doubt.allowed
    return DoubtDecision.DROP if is_others and "drop" in doubt.allowed else DoubtDecision.KEEP


def hold(company: Company, person: SamplePerson) -> PlacedHold:
    """Place a legal hold on a person, by their customer number."""
    return place_hold(
        company.stores,
        company.settings,
        identifiers=[Identifier("customer_id", person.customer_id)],
        reason=HoldReason.LITIGATION,
        until=None,
        caller=caller(),
    )
