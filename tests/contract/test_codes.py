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


def given(name: str, *folders: str) -> set[str]:
    """The first arguments that are plain text of every call of that name."""
    first = (call.args[0] for call in calls(name, *folders) if call.args)
    return {str(argument.value) for argument in first if isinstance(argument, ast.Constant)}


def calls(name: str, *folders: str) -> Iterator[ast.Call]:
    for folder in folders:
        for file in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Call) and getattr(node.func, "id", None) == name:
                    yield node


@pytest.mark.parametrize(("table", "words"), TABLES)
def test_all_are_explained(table, words):
    assert set(table) == set(words)
    for explained in table.values():
        assert explained.meaning.endswith(".")
        assert explained.mend.endswith(".")


def test_rejections():
    assert given("Rejection", "workers") == set(RejectionCode)


def test_the_details_of_rejections():
    """Those that are written where the rejection is made."""
    for call in calls("Rejection", "workers"):
        if (
            len(call.args) > 2
            and isinstance(call.args[0], ast.Constant)
            and isinstance(call.args[2], ast.Dict)
        ):
            code = RejectionCode(call.args[0].value)
            made = {key.value for key in call.args[2].keys if isinstance(key, ast.Constant)}
            told = {detail.partition(":")[0] for detail in codes.REJECTIONS[code].details}
            assert made <= told, code


def test_query_errors():
    assert given("Refusal", "workers") == set(QueryError)


def test_dead_letters():
    raised = given("Undecodable", "workers") | given("EnvelopeError", "contracts")
    # What the engine says of a message that failed in its hands, and the indexer of a contact that the index refuses.
    assert raised | {"handler_failed", "not_indexable"} == set(DeadLetterReason)
