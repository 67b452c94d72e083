"""Where the words of a search were found, as it is shown."""

from __future__ import annotations

from typing import Any

import pytest

from storage.search.text import parse
from workers.queries.handlers.finding import highlights

CONTACT: dict[str, Any] = {
    "first_name": "Ann",
    "last_name": None,
    "display_name": "Ann",
    "email": None,
    "phone": None,
    "external_id": None,
    "attributes": {"company": 7},
    "identifiers": [
        {
            "identifier": "id-77",
            "raw": "ID-77",
            "aliases": ["Annie.Old"],
            "metadata": {"profile_name": "Zoë"},
        },
        {"identifier": "id-78", "raw": "Other.Way", "aliases": [], "metadata": {"profile_name": None}},
        {"identifier": "id-79", "raw": "id-79", "aliases": [], "metadata": {"profile_name": "Zoë"}},
    ],
}


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        (
            "ann",
            {
                "first_name": ["<em>Ann</em>"],
                "display_name": ["<em>Ann</em>"],
                "identifiers": ["<em>Ann</em>ie.Old"],
            },
        ),
        ("zoe", {"profile_names": ["<em>Zoë</em>"]}),
        ("annie.old", {"identifiers": ["<em>Annie.Old</em>"]}),
        ("other", {"identifiers": ["<em>Other</em>.Way"]}),
        ("id-77", {"identifiers": ["<em>id-77</em>"]}),
        ("nobody", {}),
    ],
)
def test_where_it_was_found(query: str, shown: dict[str, list[str]]) -> None:
    assert highlights(CONTACT, parse(query), forgiving=False) == shown


def test_a_typing_error_is_shown() -> None:
    assert highlights(CONTACT, parse("zoey"), forgiving=True) == {"profile_names": ["<em>Zoë</em>"]}
