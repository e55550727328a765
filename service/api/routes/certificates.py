"""`/v1/requests/{id}/certificate`: the evidence of one request, which can be verified without Expunge."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter, Response

from service.api.authentication import GuardedRoute, needs
from service.api.dependencies import Context, CurrentCaller
from service.audit.exports.certificate import issue_certificate
from service.domain.access.api_key import Scope
from service.store.encryption.secrets import audit_signing_key

router = APIRouter(route_class=GuardedRoute, tags=["evidence"])
_ARGUMENTS = needs(Scope.AUDIT_READ, 404, 409, 410)
_ARGUMENTS["responses"][200] = {
    "description": "The signed certificate. Verify its bytes as they are with `expunge audit verify`.",
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["certificate", "checkpoint", "entries", "format", "signature"],
                "properties": {
                    "certificate": {"type": "object"},
                    "checkpoint": {"type": "string"},
                    "entries": {"type": "array", "items": {"type": "object"}},
                    "format": {"type": "string", "const": "expunge-certificate/1"},
                    "signature": {"type": "string"},
                },
            }
        }
    },
}


@router.get(
    "/v1/requests/{request_id:uuid}/certificate",
    operation_id="issueCertificate",
    summary="Issue the certificate of an answered request",
    response_class=Response,
    **_ARGUMENTS,
)
def certificate(request_id: UUID, caller: CurrentCaller, context: Context) -> Response:
    """409 before the request is answered, 410 once its entries were pruned. Issuing is audited.

    `final` inside says that nothing can change any more.
    """
    key = audit_signing_key(context.settings)
    issued = issue_certificate(context.stores, context.settings, key, request_id, actor=caller.actor)
    name = f'attachment; filename="certificate-{request_id}.json"'
    return Response(issued.content, media_type="application/json", headers={"Content-Disposition": name})
