"""What is the same JSON value, as a column of type jsonb gives it back."""

from __future__ import annotations

import uuid
from dataclasses import replace
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from storage.rows import Identifier, IdentifierKey
from workers.fold.equality import same_identifier, same_json


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1.2345678901234577e18, 1234567890123457700),
        (1e16, 10**16),
        (9.2e18, 92 * 10**17),
        (1.8446744073709552e19, 18446744073709551615),
        (-0.0, 0.0),
        (-0.0, 0),
        (1.0, 1),
        ([{"n": 1e16}], [{"n": 10**16}]),
    ],
)
def test_a_number_is_the_same_in_another_spelling(one: Any, other: Any):
    assert same_json(one, other)
    assert same_json(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (2**53 + 1, 2**53),
        (1.5, 1),
        (1e16, 10**16 + 2),
        (1, True),
        (1.0, True),
        (0.0, False),
        (0, False),
        (1, "1"),
        (1.0, None),
    ],
)
def test_another_value_is_another(one: Any, other: Any):
    assert not same_json(one, other)
    assert not same_json(other, one)


@example(number=1.2345678901234577e18)
@example(number=-1e300)
@given(number=st.floats(allow_nan=False, allow_infinity=False))
def test_a_double_without_its_exponent_is_the_same(number: float):
    """jsonb spells it with the shortest digits, filled up with zeros."""
    assert same_json(number, orjson.loads(f"{Decimal(repr(number)):f}"))


def test_an_identifier_is_the_same_where_its_metadata_is():
    one = Identifier(
        uuid.uuid4(), IdentifierKey("push", "t"), "push", "t", metadata={"n": 1.2345678901234577e18}
    )
    assert same_identifier(one, replace(one, metadata={"n": 1234567890123457700}))
    assert not same_identifier(one, replace(one, metadata={"n": 1}))
    assert not same_identifier(one, replace(one, metadata={"n": 1234567890123457700}, is_primary=True))
    assert not same_identifier(replace(one, metadata={"n": 1}), replace(one, metadata={"n": True}))
