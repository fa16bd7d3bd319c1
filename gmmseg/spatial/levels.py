"""An image as levels: what depends on intensity alone becomes a table, looked up pixel by pixel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit, prange

from gmmseg.mixture.histogram import weighted_bins

MOST_LEVELS = 2**16
FLOAT_LEVELS = 4096


@dataclass(frozen=True, slots=True, eq=False)
class Levels:
    """Levels of an image.

    Attributes
    ----------
    index : uint8 or uint16 ndarray of the shape of the image
        Level of each pixel; any level outside of the mask.
    centres : (L,) float64 ndarray, rising, image units
    exact : bool
        Whether a pixel's value is that of its level, not merely near it.
    """

    index: np.ndarray
    centres: np.ndarray
    exact: bool = True

    def look_up(self, table: np.ndarray) -> np.ndarray:
        """Row of ``table`` (L,) or (L, K) of each pixel: the shape of the image, then K."""
        table = np.ascontiguousarray(table)
        out = np.empty((*self.index.shape, *table.shape[1:]), table.dtype)
        rows = table.reshape(len(table), -1)
        _look_up(self.index.reshape(-1), rows, out.reshape(-1, rows.shape[1]))
        return out

    def exceeding(self, image: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
        """How many thresholds each pixel of the image of these levels exceeds; uint8."""
        if self.exact:
            number = np.searchsorted(thresholds, self.centres, "left")
            return self.look_up(number.astype(np.uint8))
        total = np.zeros(image.shape, np.uint8)
        for cut in thresholds:  # a float64, which a float32 pixel is not rounded to
            total += image > cut
        return total


def levels_of(image: np.ndarray, mask: np.ndarray | None = None) -> Levels:
    """Levels of an image: its own where they are whole numbers that span 65,536, else 4096 bins.

    Parameters
    ----------
    image : ndarray of real numbers; NaN is allowed outside of the mask only
    mask : bool ndarray of the shape of the image, optional
        Pixels whose intensities set the range.

    Returns
    -------
    Levels
    """
    image = np.asarray(image)
    if image.dtype == np.uint8:
        return Levels(image, np.arange(256.0))
    if image.dtype.kind == "u" and image.dtype.itemsize == 2:
        return Levels(image, np.arange(float(image.max()) + 1))
    known = image if mask is None else image[mask]
    low, high = float(known.min()), float(known.max())
    whole = image.dtype.kind in "iu" or bool((known == np.rint(known)).all())
    if whole and high - low < MOST_LEVELS:
        index, step = np.empty(image.shape, np.uint16), 1.0
        centres = low + np.arange(int(high - low) + 1)
    else:
        step = (high - low) / FLOAT_LEVELS
        centres = low + step * (np.arange(FLOAT_LEVELS) + 0.5)
        index = np.empty(image.shape, np.uint16)
    flat = np.ascontiguousarray(image).reshape(-1)
    _quantise(flat, low, step, len(centres) - 1, 0.5 if step == 1.0 and whole else 0.0,
              index.reshape(-1))  # fmt: skip
    return Levels(index, centres, whole and high - low < MOST_LEVELS)


def histogram_of(
    image: np.ndarray, mask: np.ndarray | None, n_bins: int
) -> tuple[np.ndarray, np.ndarray]:
    """Centres (B,) and counts (B,) of the occupied bins of an image within its mask."""
    centres, counts = weighted_bins(image if mask is None else image[mask], n_bins)
    return centres[:, 0], counts


@njit(cache=True, parallel=True, nogil=True)
def _look_up(index: np.ndarray, table: np.ndarray, out: np.ndarray) -> None:
    for n in prange(len(index)):
        for c in range(table.shape[1]):
            out[n, c] = table[index[n], c]


@njit(cache=True, parallel=True, nogil=True)
def _quantise(
    image: np.ndarray, low: float, step: float, last: int, half: float, out: np.ndarray
) -> None:
    for n in prange(len(image)):
        level = (np.float64(image[n]) - low) / step + half
        out[n] = int(min(max(level, 0.0), last)) if level == level else 0
