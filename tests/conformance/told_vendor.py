"""The toy vendor told whom to forget: nobody is searched before the plan, right and wrong (`TOLD_BUGS`)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

from toy_sandbox import ToySandbox
from toy_vendor import ToyConnector, ToyFixture

from connectors.base.interface import Connector, ErasesBy, Lease, Operation
from connectors.base.values import Answer, Subject
from connectors.testing.conformance import Need
from connectors.testing.sandbox import Call, Result, Sandbox, route

TOLD_BUGS = ("forgets_the_like", "tells_unasked", "believes_at_once", "declares_no_look", "can_not_search")


class ToldSandbox(ToySandbox):
    """The same with `POST /forget` {"email", "exactly"}: who stands under this address goes, notes and all."""

    @route("POST", "/forget")
    def forget(self, call: Call) -> Result:
        wanted = call.json()
        hits = [p["id"] for p in self.state["people"].values() if _is_meant(p["email"], **wanted)]
        for person in hits:
            del self.state["people"][person]
            for note in [n["id"] for n in self.state["notes"].values() if n["person"] == person]:
                del self.state["notes"][note]
        return Result(200, {"forgotten": len(hits)})


def _is_meant(known: str, email: str, *, exactly: bool) -> bool:
    return known.casefold() == email.casefold() if exactly else known.casefold().startswith(email.casefold()[:3])


class ToldConnector(ToyConnector):
    declaration = replace(
        ToyConnector.declaration,
        operations=frozenset({Operation.ERASE, Operation.CONFIRM}),
        erases_by=ErasesBy.IDENTIFIERS,
        searches_first=False,
        sends_callbacks=False,
    )
    # Whoever asks for a search all the same is told that there is none.
    locate = Connector.locate

    def _erased(self, subject: Subject, lease: Lease, token: dict[str, Any]) -> Answer:
        # What goes is counted before it goes: the vendor says how many people, and not what went with them.
        people = self._people(subject)
        notes = [n["id"] for p in people for n in self._pages(f"/people/{p['id']}/notes")]
        token["before"].setdefault(subject.ref, dict(subject.already_reported))
        begun = token["begun"].setdefault(subject.ref, {"people": [], "notes": []})
        self._begin(begun, lease, token, people=[p["id"] for p in people], notes=notes)
        for email in subject.values("email"):
            if "tells_unasked" not in self.bugs:
                self._ask(lease, subject)
            told = {"email": email, "exactly": "forgets_the_like" not in self.bugs}
            self._client.request("POST", "/forget", expect=(200,), json_body=told).field("forgotten", int)
        told_now = self._told(subject, token, {name: len(ids) for name, ids in begun.items()})
        return Answer.erased(told_now) if begun["people"] else Answer.already_absent()

    def _confirmed(self, subject: Subject) -> Answer:
        return Answer.already_absent() if "believes_at_once" in self.bugs else super()._confirmed(subject)


class ToldFixture(ToyFixture):
    lacks: ClassVar[dict[Need, str]] = {Need.JOBS: "what it is told is done at once"}

    def __init__(self, bug: str | None = None) -> None:
        super().__init__()
        bugs = frozenset({bug} if bug else ())
        declared = ToldConnector.declaration
        if bug == "can_not_search":
            declared = replace(declared, searches_first=True)
        if bug == "declares_no_look":
            declared = replace(declared, operations=frozenset({Operation.ERASE}))
        body = {"bugs": bugs, "declaration": declared, "__module__": __name__}
        self._kind: type[Connector] = type("ToldConnector", (ToldConnector,), body)

    def sandbox_class(self) -> type[Sandbox]:
        return ToldSandbox
