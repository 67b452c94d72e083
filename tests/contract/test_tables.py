"""The generated pages say everything there is to say."""

from __future__ import annotations

import re

from contracts.codes import CLOSES
from contracts.vocabulary import (
    DeadLetterReason,
    FrameError,
    GoodbyeReason,
    OutcomeStatus,
    QueryError,
    RejectionCode,
    ResyncReason,
)
from ops import metrics
from ops.cli import tables
from ops.settings import Settings, variable


def rows(page: str) -> dict[str, list[str]]:
    """By the first cell, the others of each row of a page's tables."""
    found = {}
    for line in page.splitlines():
        if line.startswith("| `"):
            first, *others = (cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1])
            found[first.strip("`")] = others
    return found


def test_codes():
    words = {*OutcomeStatus, *RejectionCode, *DeadLetterReason, *QueryError}
    frames = {*FrameError, *ResyncReason, *GoodbyeReason}
    assert set(rows(tables.codes())) == words | frames | {str(code) for code in CLOSES}


def test_metrics():
    page = rows(tables.metric_table())
    assert set(page) == {metric.name for metric in metrics.describe()}
    assert all(text for *_, text in page.values())


def test_settings():
    page = rows(tables.setting_table())
    assert set(page) == {variable(name) for name in Settings.model_fields}
    assert "ELASTICSEARCH_URL" in page
    unexplained = [name for name, (*_, text) in page.items() if not text]
    assert unexplained == []
    assert page["ROLLCALL_MAX_BODY"][:3] == ["whole number", "`900000`", "at least 1000, at most 1000000"]
    assert page["ROLLCALL_NATS_URL"][1] == "required"


def test_columns_hold():
    for page in tables.pages().values():
        widths = {
            len(re.split(r"(?<!\\)\|", line))
            for line in page.splitlines()
            if line.startswith(("| `", "| ---"))
        }
        assert widths <= {5, 6, 7}
        assert page.startswith(tables.GENERATED)
