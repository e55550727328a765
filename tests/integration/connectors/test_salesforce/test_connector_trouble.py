"""The connector when the org refuses, waits, forgets its session or is another one than before."""

from __future__ import annotations

import datetime as dt
import logging
import time
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from connectors.base.errors import CredentialsRefused, TemporarilyUnavailable
from connectors.base.interface import Operation
from connectors.base.runner import Outcome, run
from connectors.base.values import AnswerKind, Batch, Located

from .connecting import CREDENTIALS, Served, serving
from .world import hard_world, ordinary_world, residue

pytestmark = pytest.mark.long
ONE = ordinary_world(1)


def _id(org: Served, ref: str) -> str:
    return str(org.sandbox.state["refs"][ref])


def test_a_locked_record_is_named_and_its_root_stays() -> None:
    with serving(ordinary_world(1)) as org:
        org.sandbox.options["locked"] = [_id(org, "p0-case0")]
        done = org.erase("p0")
        assert done.lines["p0"].outcome is Outcome.PARKED
        assert ("Case", "locked") in done.left("p0")
        assert org.sandbox.store.row(_id(org, "p0")) is not None


def test_a_veto_of_a_trigger_is_named() -> None:
    with serving(ordinary_world(1)) as org:
        org.sandbox.options["vetoes"] = {_id(org, "p0-card"): "FIELD_CUSTOM_VALIDATION_EXCEPTION"}
        assert ("Loyalty_Card__c", "vetoed") in org.erase("p0").left("p0")


def test_a_row_that_is_locked_for_a_moment_is_tried_again() -> None:
    with serving(ordinary_world(1)) as org:
        org.sandbox.options["lock_conflicts"] = {_id(org, "p0-case1"): 2}
        assert org.erase("p0").lines["p0"].outcome is Outcome.ERASED_VERIFIED
        assert residue(org.sandbox, org.world.people["p0"]) == []


def test_too_large_a_cascade_is_taken_apart() -> None:
    with serving(ordinary_world(1), cascade_limit=2) as org:
        assert org.erase("p0").lines["p0"].outcome is Outcome.ERASED_VERIFIED
        assert residue(org.sandbox, org.world.people["p0"]) == []


def test_without_purging_the_bin_keeps_it_and_says_until_when() -> None:
    with serving(ordinary_world(1)) as org:
        line = org.erase("p0", wait=0.5, policy={"purge": "none"}, delays={"purge_after": 86_400}).lines["p0"]
        assert line.outcome is Outcome.ACCEPTED
        assert line.look_again_at is not None
        assert line.look_again_at > dt.datetime.now(dt.UTC) + dt.timedelta(hours=23)


def test_purged_rows_that_are_still_shown_are_neither_gone_nor_failed() -> None:
    with serving(ordinary_world(1), confirm_after=0.6) as org:
        connector = org.connect(delays={"poll_every": 0.02, "confirm_after": 0.3})
        subject = org.subject("p0")
        located = connector.locate(Batch("k", (subject,)))["p0"]
        assert isinstance(located, Located)
        done = org.erase_with(connector, "p0", wait=0)
        assert done.lines["p0"].outcome is Outcome.ACCEPTED
        time.sleep(0.7)
        assert connector.confirm_absence(Batch("k", (subject,)))["p0"].kind is AnswerKind.ALREADY_ABSENT  # type: ignore[union-attr]


@pytest.mark.parametrize("uses", [1, 2, 3, 5])
def test_a_token_may_end_in_the_middle_of_anything(uses: int) -> None:
    options: dict[str, Any] = {"token_calls": uses, "permissions": {"bulk_hard_delete": True}}
    with serving(ordinary_world(1), **options) as org:
        done = org.erase("p0", policy={"bulk_from": 3})
        assert done.lines["p0"].outcome is Outcome.ERASED_VERIFIED
        assert residue(org.sandbox, org.world.people["p0"]) == []
        assert org.sandbox.state["jobs"], "nothing went by a job: the case shows nothing"


def test_jobs_that_are_not_permitted_fall_back_to_the_bin() -> None:
    with serving(ordinary_world(1)) as org:
        assert org.erase("p0", policy={"bulk_from": 1}).lines["p0"].outcome is Outcome.ERASED_VERIFIED
        assert residue(org.sandbox, org.world.people["p0"]) == []


def test_the_daily_budget_leaves_room_for_others() -> None:
    with serving(ordinary_world(1), daily_limit=100) as org:
        connector = org.connect({"daily_call_share": 0.1})
        connector.check_credentials()
        while org.sandbox.state["api_calls"] < 10:
            connector.check_credentials()
        with pytest.raises(TemporarilyUnavailable) as caught:
            connector.check_credentials()
        assert caught.value.code == "daily_call_budget"
        assert org.sandbox.state["api_calls"] < 20


def test_a_field_that_is_gone_since_renews_the_schema(tmp_path: Path) -> None:
    with serving(ordinary_world(1)) as org:
        policy = {"cache_directory": str(tmp_path / "cache")}
        org.connect(policy).check_credentials()
        org.sandbox.options["hidden"] = ["Contact.Second_Email__c"]
        assert org.erase("p0", policy=policy).lines["p0"].outcome is Outcome.ERASED_VERIFIED


def test_the_cache_survives_the_process(tmp_path: Path) -> None:
    with serving(ordinary_world(1)) as org:
        policy = {"cache_directory": str(tmp_path / "cache")}
        org.connect(policy).check_credentials()
        second = org.connect(policy)
        second.check_credentials()
        assert second.calls == 1


def test_opt_outs_are_written_where_they_can_be() -> None:
    with serving(hard_world(tasks=1)) as org:
        lines: list[Any] = []
        run(org.connect(), [org.subject("ada")], Operation.SUPPRESS, dt.timedelta(seconds=5), lines.append)
        assert lines[0].outcome is Outcome.SUPPRESSED
        contact = org.sandbox.store.row(_id(org, "ada"))
        individual = org.sandbox.store.row(_id(org, "ada-individual"))
        assert contact is not None
        assert contact["HasOptedOutOfEmail"] is True
        assert individual is not None
        assert individual["ShouldForget"] is True


def _key() -> tuple[rsa.RSAPrivateKey, str, str]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return key, private.decode(), public.decode()


def test_a_signed_assertion_opens_the_org_and_a_foreign_one_does_not() -> None:
    _, private, public = _key()
    _, foreign, _ = _key()
    with serving(ordinary_world(1), public_key=public) as org:
        signed = {"consumer_key": CREDENTIALS["consumer_key"], "username": "integration@example.test"}
        assert org.connect(credentials={**signed, "private_key": private}).check_credentials().proof
        with pytest.raises(CredentialsRefused):
            org.connect(credentials={**signed, "private_key": foreign}).check_credentials()
        with pytest.raises(CredentialsRefused):
            org.connect(credentials={**signed, "private_key": "no key"}).check_credentials()


def test_a_refresh_token_opens_the_org() -> None:
    with serving(ordinary_world(1)) as org:
        credentials = {"consumer_key": CREDENTIALS["consumer_key"], "refresh_token": "sandbox-refresh-token"}
        assert org.connect(credentials=credentials).check_credentials().proof
        with pytest.raises(CredentialsRefused):
            org.connect(credentials={**credentials, "refresh_token": "another"}).check_credentials()


def test_nothing_personal_is_logged_or_raised(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with serving(ordinary_world(1)) as org:
        org.erase("p0")
        email = org.world.people["p0"].emails[0]
        assert email not in caplog.text
        assert email.replace("@", "%40") not in caplog.text
