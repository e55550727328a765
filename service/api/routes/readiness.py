"""Say why the service isn't ready, the same at the API's port and at the probes'."""

from __future__ import annotations

from sqlalchemy.exc import SQLAlchemyError

from service.api.problems import Trouble
from service.audit.evidence_standing import evidence_standing
from service.monitoring.readiness import check_readiness
from service.settings import Settings
from service.store.encryption.epoch_secrets import EpochKeyUnusable
from service.store.encryption.pepper_versions import OtherPeppers
from service.store.stores import Stores


def why_not_ready(stores: Stores, settings: Settings) -> Trouble | None:
    """Return the 503 to answer, or None if the service is ready.

    Ready: the stores answer, no epoch key is missing, and the evidence can be kept.

    `detail` has codes only, because anybody may ask. `expunge up` and the logs have the words.
    """
    try:
        check_readiness(stores)
        evidence = evidence_standing(stores, settings).codes()
    except (SQLAlchemyError, EpochKeyUnusable, OtherPeppers):
        return Trouble(503, "unavailable", headers={"Retry-After": "2"})
    if not evidence:
        return None
    detail = f"the evidence of what is done can't be kept: {', '.join(evidence)}"
    return Trouble(503, "unavailable", detail, headers={"Retry-After": "30"})
