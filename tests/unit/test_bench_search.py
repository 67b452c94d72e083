"""The figures of searches in the benchmark's report."""

from __future__ import annotations

from typing import Any

import pytest

from ops.bench.search import Measured, figures

MEASURED = Measured(
    contacts=1000,
    bulk=2000.0,
    rebuilt=1500.0,
    query_ms={
        "elasticsearch": {"name": [float(n) for n in range(1, 200)], "error": [500.0]},
        "postgres": {"name": [7.0], "error": [9.0]},
    },
    fresh_ms=[float(n) for n in range(200, 0, -1)],
    warm=5.0,
    indexer_mb=90.5,
)


@pytest.mark.parametrize(
    ("key", "figure"),
    [
        ("search.rebuild_vs_bulk", 0.75),
        ("search.freshness_ms.p99", 198.0),
        ("search.query_ms.elasticsearch.p99", 199.0),
        ("search.query_ms.elasticsearch.p99_by_kind.error", 500.0),
        ("search.query_ms.postgres.p99", 9.0),
        ("memory_mb.indexer", 90.5),
    ],
)
def test_what_is_promised_is_there(key: str, figure: float) -> None:
    found: Any = figures(MEASURED)
    for part in key.split("."):
        found = found[part]
    assert found == pytest.approx(figure, abs=1)
