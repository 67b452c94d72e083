"""Invented traffic in the providers' own shapes, the same on every run: for the demo."""

from ops.samples.traffic import SHOWN, TENANTS, Sample, traffic

__all__ = ["SHOWN", "TENANTS", "Sample", "traffic"]
