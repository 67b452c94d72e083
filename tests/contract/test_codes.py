"""Every code that the workers give is explained, and nothing is explained that they never give."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from contracts import codes
from contracts.vocabulary import DeadLetterReason, OutcomeStatus, QueryError, RejectionCode

ROOT = Path(__file__).resolve().parents[2]
TABLES = [
    (codes.OUTCOMES, OutcomeStatus),
    (codes.REJECTIONS, RejectionCode),
    (codes.DEAD_LETTERS, DeadLetterReason),
    (codes.QUERY_ERRORS, QueryError),
]


def given(call: str, *folders: str) -> set[str]:
    """The first arguments that are plain text of every call of that name."""
    return set(_given(call, *folders))


def _given(call: str, *folders: str) -> Iterator[str]:
    for folder in folders:
        for file in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text())):
                named = isinstance(node, ast.Call) and getattr(node.func, "id", None) == call
                if named and node.args and isinstance(node.args[0], ast.Constant):
                    yield str(node.args[0].value)


@pytest.mark.parametrize(("table", "words"), TABLES)
def test_all_are_explained(table, words):
    assert set(table) == set(words)
    for explained in table.values():
        assert explained.meaning.endswith(".")
        assert explained.mend.endswith(".")


def test_rejections():
    assert given("Rejection", "workers") == set(RejectionCode)


def test_query_errors():
    assert given("Refusal", "workers") == set(QueryError)


def test_dead_letters():
    raised = given("Undecodable", "workers") | given("EnvelopeError", "contracts")
    # What the engine says of a message that failed in its hands, and the indexer of a contact that the index refuses.
    assert raised | {"handler_failed", "not_indexable"} == set(DeadLetterReason)
