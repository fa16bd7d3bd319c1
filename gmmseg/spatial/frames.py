"""Smoothing of a time series: each frame by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gmmseg.settings import N_SWEEPS
from gmmseg.spatial.potts import OUTSIDE, smooth_levels

FIXED: dict[str, Any] = {"max_sweeps": N_SWEEPS, "tol": -np.inf}
"""As many sweeps for every image, so that one in parts is labelled like one in memory."""


def smooth_frames(
    index: np.ndarray,
    table: np.ndarray,
    beta: float,
    *,
    time: bool,
    spacing: Sequence[float] | None = None,
    neighbours: int | None = None,
    mask: np.ndarray | None = None,
    contrast: np.ndarray | None = None,
    method: str = "mean_field",
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    """:func:`gmmseg.spatial.potts.smooth_levels`, for a single image or frame after frame.

    Parameters
    ----------
    index : (Y, X) or (Z, Y, X) ndarray of uint8 or uint16; with ``time`` one axis more, first
    table : (L, K) ndarray
        Log joint of each level, nats.
    beta, spacing, neighbours, mask, contrast, method
        Of ``smooth_levels``; ``spacing`` without time.
    time : bool
        Whether the first axis is one of time, along which nothing is smoothed.

    Returns
    -------
    labels : uint8 ndarray of the shape of ``index``, 0 outside of the mask
    posterior : float32 ndarray of that shape, then K; None if the method gives none
    objective : (S,) float64 ndarray, nats per pixel; of all frames, one after the other
    """
    fields = [
        smooth_levels(
            index[at],
            table,
            beta,
            spacing=spacing,
            neighbours=neighbours,
            mask=None if mask is None else mask[at],
            contrast=None if contrast is None else contrast[at],
            method=method,
            posterior=True,
            **(FIXED if method == "mean_field" else {}),
        )
        for at in (range(len(index)) if time else (...,))
    ]
    labels = [np.where(field.labels == OUTSIDE, np.uint8(0), field.labels) for field in fields]
    posteriors = [field.posterior for field in fields if field.posterior is not None]
    trace = np.concatenate([field.objective for field in fields])
    if not time:
        return labels[0], posteriors[0] if posteriors else None, trace
    return np.stack(labels), np.stack(posteriors) if posteriors else None, trace
