"""The metrics that a worker shows."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from prometheus_client import REGISTRY, generate_latest

from ops import metrics


@pytest.fixture
def no_tenants(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(metrics, "_tenants", set())
    return


def test_describe_names_what_is_exposed() -> None:
    ours = {family.name: family for family in REGISTRY.collect() if family.name.startswith("rollcall_")}
    described = {metric.name.removesuffix("_total"): metric for metric in metrics.describe()}
    assert described.keys() == ours.keys()
    for name, metric in described.items():
        assert (metric.type, metric.help) == (ours[name].type, ours[name].documentation)


def test_the_tenant_is_a_label_where_it_is_asked_for_and_nowhere_else() -> None:
    assert [metric.name for metric in metrics.describe() if "tenant" in metric.labels] == [
        "rollcall_undecodable_total"
    ]


def test_labels_are_the_documented_ones() -> None:
    metrics.MESSAGES.labels(stream="TEST", outcome="rejected", reason="invalid").inc()
    metrics.BATCH_SECONDS.labels(stream="TEST", phase="total").observe(0.002)
    shown = generate_latest().decode()
    assert 'rollcall_messages_total{outcome="rejected",reason="invalid",stream="TEST"} 1.0' in shown
    assert 'rollcall_batch_seconds_bucket{le="0.0025",phase="total",stream="TEST"} 1.0' in shown


@pytest.mark.usefixtures("no_tenants")
def test_senders_cannot_grow_the_tenant_label() -> None:
    labels = {metrics.tenant_label(f"tenant-{n}") for n in range(metrics.TENANT_LABELS + 50)}
    assert len(labels) == metrics.TENANT_LABELS + 1
    assert metrics.tenant_label("tenant-0") == "tenant-0"
    assert metrics.tenant_label("one-more") == metrics.OTHER
