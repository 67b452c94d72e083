"""The benchmark compares only runs that did the same work."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ops.bench import throughput
from ops.bench.throughput import Run

bench = importlib.import_module("ops.bench.main")  # the package has a function of that name

OURS = Run(1000, {"contacts": 5, "contact_events": 9}, {"contact.created": 5}, {}, {})
SMALL = replace(bench.QUICK, messages=50, contacts=20)


def runs(monkeypatch: pytest.MonkeyPatch, naive: Run) -> None:
    async def ours(*_: Any) -> Run:
        return OURS

    async def copy(*_: Any) -> tuple[int, float]:
        return 100, 1.0

    async def by(_here: Any, _workload: Any, workers: int) -> Run:
        return naive if workers > 1 else OURS

    for name, run in (("ours", ours), ("copy", copy), ("naive", by)):
        monkeypatch.setattr(throughput, name, run)


@pytest.mark.parametrize(
    "naive",
    [replace(OURS, rows={**OURS.rows, "contacts": 4}), replace(OURS, events={"contact.created": 6})],
)
async def test_runs_that_left_something_else_are_not_compared(monkeypatch: pytest.MonkeyPatch, naive: Run):
    runs(monkeypatch, naive)
    with pytest.raises(bench.Unequal, match="the naive run left"):
        await bench._throughput(None, SMALL, {}, baselines=True)


async def test_equal_runs_are(monkeypatch: pytest.MonkeyPatch):
    runs(monkeypatch, replace(OURS, messages_per_s=50))
    figures: dict[str, Any] = {}
    await bench._throughput(None, SMALL, figures, baselines=True)
    assert figures["throughput"]["naive_by_workers"] == {"1": 1000, "16": 50}


def test_unequal_runs_write_no_figures(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any):
    async def unequal(*_: Any, **__: Any) -> dict[str, Any]:
        raise bench.Unequal("not the same")

    monkeypatch.setattr(bench, "_run", unequal)
    monkeypatch.setattr(bench.uvloop, "install", lambda: None)
    out = tmp_path / "bench.json"
    assert bench.main(["--quick", "--out", str(out)]) == 1
    assert not out.exists()
    assert capsys.readouterr().err == "not the same\n"
