"""Intercom: contacts with their conversations and tickets, deleted for good.

Archiving is not erasure and isn't used.

Sources: Intercom-OpenAPI 2.16 (github.com/intercom/Intercom-OpenAPI, commit 8889625) and the pages named in the README,
all read 2026-11-30.
"""

from __future__ import annotations

from datetime import timedelta

from pydantic import SecretStr

from connectors.base.config import SystemConfig, SystemModel
from connectors.base.errors import RequestRefused
from connectors.base.interface import Declaration, Delays, ErasesBy, Operation, RateLimit
from connectors.base.kit.calls import VALUE, Call, Cursor, ErrorCodes, Gone, Search
from connectors.base.kit.look import Root
from connectors.base.kit.rest import Dependent, RestConnector
from connectors.base.toolkit.http import VendorClient
from connectors.base.values import Identifier

VERSION = "2.16"
_CODE = "errors.0.code"
_NEXT = Cursor(read="pages.next.starting_after", write="pagination.starting_after")
_DELETED = ("deleted", True)
_ERRORS = ErrorCodes(
    _CODE,
    {
        # 403, but the plan of the workspace is the cause and not the credential.
        "api_plan_restricted": (RequestRefused, "plan_restricted"),
        # 410: the data is now in another contact, so this is no absence.
        "contact_merged": (RequestRefused, "contact_merged"),
    },
)


class IntercomCredentials(SystemModel):
    """`access_token`: of an app that may read and write contacts, conversations and tickets."""

    access_token: SecretStr


class IntercomPolicy(SystemModel):
    """`control_email`: the e-mail address of the control contact, which is never erased."""

    control_email: str


def _search(path: str, field: str, rows: str, *, equals: str | None, ignores_case: bool = False) -> Search:
    """Declare a search by one field.

    Shape: POST {"query": {"field", "operator", "value"}, "pagination"} -> {rows: [..], "pages": {"next"}}.
    """
    query = {"field": field, "operator": "=", "value": VALUE}
    call = Call("POST", path, json={"query": query, "pagination": {"per_page": 150}})
    return Search(call, rows, equals, ignores_case, _NEXT)


def _hanging(name: str, not_found: str) -> Dependent:
    """Conversations and tickets have the same calls. `not_found`: the code of a deleted one."""
    rows = f"{name}s"
    return Dependent(
        object=name,
        found_by=_search(f"/{rows}/search", "contact_ids", rows, equals="contacts.contacts.*.id"),
        show=Call("GET", (f"/{rows}", VALUE)),
        erase=Call("DELETE", (f"/{rows}", VALUE), says=_DELETED),
        gone=Gone(_CODE, (not_found,)),
        hangs_on="contacts.contacts.*.id",
    )


class IntercomConnector(RestConnector):
    """One Intercom workspace."""

    declaration = Declaration(
        name="intercom",
        identifier_kinds=frozenset({"email", "customer_id"}),
        operations=frozenset({Operation.LOCATE, Operation.ERASE, Operation.CONFIRM}),
        erases_by=ErasesBy.RECORDS,
        max_subjects_per_call=dict.fromkeys((Operation.LOCATE, Operation.ERASE, Operation.CONFIRM), 50),
        required_scopes=(
            "read_write_users",
            "read_conversations",
            "write_conversations",
            "read_tickets",
            "write_tickets",
        ),
        rate_limits=(RateLimit(calls=166, per=timedelta(seconds=10)),),
        max_concurrent_people=4,
        delays=Delays(confirm_after=timedelta(minutes=5)),
        not_covered=("archived_contacts_before_locate", "conversation_ratings", "reporting_data", "data_exports"),
    )
    Credentials = IntercomCredentials
    Policy = IntercomPolicy
    root = Root(
        object="contact",
        found_by={
            "email": _search("/contacts/search", "email", "data", equals="email", ignores_case=True),
            "customer_id": _search("/contacts/search", "external_id", "data", equals="external_id"),
        },
        show=Call("GET", ("/contacts", VALUE)),
        gone=Gone(_CODE, ("not_found",)),
        carries={"email": "email", "phone": "phone", "customer_id": "external_id"},
    )
    erase_root = Call("DELETE", ("/contacts", VALUE), says=_DELETED)
    hanging = (_hanging("conversation", "not_found"), _hanging("ticket", "ticket_not_found"))
    hides_archived = True

    def client(self, system: SystemConfig) -> VendorClient:
        """Return a client with the bearer token and the API version of this connector."""
        assert isinstance(system.credentials, IntercomCredentials)
        token = system.credentials.access_token.get_secret_value()
        headers = {"authorization": f"Bearer {token}", "intercom-version": VERSION}
        return VendorClient.for_system(system, headers=headers, refine=_ERRORS)

    def control(self) -> Identifier:
        """Return the address of the control contact."""
        assert isinstance(self.system.policy, IntercomPolicy)
        return Identifier("email", self.system.policy.control_email)
