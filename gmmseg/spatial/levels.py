"""An image as levels: what depends on intensity alone becomes a table, looked up pixel by pixel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from gmmseg.bins import told_apart
from gmmseg.mixture.histogram import check_bins, weighted_bins
from gmmseg.threads import spread

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
        index = self.index.reshape(-1)
        spread(_look_up, len(index), index, rows, out.reshape(-1, rows.shape[1]))
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


@dataclass(frozen=True, slots=True)
class Grid:
    """Equally spaced levels: whole numbers as they are, or bins.

    Attributes
    ----------
    low : float
        The lowest level, or the lower end of the lowest bin, image units.
    step : float
        Distance of levels, image units.
    n : int
        How many there are.
    whole : bool
        Whether levels are whole numbers.
    """

    low: float
    step: float
    n: int
    whole: bool

    @classmethod
    def between(cls, low: float, high: float, *, whole: bool) -> Grid:
        """Levels for intensities from ``low`` to ``high``."""
        if low == high:
            return cls(low, 1.0, 1, True)
        if whole and told_apart(low, high) and high - low < MOST_LEVELS:
            return cls(low, 1.0, int(high - low) + 1, True)
        check_bins(low, high, FLOAT_LEVELS)
        return cls(low, (high - low) / FLOAT_LEVELS, FLOAT_LEVELS, False)

    @property
    def centres(self) -> np.ndarray:
        """(n,) float64 ndarray, rising, image units."""
        return self.low + self.step * (np.arange(self.n) + (0.0 if self.whole else 0.5))

    def index(self, image: np.ndarray) -> np.ndarray:
        """Level of each pixel: uint16 of the shape of the image; 0 for NaN."""
        out = np.empty(image.shape, np.uint16)
        flat = np.ascontiguousarray(image).reshape(-1)
        half = 0.5 if self.whole else 0.0
        spread(_quantise, len(flat), flat, self.low, self.step, self.n - 1, half, out.reshape(-1))
        return out


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
    known = image if mask is None else image[mask]
    low, high = float(known.min()), float(known.max())
    whole = image.dtype.kind in "iu" or bool((known == np.rint(known)).all())
    if image.dtype == np.uint16:
        return Levels(image, np.arange(float(image.max()) + 1))
    grid = Grid.between(low, high, whole=whole)
    return Levels(grid.index(image), grid.centres, grid.whole)


def histogram_of(
    image: np.ndarray, mask: np.ndarray | None, n_bins: int
) -> tuple[np.ndarray, np.ndarray]:
    """Centres (B,) and counts (B,) of the occupied bins of an image within its mask."""
    centres, counts = weighted_bins(image if mask is None else image[mask], n_bins)
    return centres[:, 0], counts


@njit(cache=True, nogil=True)
def _look_up(first: int, stop: int, index: np.ndarray, table: np.ndarray, out: np.ndarray) -> None:
    for n in range(first, stop):
        for c in range(table.shape[1]):
            out[n, c] = table[index[n], c]


@njit(cache=True, nogil=True)
def _quantise(
    first: int,
    stop: int,
    image: np.ndarray,
    low: float,
    step: float,
    last: int,
    half: float,
    out: np.ndarray,
) -> None:
    for n in range(first, stop):
        level = (np.float64(image[n]) - low) / step + half
        out[n] = int(min(max(level, 0.0), last)) if level == level else 0
