"""Generated calls against the running service: every operation, with a key of given scopes, real ids among the paths.

`Surroundings` holds one object of each kind that a path can name, in the states in which calls find something to do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import hypothesis
import schemathesis
from hypothesis import strategies
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from service.access.create_key import CreatedKey
from service.domain.access.api_key import Scope
from tests.integration.api.bodies.sent_imports import read, send, verified
from tests.integration.api.conftest import EMAIL, Office

CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
    unsupported_method,
)


@dataclass
class Surroundings:
    """The ids that stand in the place of generated ones in half of the calls."""

    office: Office

    def __post_init__(self) -> None:
        request_id = self.office.submit(external_reference="case-1")
        self.office.put(
            request_id, state="in_progress", reason="erasing", next_action=None, due_at=None, plan_version=1
        )
        step_id = self.office.add_step(request_id, state="parked", reason="credentials_refused", due_at=None)
        _, last = read(send(self.office, verified(self.office, "bob@example.test") + "\n{\n"))
        identifiers = [{"kind": "email", "value": EMAIL}]
        hold = self.office.call("POST", "/v1/holds", {"identifiers": identifiers, "reason": "other"}).json()
        self.ids: Mapping[str, str] = {
            "request_id": str(request_id),
            "step_id": str(step_id),
            "import_id": last["import"],
            "hold_id": hold["id"],
            "system": "support",
            "name": "metrics",
        }


def call_everything(office: Office, key: CreatedKey | None, *, examples: int) -> dict[str, set[int]]:
    """Call each operation: `examples` times where the key's scopes or none open it, else once.

    Returns the statuses that were answered, by operation. Fails at the first answer that the description doesn't allow.
    """
    surroundings = Surroundings(office)
    schema = schemathesis.openapi.from_dict(office.call("GET", "/openapi.json").json())
    headers = {} if key is None else {"Authorization": f"Bearer {key.token}"}
    answered: dict[str, set[int]] = {}
    for result in schema.get_all_operations():
        operation = result.ok()
        is_open = is_opened(operation.definition.raw, () if key is None else key.scopes)
        asking = _Asking(office.url, headers, surroundings.ids, examples if is_open else 1)
        answered[operation.label] = asking.statuses_of(operation)
    return answered


@dataclass
class _Asking:
    """How one operation is called."""

    url: str
    headers: Mapping[str, str]
    ids: Mapping[str, str]
    examples: int

    def statuses_of(self, operation: Any) -> set[int]:
        statuses: set[int] = set()

        @hypothesis.seed(20261130)
        @hypothesis.settings(
            max_examples=self.examples,
            deadline=None,
            database=None,
            phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        @hypothesis.given(case=operation.as_strategy(), real=strategies.booleans())
        def call(case: Case, real: bool) -> None:
            if real and case.path_parameters:
                known = {name: self.ids[name] for name in case.path_parameters if name in self.ids}
                case.path_parameters = {**case.path_parameters, **known}
            answer = case.call(base_url=self.url, headers=dict(self.headers))
            case.validate_response(answer, checks=list(CHECKS))
            statuses.add(answer.status_code)

        call()
        return statuses


def is_opened(operation: Mapping[str, Any], scopes: tuple[Scope | str, ...]) -> bool:
    """Whether a key with these scopes comes in."""
    needed = {scope for requirement in operation["security"] for scope in requirement["apiKey"]}
    return not operation["security"] or bool(needed & {str(scope) for scope in scopes})
