"""The patterns of LIKE that PostgreSQL is asked for: what is typed means itself, and a typing error is found."""

from __future__ import annotations

import re

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from storage.search.criteria import Criteria, Filters
from storage.search.postgres import asked
from storage.search.text import FORGIVING, Term, Text, within_one_error

LETTERS = st.text("abc", min_size=FORGIVING.start, max_size=12)


def like(text: str, pattern: str) -> bool:
    """As PostgreSQL's LIKE."""
    pieces = re.findall(r"\\.|.", pattern, re.DOTALL)
    meant = {"%": ".*", "_": "."}
    regex = "".join(meant.get(piece) or re.escape(piece[-1]) for piece in pieces)
    return re.fullmatch(regex, text, re.DOTALL) is not None


def said(terms: tuple[Term, ...], *, forgiving: bool = False) -> list[dict[str, list]]:
    written = asked(Criteria(text=Text(terms), forgiving=forgiving))
    assert written is not None
    return orjson.loads(written)["terms"]


@pytest.mark.parametrize(
    ("spelling", "pattern"),
    [("abc", "%abc%"), ("ab", "% ab%"), ("50%_a\\b", r"%50\%\_a\\b%"), ("@a", "% @a%")],
)
def test_a_term_is_a_fragment_or_the_beginning_of_a_word(spelling: str, pattern: str) -> None:
    assert said((Term((spelling,)),))[0]["likes"] == [pattern]


@st.composite
def with_an_error(draw: st.DrawFn) -> tuple[str, str]:
    """A word, and how it was typed."""
    word = draw(LETTERS)
    at = draw(st.integers(0, len(word) - 1))
    other = draw(st.sampled_from("abcx"))
    swapped = word[:at] + word[at : at + 2][::-1] + word[at + 2 :]
    return word, draw(
        st.sampled_from(
            [
                word[:at] + word[at + 1 :],
                word[:at] + other + word[at:],
                word + other,
                word[:at] + other + word[at + 1 :],
                swapped,
                draw(LETTERS),
            ]
        )
    )


def is_found(way: dict[str, list[str]], text: str) -> bool:
    """As the function: what is checked has two blanks where the text has one."""
    apart = text.replace(" ", "  ")
    return any(like(text, one) for one in way["find"]) and (
        not way["check"] or any(like(apart, one) for one in way["check"])
    )


@given(with_an_error(), st.booleans())
@example(("abcacb", "abaccb"), False)
@example(("abcacb", "abccab"), True)
def test_a_word_is_found_if_and_only_if_it_is_within_one_error(both: tuple[str, str], alone: bool) -> None:
    word, typed = both
    if len(typed) not in FORGIVING:
        return
    terms = (Term((typed,)),) if alone else (Term((typed,)), Term(("other",)))
    found = any(is_found(way, f"\n {word} \n") for way in said(terms, forgiving=True)[0]["near"])
    if word != typed:  # to the letter it is found anyway
        assert found == within_one_error(word, typed)


@given(with_an_error(), st.integers(1, 11), st.sampled_from([" ", " \n "]), st.booleans())
@example(("abcabcabc", "abcabcabc"), 3, " ", True)
@example(("abcaacb", "abcaxacb"), 4, " ", True)
def test_no_error_reaches_from_one_word_into_another(
    both: tuple[str, str], at: int, between: str, alone: bool
) -> None:
    word, typed = both
    if len(typed) not in FORGIVING:
        return
    words = [piece for piece in (word[:at], word[at:]) if piece]
    terms = (Term((typed,)),) if alone else (Term((typed,)), Term(("other",)))
    text = f"\n {between.join(words)} \n"
    found = any(is_found(way, text) for way in said(terms, forgiving=True)[0]["near"])
    if typed not in words:
        assert found == any(within_one_error(one, typed) for one in words)


@given(with_an_error())
def test_what_is_checked_was_found_before(both: tuple[str, str]) -> None:
    """Nothing is lost between the index and the check."""
    word, typed = both
    if len(typed) not in FORGIVING:
        return
    text = f"\n {word} \n"
    for way in said((Term((typed,)), Term(("other",))), forgiving=True)[0]["near"]:
        if any(like(text.replace(" ", "  "), one) for one in way["check"]):
            assert any(like(text, one) for one in way["find"])


def test_nothing_is_forgiven_unasked() -> None:
    assert said((Term(("schmidt",)),))[0]["near"] == []


@pytest.mark.parametrize("value", ["a\0b", "\ud800"])
@pytest.mark.parametrize("field", ["status", "source", "tag", "attribute", "key"])
def test_what_no_contact_can_hold_is_not_asked_for(field: str, value: str) -> None:
    filters = {
        "status": Filters(status=value),
        "source": Filters(source=value),
        "tag": Filters(tags=(value,)),
        "attribute": Filters(attributes=(("x", value),)),
        "key": Filters(attributes=((value, 1),)),
    }
    assert asked(Criteria(filters=filters[field])) is None


def test_a_backslash_is_no_nul() -> None:
    assert asked(Criteria(filters=Filters(source="\\u0000"))) is not None
