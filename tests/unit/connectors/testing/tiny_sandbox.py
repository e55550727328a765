"""The smallest stand-in: a box of things by id. For tests of the harness and of the toolkit."""

from __future__ import annotations

from typing import Any

from connectors.testing.sandbox import ApiError, Call, Result, Sandbox, route


class TinySandbox(Sandbox):
    """Seed: {id: text}. Anybody with `x-key: tiny` may do anything."""

    name = "tiny"

    def empty_state(self) -> dict[str, Any]:
        return {"things": {}}

    def seed(self, data: Any) -> None:
        self.state["things"].update(data)

    def authorize(self, call: Call) -> None:
        if call.headers.get("x-key") != "tiny":
            raise ApiError(401, {"error": "unauthorized"})

    def records(self) -> list[dict[str, Any]]:
        return [{"object": "thing", "id": i, "text": text} for i, text in self.state["things"].items()]

    def blind(self, call: Call, result: Result) -> Result:
        return Result(200, {"things": []})

    @route("GET", "/things")
    def things(self, call: Call) -> Result:
        return Result(200, {"things": sorted(self.state["things"]), "asked": call.query.get("q")})

    @route("GET", "/things/first")
    def first(self, call: Call) -> Result:
        return Result(200, {"first": True})

    @route("GET", "/things/{id}")
    def thing(self, call: Call) -> Result:
        text = self.state["things"].get(call.path_values["id"])
        return Result(404, {"error": "no_such_thing"}) if text is None else Result(200, {"text": text})

    @route("DELETE", "/things/{id}")
    def delete(self, call: Call) -> Result:
        self.state["things"].pop(call.path_values["id"], None)
        return Result(204)

    @route("POST", "/things")
    def create(self, call: Call) -> Result:
        self.state["things"].update(call.json())
        return Result(201, {"ok": True})
