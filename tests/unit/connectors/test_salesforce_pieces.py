"""Small pieces: the private cache, credentials, the resume token, the meanings of rows' codes, statuses."""

from __future__ import annotations

import stat
import zlib
from pathlib import Path

import pytest
import requests

from connectors.base.config import ConfigurationError
from connectors.base.errors import AnswerNotUnderstood, CredentialsRefused, TemporarilyUnavailable
from connectors.base.kit.progress import ResumeToken
from connectors.base.runner import MemoryLease
from connectors.salesforce.connector import SalesforceConnector
from connectors.salesforce.deletion.progress import OpenJob, Progress
from connectors.salesforce.deletion.writing import Verdict, _collections, verdict_of
from connectors.salesforce.org.private_cache import PrivateCache
from connectors.salesforce.org.session import error_of


def test_the_cache_is_readable_for_its_owner_only(tmp_path: Path) -> None:
    place = tmp_path / "cache"
    PrivateCache(str(place)).put("token|x", {"access_token": "t"})
    assert PrivateCache(str(place)).get("token|x") == {"access_token": "t"}
    (file,) = place.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert "token" not in file.name


def test_a_directory_that_others_can_read_is_refused(tmp_path: Path) -> None:
    place = tmp_path / "open"
    place.mkdir(mode=0o755)
    with pytest.raises(ConfigurationError):
        PrivateCache(str(place))


@pytest.mark.parametrize(
    "credentials",
    [
        {"consumer_key": "k"},
        {"consumer_key": "k", "private_key": "p"},
        {"consumer_key": "k", "private_key": "p", "username": "u", "consumer_secret": "s"},
        {"consumer_key": "k", "password": "p"},
    ],
)
def test_half_credentials_are_refused(credentials: dict[str, str]) -> None:
    entry = {"name": "s", "connector": "salesforce", "base_url": "https://x.example", "credentials": credentials}
    with pytest.raises(ConfigurationError):
        SalesforceConnector.parse_system(entry)


def test_the_resume_token_comes_back_as_it_was() -> None:
    progress = Progress(job=OpenJob("Case", ("500A",), "2026-01-01T00:00:00+00:00", "750A"))
    person = progress.of("ada")
    person.explicit.add(("Case", "500A"))
    person.along.add(("CaseComment", "00aA"))
    person.kept[("Order", "801A")] = "tax_law"
    person.refusals = 1
    again = ResumeToken(MemoryLease(progress.dump())).read(Progress.parse)
    assert again == progress
    assert again is not None
    assert again.is_resumed
    for token in (b"not a token", zlib.compress(b"[]"), zlib.compress(b'{"v":99}')):
        with pytest.raises(AnswerNotUnderstood, match="resume_token"):
            ResumeToken(MemoryLease(token)).read(Progress.parse)


def test_an_unknown_code_of_a_row_is_no_success() -> None:
    assert verdict_of("SOMETHING_NEW") is Verdict.REFUSED
    assert verdict_of("ENTITY_IS_DELETED") is Verdict.GONE


def test_a_collection_has_at_most_200_rows_and_ten_runs_of_one_type() -> None:
    entries = [((f"Object{n % 2}", str(n)), frozenset({"ada"}), None) for n in range(30)]
    assert [len(chunk) for chunk in _collections(entries)] == [10, 10, 10]
    alike = [(("Case", str(n)), frozenset({"ada"}), None) for n in range(450)]
    assert [len(chunk) for chunk in _collections(alike)] == [200, 200, 50]


def test_users_never_share_a_collection_with_other_objects() -> None:
    entries = [((name, name), frozenset({"ada"}), None) for name in ("Case", "User")]
    assert [len(chunk) for chunk in _collections(entries)] == [1, 1]


def test_changes_and_deletions_never_share_a_collection() -> None:
    acts = [(("Case", "1"), frozenset({"ada"}), {"Subject": None}), (("Case", "1"), frozenset({"ada"}), None)]
    assert [len(chunk) for chunk in _collections(acts)] == [1, 1]


def _answer(status: int, body: bytes, kind: str = "application/json") -> requests.Response:
    response = requests.Response()
    response.status_code = status
    response._content = body
    response.headers["content-type"] = kind
    return response


def test_the_daily_limit_is_no_refused_credential() -> None:
    limit = error_of("GET", _answer(403, b'[{"errorCode": "REQUEST_LIMIT_EXCEEDED", "message": "secret text"}]'))
    assert isinstance(limit, TemporarilyUnavailable)
    assert "secret" not in str(limit)
    assert isinstance(error_of("GET", _answer(403, b'[{"errorCode": "INSUFFICIENT_ACCESS"}]')), CredentialsRefused)


def test_a_page_is_no_answer() -> None:
    assert isinstance(error_of("GET", _answer(200, b"<html>", "text/html")), AnswerNotUnderstood)
    assert isinstance(error_of("GET", _answer(200, b"{half")), AnswerNotUnderstood)
    assert error_of("GET", _answer(200, b"{}")) is None
