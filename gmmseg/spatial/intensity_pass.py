"""Compiled passes over the samples of a joint fit, by tables of :mod:`gmmseg.spatial.intensity`."""

from __future__ import annotations

import numpy as np
from numba import njit

from gmmseg.spatial.logsum import multiplied
from gmmseg.threads import N_BLOCKS, spread, spread_blocks


def rows_of(
    values: np.ndarray,
    log_field: np.ndarray,
    outside: np.ndarray,
    low: float,
    width: float,
    n_grid: int,
    rows: np.ndarray,
) -> None:
    """Which row of a table each sample has once the bias is corrected.

    Parameters
    ----------
    values, log_field : (N,) float64; the corrected intensity is ``values exp(log_field)``
    outside : (N,) bool, True where the sample is known to lie outside the brain
    low, width, n_grid : the grid of the table
    rows : (N,) int32, written; ``n_grid``, the row beyond the grid, for the samples outside
    """
    spread(_rows, len(values), values, log_field, outside, low, width, n_grid, rows)


@njit(cache=True, nogil=True)
def _rows(
    first: int,
    stop: int,
    values: np.ndarray,
    log_field: np.ndarray,
    outside: np.ndarray,
    low: float,
    width: float,
    n_grid: int,
    rows: np.ndarray,
) -> None:
    for n in range(first, stop):
        row = n_grid
        if not outside[n]:
            at = int((values[n] * np.exp(log_field[n]) - low) / width + 0.5)
            row = min(max(at, 0), n_grid - 1)
        rows[n] = row


def expectation(
    rows: np.ndarray, prior: np.ndarray, density: np.ndarray
) -> tuple[np.ndarray, float]:
    """One fused E-step over the samples.

    Parameters
    ----------
    rows : (N,) int32, row of each sample
    prior : (N, K) float32, class prior of each sample
    density : (B + 1, K) float64, :attr:`IntensityTable.rows`

    Returns
    -------
    counts : (K, B) float64, responsibility of each class in each bin of the grid
    total : float, sum of log evidence, nats
    """
    counts, totals = np.zeros((N_BLOCKS, *density.shape)), np.empty(N_BLOCKS)
    spread_blocks(_expect, len(rows), rows, prior, density, counts, totals)
    return np.ascontiguousarray(counts.sum(axis=0)[:-1].T), float(totals.sum())


@njit(cache=True, nogil=True)
def _expect(
    block: int,
    first: int,
    stop: int,
    rows: np.ndarray,
    prior: np.ndarray,
    density: np.ndarray,
    counts: np.ndarray,
    totals: np.ndarray,
) -> None:
    own, n_classes, total, product = counts[block], prior.shape[1], 0.0, 1.0
    for n in range(first, stop):
        row = rows[n]
        evidence = 0.0
        for k in range(n_classes):
            evidence += prior[n, k] * density[row, k]
        total, product = multiplied(total, product, evidence)
        share = 1.0 / evidence
        for k in range(n_classes):
            own[row, k] += prior[n, k] * density[row, k] * share
    totals[block] = total + np.log(product)


def likeliest(rows: np.ndarray, prior: np.ndarray, density: np.ndarray) -> np.ndarray:
    """Most probable class of each sample, (N,) int8; arguments as of :func:`expectation`."""
    out = np.empty(len(rows), np.int8)
    spread(_likeliest, len(rows), rows, prior, density, out)
    return out


@njit(cache=True, nogil=True)
def _likeliest(
    first: int,
    stop: int,
    rows: np.ndarray,
    prior: np.ndarray,
    density: np.ndarray,
    out: np.ndarray,
) -> None:
    for n in range(first, stop):
        row, best, most = rows[n], 0, -1.0
        for k in range(prior.shape[1]):
            joint = prior[n, k] * density[row, k]
            if joint > most:
                best, most = k, joint
        out[n] = best


def field_derivatives(
    rows: np.ndarray,
    prior: np.ndarray,
    density: np.ndarray,
    slope: np.ndarray,
    curvature: np.ndarray,
    out: np.ndarray,
) -> None:
    """Derivatives of the log evidence by the log of the intensity.

    Parameters
    ----------
    rows, prior, density : as :func:`expectation` takes them
    slope, curvature : the fields of an IntensityTable
    out : (2, N) float64, written: the first derivative, the Jacobian's 1 included, and the expected
        negative second; both 0 where a sample is known to lie outside
    """
    spread(_derivatives, len(rows), rows, prior, density, slope, curvature, out)


@njit(cache=True, nogil=True)
def _derivatives(
    start: int,
    stop: int,
    rows: np.ndarray,
    prior: np.ndarray,
    density: np.ndarray,
    slope: np.ndarray,
    curvature: np.ndarray,
    out: np.ndarray,
) -> None:
    for n in range(start, stop):
        row = rows[n]
        first, second = 0.0, 0.0
        if row < len(slope):
            evidence = 0.0
            for k in range(prior.shape[1]):
                p = prior[n, k]
                evidence += p * density[row, k]
                first += p * slope[row, k]
                second += p * curvature[row, k]
            first = first / evidence + 1.0
            second = second / evidence + 1.0
        out[0, n] = first
        out[1, n] = second
