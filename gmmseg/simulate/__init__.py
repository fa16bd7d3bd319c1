"""Scans with known truth, for tests and for judging a method."""

from gmmseg.simulate.fields import add_rician_noise, smooth_field
from gmmseg.simulate.head import T1_MEANS, HeadSettings, Phantom, simulate_head

__all__ = [
    "T1_MEANS",
    "HeadSettings",
    "Phantom",
    "add_rician_noise",
    "simulate_head",
    "smooth_field",
]
