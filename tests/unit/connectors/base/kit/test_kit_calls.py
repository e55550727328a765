"""How the kit's declarations become calls: values, pages, exact matches, the vendor's own "not found"."""

from __future__ import annotations

import json
from typing import Any, cast

import httpx
import pytest

from connectors.base.errors import AnswerNotUnderstood, CredentialsRefused, RequestRefused
from connectors.base.kit.calls import (
    VALUE,
    Call,
    Cursor,
    ErrorCodes,
    Gone,
    Listing,
    Offsets,
    PageNumbers,
    Search,
    is_same,
    values_at,
)
from connectors.base.kit.look import Root
from connectors.base.toolkit.http import Reply, VendorClient
from connectors.base.toolkit.letters import in_one_case


class _Vendor:
    """Answers calls from a list, and remembers them."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.calls: list[tuple[str, str, Any, Any]] = []
        self.status = 200

    def request(self, method: str, path: str, **more: Any) -> Reply:
        self.calls.append((method, path, more["params"], json.loads(json.dumps(more["json_body"]))))
        return Reply(self.status, self.answers.pop(0) if len(self.answers) > 1 else self.answers[0], {})


def _client(vendor: _Vendor) -> VendorClient:
    return cast("VendorClient", vendor)


def test_a_value_in_a_path_is_one_segment() -> None:
    vendor = _Vendor({})
    Call("GET", ("/contacts", VALUE, "notes")).send(_client(vendor), "a/b?c#d")
    assert vendor.calls[0][1] == "/contacts/a%2Fb%3Fc%23d/notes"


@pytest.mark.parametrize("value", ["", " ", "\t"])
def test_a_blank_value_is_never_sent(value: str) -> None:
    vendor = _Vendor({})
    with pytest.raises(RequestRefused, match="blank_value"):
        Call("DELETE", ("/contacts", VALUE)).send(_client(vendor), value)
    assert not vendor.calls


def test_a_value_is_only_put_in_its_place() -> None:
    call = Call("POST", "/search", json={"query": {"field": "value", "value": VALUE}, "any": [VALUE, "x"]})
    vendor = _Vendor({})
    call.send(_client(vendor), "ada")
    call.send(_client(vendor), "eve", page={"page.after": "2"})
    assert vendor.calls[0][3] == {"query": {"field": "value", "value": "ada"}, "any": ["ada", "x"]}
    assert vendor.calls[1][3] == {
        "query": {"field": "value", "value": "eve"},
        "any": ["eve", "x"],
        "page": {"after": "2"},
    }


def test_every_page_is_read_by_cursor() -> None:
    vendor = _Vendor({"rows": [{"a": "x"}], "next": {"at": "2"}}, {"rows": [{"a": "x"}], "next": None})
    search = Search(Call("GET", "/s", params={"q": VALUE}), "rows", "a", pages=Cursor("next.at", "cursor"))
    assert len(list(search.all(_client(vendor), "x"))) == 2
    assert [call[2] for call in vendor.calls] == [{"q": "x"}, {"q": "x", "cursor": "2"}]


def test_every_page_is_read_by_number() -> None:
    vendor = _Vendor({"rows": [], "pages": 2}, {"rows": [{"a": "x"}], "pages": 2})
    search = Search(Call("GET", "/s", params={"q": VALUE}), "rows", "a", pages=PageNumbers("page", "pages"))
    assert len(list(search.all(_client(vendor), "x"))) == 1
    assert vendor.calls[1][2] == {"q": "x", "page": 2}


def test_an_answer_without_a_page_total_is_not_the_last_page() -> None:
    search = Search(Call("GET", "/s", params={"q": VALUE}), "rows", "a", pages=PageNumbers("page", "pages"))
    with pytest.raises(AnswerNotUnderstood, match="page_total"):
        list(search.all(_client(_Vendor({"rows": []})), "x"))


def test_pages_without_an_end_are_an_error() -> None:
    search = Search(Call("GET", "/s", params={"q": VALUE}), "rows", "a", pages=Cursor("next", "cursor"))
    with pytest.raises(AnswerNotUnderstood, match="too_many_pages"):
        list(search.all(_client(_Vendor({"rows": [], "next": "again"})), "x"))


@pytest.mark.parametrize("body", [{}, {"rows": None}, {"rows": {}}, {"rows": ["x"]}, [], None])
def test_rows_of_another_form_are_no_empty_list(body: Any) -> None:
    with pytest.raises(AnswerNotUnderstood, match="field_missing:rows"):
        list(Search(Call("GET", "/s", params={"q": VALUE}), "rows", "a").all(_client(_Vendor(body)), "x"))


def test_only_exact_hits_count() -> None:
    rows = [{"a": "ada@x.test"}, {"a": "ADA@x.test"}, {"a": "ada@x.test "}, {"a": None}, {}]
    call = Call("GET", "/s", params={"q": VALUE})
    exact = Search(call, "rows", "a")
    lax = Search(call, "rows", "a", ignores_case=True)
    assert list(exact.all(_client(_Vendor({"rows": rows})), "ada@x.test")) == rows[:1]
    assert list(lax.all(_client(_Vendor({"rows": rows})), "ada@x.test")) == rows[:2]


def test_an_address_is_asked_for_in_lower_case_too() -> None:
    vendor = _Vendor({"rows": []})
    list(
        Search(Call("GET", "/s", params={"q": VALUE}), "rows", "a", ignores_case=True).all(
            _client(vendor), "Ada@X.test"
        )
    )
    assert [call[2] for call in vendor.calls] == [{"q": "Ada@X.test"}, {"q": "ada@x.test"}]


def test_letters_of_other_alphabets_stay_different() -> None:
    assert in_one_case("\u212a") != "k"
    assert not is_same("\u212aate@x.test", "kate@x.test", ignores_case=True)
    assert in_one_case("straße") != in_one_case("strasse")
    assert is_same("ZOË@x.test", "zoë@x.test", ignores_case=True)


def test_numbers_equal_their_text_and_truth_values_nothing() -> None:
    assert is_same(10, "10", ignores_case=False)
    assert not is_same(True, "1", ignores_case=False)
    assert not is_same(True, "True", ignores_case=True)


def test_values_at_a_path() -> None:
    body = {"errors": [{"code": "a"}, {"code": "b"}], "contacts": {"contacts": [{"id": 1}, {"id": 2}, {}]}}
    assert values_at(body, "errors.0.code") == ["a"]
    assert values_at(body, "contacts.contacts.*.id") == [1, 2]
    assert values_at(body, "errors.7.code") == values_at(body, "no.where") == values_at(None, "a") == []


@pytest.mark.parametrize("body", [None, {}, {"code": "other"}, {"code": None}, ["no_such_record"]])
def test_a_404_without_the_vendors_words_is_an_error(body: Any) -> None:
    gone = Gone("code", ("no_such_record",))
    assert gone.says(Reply(404, {"code": "no_such_record"}, {}))
    assert not gone.says(Reply(200, {"code": "no_such_record"}, {}))
    with pytest.raises(AnswerNotUnderstood, match="not_found"):
        gone.says(Reply(404, body, {}))


def test_a_call_by_id_needs_the_vendors_words() -> None:
    with pytest.raises(ValueError, match="gone"):
        Root("contact", {}, Call("GET", ("/contacts", VALUE)))


def test_known_error_codes_decide_before_the_status() -> None:
    codes = ErrorCodes(
        "errors.0.code", {"plan": (RequestRefused, "plan_restricted"), "key": (CredentialsRefused, "key")}
    )
    found = codes(httpx.Response(403, json={"errors": [{"code": "plan"}]}))
    assert isinstance(found, RequestRefused)
    assert (found.code, found.status) == ("plan_restricted", 403)
    assert isinstance(codes(httpx.Response(400, json={"errors": [{"code": "key"}]})), CredentialsRefused)
    for other in ({"errors": [{"code": "else"}]}, {"errors": [{"code": ["plan"]}]}, {}, []):
        assert codes(httpx.Response(403, json=other)) is None
    assert codes(httpx.Response(403, content=b"<html>")) is None


def test_a_collection_of_a_deleted_record_has_no_rows() -> None:
    call = Call("GET", ("/customers", VALUE, "orders"))
    gone = Gone("code", ("no_such_customer",))
    vendor = _Vendor({"code": "no_such_customer"})
    vendor.status = 404
    assert list(Search(call, "rows", "customer", gone=gone).all(_client(vendor), "7")) == []
    vendor.answers = [{"code": "no_such_path"}]
    with pytest.raises(AnswerNotUnderstood, match="not_found"):
        list(Search(call, "rows", "customer", gone=gone).all(_client(vendor), "7"))


def _listing(pages: Any, **more: Any) -> Listing:
    return Listing(Call("GET", "/s"), "rows", pages, **more)


def test_every_page_is_read_by_offset() -> None:
    vendor = _Vendor({"rows": [{"a": 1}, {"a": 2}], "total": 3}, {"rows": [{"a": 3}], "total": 3})
    assert len(list(_listing(Offsets("offset", "total")).all(_client(vendor)))) == 3
    assert [call[2] for call in vendor.calls] == [None, {"offset": 2}]


def test_every_page_is_read_while_there_is_a_link() -> None:
    vendor = _Vendor({"rows": [{}], "next": "http://elsewhere.test"}, {"rows": [{}], "next": None})
    assert len(list(_listing(PageNumbers("page", link="next")).all(_client(vendor)))) == 2
    assert [call[1:3] for call in vendor.calls] == [("/s", None), ("/s", {"page": 2})]


def test_a_cursor_at_the_end_is_not_followed() -> None:
    pages = Cursor("after", "page[after]", more="more")
    vendor = _Vendor({"rows": [{}], "after": "a", "more": True}, {"rows": [{}], "after": "b", "more": False})
    assert len(list(_listing(pages).all(_client(vendor)))) == 2


@pytest.mark.parametrize("body", [{"rows": []}, {"rows": [], "more": True}, {"rows": [], "more": None, "after": "a"}])
def test_an_answer_that_does_not_say_whether_it_is_the_last_is_an_error(body: Any) -> None:
    with pytest.raises(AnswerNotUnderstood, match="page_cursor"):
        list(_listing(Cursor("after", "page[after]", more="more")).all(_client(_Vendor(body))))


@pytest.mark.parametrize("body", [{"rows": [], "total": 1}, {"rows": []}])
def test_a_page_that_is_missing_is_an_error(body: Any) -> None:
    with pytest.raises(AnswerNotUnderstood, match="page_total"):
        list(_listing(Offsets("offset", "total")).all(_client(_Vendor(body))))


def test_a_page_that_stays_empty_is_an_error() -> None:
    vendor = _Vendor({"rows": [{}], "total": 3}, {"rows": [], "total": 3})
    with pytest.raises(AnswerNotUnderstood, match="too_many_pages"):
        list(_listing(Offsets("offset", "total")).all(_client(vendor)))


def test_more_pages_than_the_vendor_has_are_an_error() -> None:
    vendor = _Vendor({"rows": [{}], "next": "x"})
    with pytest.raises(AnswerNotUnderstood, match="too_many_pages"):
        list(_listing(PageNumbers("page", link="next"), most_pages=2).all(_client(vendor)))
    assert len(vendor.calls) == 2


def test_a_collection_that_the_vendor_does_not_have_has_no_rows() -> None:
    class Missing(_Vendor):
        def request(self, method: str, path: str, **more: Any) -> Reply:
            return Reply(404, self.answers[0], {})

    listing = _listing(None, gone=Gone("error", ("RecordNotFound",)))
    assert list(listing.all(_client(Missing({"error": "RecordNotFound"})))) == []
    with pytest.raises(AnswerNotUnderstood, match="not_found"):
        list(listing.all(_client(Missing({"error": "NoSuchRoute"}))))
