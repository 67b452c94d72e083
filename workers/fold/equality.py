"""Whether what is to be written is what is there. Pure.

Python takes 1 for true and 0 for false; JSON does not. A number of more digits than a double holds comes back from jsonb
without its exponent, so that 1.2345678901234577e18 is read as the whole number 1234567890123457700.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from storage.rows import Identifier


def same_json(one: Any, other: Any) -> bool:
    """Whether two JSON values are the same."""
    if one is other:
        return True
    if type(one) is dict and type(other) is dict:
        return one.keys() == other.keys() and all(same_json(value, other[key]) for key, value in one.items())
    if type(one) is list and type(other) is list:
        return len(one) == len(other) and all(map(same_json, one, other))
    if type(one) is float and type(other) is int:
        return one == float(other)  # Python compares them exactly, and the double is 1234567890123457664
    if type(one) is int and type(other) is float:
        return float(one) == other
    return bool(one == other) and (type(one) is bool) == (type(other) is bool)


def same_identifier(one: Identifier, other: Identifier) -> bool:
    return same_json(one.metadata, other.metadata) and (
        one == other or replace(one, metadata=other.metadata) == other
    )
