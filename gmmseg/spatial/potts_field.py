"""A Potts field as the compiled loops take it, and coordinate ascent over its colours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gmmseg.checks import InputError
from gmmseg.spatial import potts_kernels
from gmmseg.spatial.neighbours import Neighbourhood, colours, neighbourhood, pair_sharpness
from gmmseg.threads import spread


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """Unary terms, couplings and sites of a field.

    Attributes
    ----------
    hood : Neighbourhood
    shape : tuple of int, of the image
    joint : (Z * Y, X, K) float32 ndarray, nats; or empty, and
    index, table : (Z * Y, X) uint16 and (L, K) float32 ndarrays, levels and their joints; or empty
    active : (Z * Y, X) bool ndarray, sites that take part; empty where all do
    image : (Z * Y, X) float32 ndarray, for contrast-sensitive couplings; or empty
    sharpness : float, see :func:`gmmseg.spatial.neighbours.pair_sharpness`
    strengths : (M,) float32 ndarray, coupling to each neighbour, nats
    n_active : int
    """

    hood: Neighbourhood
    shape: tuple[int, ...]
    joint: np.ndarray
    index: np.ndarray
    table: np.ndarray
    active: np.ndarray
    image: np.ndarray
    sharpness: float
    strengths: np.ndarray
    n_active: int


def field_of(
    shape: tuple[int, ...],
    active: np.ndarray | None,
    spacing: Sequence[float] | np.ndarray | None,
    neighbours: int | None,
    contrast: np.ndarray | None,
    beta: float,
    *,
    joint: np.ndarray,
    index: np.ndarray,
    table: np.ndarray,
) -> Field:
    """A field from checked unary terms and mask; the rest is checked here."""
    hood = neighbourhood(shape, spacing=spacing, neighbours=neighbours)
    if not (np.isfinite(beta) and beta >= 0):
        raise InputError(f"beta must be zero or a positive number of nats; got {beta}.")
    n_active = int(np.prod(shape)) if active is None else int(np.count_nonzero(active))
    if not n_active:
        raise InputError(
            "there is no pixel to smooth: the image is empty or the mask is all False."
        )
    image, sharpness = np.empty((0, 0), np.float32), 0.0
    if contrast is not None:
        contrast = np.asarray(contrast)
        if contrast.shape != shape or contrast.dtype.kind not in "fiub":
            raise InputError(
                f"contrast must be numbers of shape {shape}, as the image; "
                f"got {contrast.shape} of {contrast.dtype}."
            )
        contrast = _unit_range(contrast, active)
        sharpness = pair_sharpness(
            contrast.reshape(hood.shape), None if active is None else active.reshape(hood.shape)
        )
        image = contrast.reshape(-1, shape[-1])
    return Field(
        hood, shape, joint, index, table,
        np.empty((0, 0), bool) if active is None else active.reshape(-1, shape[-1]),
        image, sharpness, (beta * hood.weights).astype(np.float32), n_active,
    )  # fmt: skip


def _unit_range(contrast: np.ndarray, active: np.ndarray | None) -> np.ndarray:
    """Contrast image from 0 to 1, float32, whose squared differences are in range; 0 outside."""
    known = contrast if active is None else contrast[active]
    low, high = float(known.min()), float(known.max())
    if not np.isfinite(high - low):
        raise InputError("contrast must be finite within the mask; leave NaN out by mask.")
    out = np.subtract(contrast, low, dtype=np.float64)
    out /= (high - low) or 1.0
    if active is not None:
        out[~active] = 0.0  # a NaN there would come through a coupling to nothing
    return out.astype(np.float32)


def ascend(
    field: Field, hard: bool, max_sweeps: int, tol: float
) -> tuple[np.ndarray, np.ndarray, bool]:
    """Coordinate ascent, one colour after the other, from the unary posterior.

    Returns the state of :mod:`gmmseg.spatial.potts_kernels`, the objective after each sweep in
    nats per site, and whether the last sweep gained less than ``tol``. ``hard`` sets each site
    to its best class (iterated conditional modes) in place of its posterior.
    """
    depth, height, width = field.hood.shape
    n_classes = field.table.shape[1] if field.table.size else field.joint.shape[2]
    state = np.zeros((depth * height, 2, n_classes, width // 2 + 3), np.float32)
    turns = colours(field.hood)

    def turn(
        rows: np.ndarray, parities: np.ndarray, later: np.ndarray, sooner: np.ndarray
    ) -> float:
        gains = np.empty(len(rows))
        spread(
            potts_kernels.sweep, len(rows), state, (depth, height), rows, parities,
            field.hood.offsets[later], field.hood.offsets[sooner],
            field.strengths[later], field.strengths[sooner],
            field.joint, field.index, field.table, field.active,
            field.image, np.float32(field.sharpness), hard, gains,
        )  # fmt: skip
        return float(gains.sum())

    nobody = np.zeros(len(field.hood.offsets), bool)
    rows = np.arange(depth * height)
    alone = sum(turn(rows, np.full(len(rows), parity), nobody, nobody) for parity in (0, 1))
    if not (field.strengths > 0).any():
        return state, np.array([alone / field.n_active]), True
    objective: list[float] = []
    for _ in range(max_sweeps):
        gain = sum(turn(c.rows, c.parities, c.later, ~c.later) for c in turns)
        objective.append(gain / field.n_active)
        if len(objective) > 1 and objective[-1] - objective[-2] < tol:
            return state, np.array(objective), True
    return state, np.array(objective), False
