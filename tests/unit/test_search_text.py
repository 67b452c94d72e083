"""The text of a search: how it is folded, what is kept of a contact, what terms a query has, what is marked."""

from __future__ import annotations

import html
import re
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.rows import Contact, Identifier, IdentifierKey
from storage.search.text import (
    FORGIVING,
    MOST_TERMS,
    MOST_TEXT,
    MOST_VALUE,
    Term,
    Text,
    TooManyTerms,
    fold,
    highlight,
    parse,
    search_text,
    values,
    within_one_error,
    words,
)


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("Müller", "muller"),
        ("MU\N{COMBINING DIAERESIS}LLER", "muller"),
        ("Ærøskøbing Straße", "aeroskobing strasse"),
        ("Łódź", "lodz"),
        ("Иван", "ivan"),
        ("  Ada \t\n Lovelace\N{NO-BREAK SPACE}II ", "ada lovelace ii"),
        ("a\0b", "ab"),
        ("m.Schmidt@ACME.com", "m.schmidt@acme.com"),
        ("٠١٢", "012"),
        ("\N{FULLWIDTH PLUS SIGN}49", "+49"),
        ("\N{ZERO WIDTH JOINER}", ""),
        ("", ""),
    ],
)
def test_fold(text: str, folded: str) -> None:
    assert fold(text) == folded


def test_points_and_marks_are_left_out() -> None:
    assert fold("\u05e9\u05b8\u05c1\u05dc\u05d5\u05b9\u05dd") == fold("\u05e9\u05dc\u05d5\u05dd") != ""


@given(st.text())
def test_folded_text_is_lower_case_ascii_of_single_blanks_and_stays_as_it_is(text: str) -> None:
    folded = fold(text)
    assert folded.isascii()
    assert folded == folded.lower()
    assert folded == " ".join(folded.split())
    assert "\0" not in folded
    assert fold(folded) == folded


def contact(*identifiers: tuple[str, str, str], **fields: Any) -> Contact:
    """Identifiers are channel, kind and value; a fourth item is the raw spelling."""
    made = Contact("a", uuid.uuid4(), **fields)
    for channel, kind, value, *raw in identifiers:
        key = IdentifierKey(kind, value)
        made.identifiers[key, channel] = Identifier(uuid.uuid4(), key, channel, raw[0] if raw else value)
    return made


def test_the_text_of_a_contact() -> None:
    made = contact(
        ("sms", "phone", "+4915112345678", "0151 1234 5678"),
        ("email", "email", "anna@acme.com", "Anna@ACME.com"),
        ("messenger", "messenger", "PSID-77"),
        display_name="Anna-Lena Müller",
        first_name="Anna-Lena",
        last_name="Müller",
        external_id="CRM/9",
        email="is an identifier's@too.com",
        attributes={"company": "ACME & Söhne", "plan": "gold"},
    )
    written = search_text(made)
    assert values(written) == [
        "anna-lena muller",
        "anna lena muller",
        "acme & sohne",
        "acme sohne",
        "crm/9",
        "+4915112345678",
        "anna@acme.com",
        "psid-77",
    ]
    assert written.startswith("\n anna-lena muller \n anna lena muller \n ")
    assert words("\n b a \n a \n") == ["a", "b"]


def test_profile_names_aliases_and_a_company_that_is_no_text() -> None:
    key = IdentifierKey("whatsapp", "bsuid")
    made = contact(attributes={"company": 7})
    made.identifiers[key, "whatsapp"] = Identifier(
        uuid.uuid4(), key, "whatsapp", "bsuid", aliases=("Old.Name",), metadata={"profile_name": "Zoë ❤"}
    )
    assert values(search_text(made))[-1].startswith("zoe")
    assert "old.name" in values(search_text(made))
    assert "7" not in search_text(made)


def test_a_contact_without_text_has_none() -> None:
    assert search_text(contact()) == ""
    assert values("") == []


