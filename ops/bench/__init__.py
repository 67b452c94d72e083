"""Benchmarks: workloads, the naive baseline, the report."""

from ops.bench.main import main

__all__ = ["main"]
