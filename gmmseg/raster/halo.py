"""Smoothed labels of images larger than memory: blocks with a rim wide enough to agree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gmmseg.checks import InputError
from gmmseg.spatial.levels import Grid
from gmmseg.spatial.potts import OUTSIDE, smooth_levels


def smooth_lazy(
    array: Any,
    grid: Grid,
    table: np.ndarray,
    beta: float,
    *,
    n_sweeps: int,
    axes: str,
    spacing: Sequence[float] | None = None,
    neighbours: int | None = None,
    mask: Any = None,
    values: Sequence[int] | np.ndarray | None = None,
) -> Any:
    """Labels of a Potts field, block by block, equal to those of the whole image.

    A sweep of the field updates pixels of one colour and then the others, so that it carries
    what a pixel knows two pixels far; after S sweeps, nothing from beyond 2 S matters.

    Parameters
    ----------
    array : dask array with the axes ``axes``
    grid : Grid, how intensities become rows of ``table``
    table : (L, K) float32 ndarray, log of prior times likelihood of each level, nats
    beta : float, coupling in nats per neighbour
    n_sweeps : int, of mean field, all of which are made
    axes : str, of "TZYX"; frames are smoothed each for itself
    spacing : sequence of float, optional, of the axes without "T"
    neighbours : {4, 6}, optional
        Diagonal neighbours would carry further in a sweep.
    mask : dask array of bool, cut as ``array``, optional
    values : (K,) array-like of uint8, optional
        Labels of the classes in the order of ``table``; 0, 1, ... by default. Pixels outside
        of the mask become 0, as do those that are NaN.

    Returns
    -------
    dask array of uint8
    """
    import dask.array as da

    if neighbours not in (None, 4, 6):
        raise InputError(
            f"An image in parts can be smoothed over 4 or 6 neighbours, not {neighbours}."
        )
    names = np.arange(table.shape[1]) if values is None else np.asarray(values)
    depth = {a: 0 if axis == "T" else 2 * n_sweeps for a, axis in enumerate(axes)}
    chunks = tuple(
        _even(sizes, depth[a]) if axes[a] != "T" else (1,) * sum(sizes)
        for a, sizes in enumerate(array.chunks)
    )
    parts = [array.rechunk(chunks)]
    if mask is not None:
        parts.append(da.asarray(mask).astype(bool).rechunk(chunks))
    return da.map_overlap(
        _smooth_block, *parts, depth=depth, boundary="none", dtype=np.uint8, trim=True,
        meta=np.empty((0,) * array.ndim, np.uint8), grid=grid, table=table, beta=beta,
        n_sweeps=n_sweeps, spacing=spacing, frames=axes.startswith("T"),
        names=names.astype(np.uint8),
    )  # fmt: skip


def _smooth_block(
    block: np.ndarray,
    inside: np.ndarray | None = None,
    *,
    grid: Grid,
    table: np.ndarray,
    beta: float,
    n_sweeps: int,
    spacing: Sequence[float] | None,
    frames: bool,
    names: np.ndarray,
) -> np.ndarray:
    shape = block.shape
    if frames:  # one at a time: see the chunks above
        block = block[0]
        inside = None if inside is None else inside[0]
    if block.dtype.kind == "f":
        known = ~np.isnan(block)
        if not known.all():
            inside = known if inside is None else inside & known
    if inside is not None and not inside.any():
        return np.zeros(shape, np.uint8)
    found = smooth_levels(
        grid.index(block), table, beta, spacing=spacing, mask=inside, max_sweeps=n_sweeps,
        tol=-np.inf,
    ).labels  # fmt: skip
    return np.where(found == OUTSIDE, np.uint8(0), names[np.where(found == OUTSIDE, 0, found)]
                    ).reshape(shape)  # fmt: skip


def _even(sizes: Sequence[int], depth: int) -> tuple[int, ...]:
    """Chunks of even length, no shorter than the rim, so that colours agree between blocks."""
    total, out = sum(sizes), []
    want = max(2 * (max(sizes) // 2), 2 * depth, 2)
    while total > 0:
        part = want if total - want >= max(depth, 1) else total
        out.append(part)
        total -= part
    return tuple(out)