def test_a_long_value_is_cut_and_displaces_nothing() -> None:
    made = contact(
        ("email", "email", "anna@acme.com"),
        ("sms", "phone", "+4915112345678"),
        display_name="Anna",
        external_id="CRM/9",
        attributes={"company": "acme " * 1620},
    )
    company = ("acme " * (MOST_VALUE // 5)).strip()
    assert values(search_text(made)) == ["anna", company, "crm/9", "anna@acme.com", "+4915112345678"]


def test_many_identifiers_displace_neither_names_nor_the_external_id() -> None:
    crowd = [("messenger", "messenger", f"{n:0250d}") for n in range(100)]
    long = "-".join("x" * 1000)
    made = contact(
        *crowd, display_name=long, first_name=long, external_id="CRM/9", attributes={"company": long}
    )
    made.identifiers |= contact(("email", "email", "anna@acme.com")).identifiers
    found = values(search_text(made))
    assert found[0].startswith("x-x")
    assert "crm/9" in found
    assert sum(len(value) == 250 for value in found) > 30
    assert "anna@acme.com" in found  # what is short has room in the end


def test_a_long_text_ends_with_a_whole_value() -> None:
    made = contact(*(("messenger", "messenger", f"{n:0200d}") for n in range(100)))
    written = search_text(made)
    assert MOST_TEXT - 250 < len(written) <= MOST_TEXT + 4
    assert {len(value) for value in values(written)} == {200}


@pytest.mark.parametrize(
    ("query", "terms"),
    [
        ("Maria Schmidt", [["maria"], ["schmidt"]]),
        ("maria MARIA", [["maria"]]),
        ('"maria", (schmidt)*', [["maria"], ["schmidt"]]),
        ("name:maria OR a.b", [["name:maria"], ["or"], ["a.b"]]),
        ("@acme.com", [["@acme.com"]]),
        ("100%", [["100"]]),
        ("0151 123-45", [["015112345", "15112345"]]),
        ("+49 (0)151 12345", [["+4915112345"]]),
        ("0049 151 12345", [["004915112345", "+4915112345"]]),
        ("(030) 12/345", [["03012345", "3012345"]]),
        ("(+49) 151 12345", [["+4915112345"]]),
        ("0(0)151 123456", [["0151123456", "151123456"]]),
        ("1234", [["1234"]]),
        ("1234 maria", [["1234"], ["maria"]]),
        ("12345 maria", [["12345"], ["maria"]]),
        ("-bb", [["bb", "-bb"]]),
        ('maria --"schmidt"', [["maria"], ["schmidt", '--"schmidt']]),
        ("anna-lena b-", [["anna-lena"], ["b-"]]),
        ("--- %% _", []),
        ("؟ … «»", []),
    ],
)
def test_parse(query: str, terms: list[list[str]]) -> None:
    found = parse(query)
    assert found is not None
    assert [list(term.spellings) for term in found.terms] == terms


@pytest.mark.parametrize("query", [None, "", "  \n"])
def test_nothing_typed_is_no_text(query: str | None) -> None:
    assert parse(query) is None


def test_so_many_terms_and_no_more() -> None:
    words = " ".join(f"w{n}" for n in range(MOST_TERMS))
    assert parse(words) is not None
    with pytest.raises(TooManyTerms):
        parse(words + " more")


@given(st.text(max_size=300))
def test_whatever_is_typed_is_a_text_or_too_many_terms(query: str) -> None:
    try:
        found = parse(query)
    except TooManyTerms:
        return
    for term in found.terms if found else ():
        for spelling in term.spellings:
            assert re.search("[0-9a-z]", spelling)
            assert fold(spelling) == spelling
            assert " " not in spelling


@pytest.mark.parametrize(
    ("spelling", "is_fragment"),
    [
        ("ab", False),
        ("abc", True),
        ("+49", True),  # the beginning of a word counts as two
        ("@a", False),
        ("@ac", True),
        ("a@b", True),
        ("ab@", True),
        ("a@-", False),
        ("...", False),
    ],
)
def test_what_an_index_of_trigrams_can_find_anywhere(spelling: str, is_fragment: bool) -> None:
    assert Term((spelling,)).is_fragment(spelling) is is_fragment


@pytest.mark.parametrize(
    ("spelling", "forgives"),
    [
        ("ann", False),
        ("anna", True),
        ("ann4", False),
        ("a" * FORGIVING[-1], True),
        ("a" * FORGIVING.stop, False),
    ],
)
def test_only_words_of_letters_take_a_typing_error(spelling: str, forgives: bool) -> None:
    assert Term((spelling,)).forgiving == (spelling if forgives else None)


def distance(a: str, b: str) -> int:
    """Insertions, deletions, substitutions and swaps of neighbours."""
    rows = [[max(i, j) for j in range(len(b) + 1)] for i in range(len(a) + 1)]
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            rows[i][j] = min(
                rows[i - 1][j] + 1, rows[i][j - 1] + 1, rows[i - 1][j - 1] + (a[i - 1] != b[j - 1])
            )
            if i > 1 and j > 1 and a[i - 1] == b[j - 2] and a[i - 2] == b[j - 1]:
                rows[i][j] = min(rows[i][j], rows[i - 2][j - 2] + 1)
    return rows[-1][-1]


LETTERS = st.text("ab", max_size=7)


@given(LETTERS, LETTERS)
def test_within_one_error_is_a_distance_of_one(a: str, b: str) -> None:
    assert within_one_error(a, b) == (distance(a, b) <= 1)


@pytest.mark.parametrize(
    ("value", "query", "marked"),
    [
        ("Anna Müller", "muller", "Anna <em>Müller</em>"),
        ("Anna Müller", "an", "<em>An</em>na Müller"),
        ("Anna Müller", "na", None),
        ("Anna Müller", "ann müll", "<em>Ann</em>a <em>Müll</em>er"),
        ("Weiß", "weiss", "<em>Weiß</em>"),
        ("Bb x-bb", "-bb", "<em>Bb</em> x<em>-bb</em>"),
        ("Weiß", "eis", "W<em>eiß</em>"),
        ("<Acme> & Co", "acme", "&lt;<em>Acme</em>&gt; &amp; Co"),
        ("+4915112345678", "0151 12345", "+49<em>15112345</em>678"),
        ("Ада", "ada", "<em>Ада</em>"),
        ("A&B <x>", "a&b", "<em>A&amp;B</em> &lt;x&gt;"),
        ("nobody", "somebody", None),
        ("banana", "anana nan", "b<em>anana</em>"),
        ("a.b", "a.b", "<em>a.b</em>"),
        ("axb", "a.b", None),
    ],
)
def test_highlight(value: str, query: str, marked: str | None) -> None:
    text = parse(query)
    assert text is not None
    assert highlight(value, text, forgiving=False) == marked


def test_a_typing_error_is_marked_where_it_is_forgiven() -> None:
    text = parse("schmitd")
    assert text is not None
    assert highlight("Anna Schmidt", text, forgiving=False) is None
    assert highlight("Anna Schmidt", text, forgiving=True) == "Anna <em>Schmidt</em>"


@given(st.text(max_size=60), st.text(max_size=20), st.booleans())
def test_what_is_marked_is_the_value(value: str, query: str, forgiving: bool) -> None:
    text = parse(query)
    marked = highlight(value, text or Text(()), forgiving=forgiving)
    if marked is not None:
        assert html.unescape(marked.replace("<em>", "").replace("</em>", "")) == html.unescape(
            html.escape(value)
        )
        assert marked.count("<em>") == marked.count("</em>") > 0
