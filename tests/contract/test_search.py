"""What contact.search takes, as its model and its schema say it: they refuse and accept the same."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker
from pydantic import ValidationError

from contracts.commands.base import validation_errors
from contracts.queries import ContactList, ContactSearch
from contracts.schemas import entries

(SCHEMA,) = (entry.schema for entry in entries() if entry.name == "query.contact.search.request")
WAIT = {"contact_id": "0199d3a4-7c00-7000-8000-00000000c0de", "version": 1}


def fits(request: Any) -> bool:
    return Draft202012Validator(SCHEMA, format_checker=FormatChecker()).is_valid(request)


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"q": None, "cursor": None, "page": None, "wait_for": None},
        {"q": ""},
        {"q": "x" * 255},
        {"filters": {}},
        {
            "filters": {
                "status": "active",
                "source": "web",
                "company": "Acme",
                "tags": ["a"],
                "tags_match": "all",
            }
        },
        {"filters": {"created_after": "2026-01-01T00:00:00Z", "created_before": "2026-01-01T00:00:00+02:00"}},
        {
            "filters": {
                "attributes.plan": "gold",
                "attributes.a.b": 1.5,
                "attributes.x y": True,
                "attributes.n": 0,
            }
        },
        {"filters": {"attributes." + "k" * 100: ""}},
        {"filters": {"attributes.two\nlines": "a\nb"}},
        {"sort_by": "display_name", "sort_order": "asc", "page_size": 100, "page": 1},
        {"wait_for": WAIT},
    ],
)
def test_it_takes(request_: dict[str, Any]) -> None:
    ContactSearch.model_validate(request_)
    assert fits(request_)


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        ({"q": "x" * 256}, "q"),
        ({"q": ["x"]}, "q"),
        ({"search": "x"}, "search"),
        ({"filters": {"lists": ["x"]}}, "filters.lists"),
        ({"filters": {"attributes": {}}}, "filters.attributes"),
        ({"filters": {"attributes.": 1}}, "filters.attributes."),
        ({"filters": {"attributes." + "k" * 101: 1}}, "filters.attributes." + "k" * 101),
        ({"filters": {"attributes.plan": None}}, "filters.attributes.plan"),
        ({"filters": {"attributes.plan": []}}, "filters.attributes.plan"),
        ({"filters": {"company": ""}}, "filters.company"),
        ({"filters": {"company": 7}}, "filters.company"),
        ({"filters": {"tags": "vip"}}, "filters.tags"),
        ({"filters": {"created_after": 7}}, "filters.created_after"),
        ({"sort_by": "last_contact_at"}, "sort_by"),
        ({"page_size": 0}, "page_size"),
        ({"wait_for": {**WAIT, "version": 0}}, "wait_for.version"),
        ({"wait_for": {**WAIT, "tenant": "b"}}, "wait_for.tenant"),
    ],
)
def test_it_refuses_and_names_the_field(request_: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as refused:
        ContactSearch.model_validate(request_)
    assert [error["field"] for error in validation_errors(refused.value)] == [field]
    assert not fits(request_)


def test_attributes_are_read_by_their_dotted_names() -> None:
    asked = ContactSearch.model_validate({"filters": {"attributes.plan": "gold", "attributes.a.b": 1}})
    assert asked.filters.attributes == {"plan": "gold", "a.b": 1}
    assert type(asked.filters.attributes["a.b"]) is int
    assert asked.filters.company is None


def test_null_is_absent() -> None:
    nothing = dict.fromkeys(("filters", "page_size", "sort_by", "sort_order"))
    assert ContactSearch.model_validate(nothing) == ContactSearch()
    assert ContactSearch.model_validate({"filters": {"tags_match": None}}) == ContactSearch()


def test_a_blank_search_of_a_list_is_none() -> None:
    assert ContactList.model_validate({"search": " "}) == ContactList()
