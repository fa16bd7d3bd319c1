"""How far thresholds can be trusted: a band from the image itself, by resampling its blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np

from gmmseg.checks import InputError
from gmmseg.mixture.classes import coarsen
from gmmseg.mixture.ordered import ordered_classes
from gmmseg.spatial.levels import levels_of

BLOCKS = 64  # about so many in an image, 8 by 8 of a plane, 4 by 4 by 4 of a volume
_BINS = 512  # that a fit looks at


@dataclass(frozen=True, slots=True, eq=False)
class ThresholdBand:
    """Where the thresholds of another image of the same kind would lie.

    Attributes
    ----------
    low, high : (K - 1,) float64 ndarrays, image units
    above_low, above_high : (K - 1,) float64 ndarrays
        Share of the pixels above each end.
    level : float
        Share of such images whose threshold lies within.
    draws : (D, K - 1) float64 ndarray
        Thresholds of the resampled images.
    """

    low: np.ndarray
    high: np.ndarray
    above_low: np.ndarray
    above_high: np.ndarray
    level: float
    draws: np.ndarray


def threshold_band(
    image: np.ndarray,
    thresholds: np.ndarray,
    rng: np.random.Generator,
    *,
    mask: np.ndarray | None = None,
    families: Sequence[str] | str | None = None,
    linear: bool = False,
    n_draws: int = 200,
    level: float = 0.9,
    n_blocks: int = BLOCKS,
) -> ThresholdBand:
    r"""Band of thresholds by a bootstrap of blocks.

    The image is cut into blocks, as many are drawn from them with replacement, and classes are
    fitted to their common histogram, anew each time. Blocks, and not pixels, because neighbours
    are alike: an image holds far fewer independent pieces than pixels.

    Parameters
    ----------
    image : ndarray of two or three axes, or one of time before them; NaN outside of the mask only
    thresholds : (K - 1,) ndarray
        Of the whole image.
    rng : numpy.random.Generator
    mask : bool ndarray of the shape of the image, optional
    families, linear
        As the thresholds were found with; see :func:`gmmseg.mixture.ordered.ordered_classes`.
    n_draws, level, n_blocks
        Resampled images, share of them in the band, blocks aimed at.

    Returns
    -------
    ThresholdBand

    Raises
    ------
    InputError
        If the image is too small for blocks, or ``level`` is not between 0 and 1.

    Notes
    -----
    The spread of the draws, :math:`t^* - t`, is that of one image's threshold around the truth.
    Two images' thresholds lie :math:`\sqrt 2` times as far apart, so the ends of the band are
    :math:`t + \sqrt 2 \, (t^*_q - t)` with the quantiles of the draws.

    References
    ----------
    .. [1] Künsch (1989), doi 10.1214/aos/1176347265: the bootstrap of blocks.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> image = np.where(rng.random((128, 128)) < 0.2, 120, 60) + rng.normal(0, 10, (128, 128))
    >>> band = threshold_band(image, np.array([92.0]), rng, n_draws=50)
    >>> band.low.round(), band.high.round()
    (array([92.]), array([93.]))
    """
    cuts = np.asarray(thresholds, np.float64)
    if not 0 < level < 1 or n_draws < 2:
        raise InputError(
            f"level must lie between 0 and 1 and n_draws be 2 or more; got {level}, {n_draws}."
        )
    centres, blocks = _histograms(image, mask, n_blocks)
    draws = np.array([
        _refit(blocks, centres, len(cuts) + 1, rng, families, linear) for _ in range(n_draws)
    ])  # fmt: skip
    tail = (1 - level) / 2
    low, high = cuts + np.sqrt(2) * (np.quantile(draws, (tail, 1 - tail), axis=0) - cuts)
    low, high = np.minimum(low, cuts), np.maximum(high, cuts)
    known = np.asarray(image) if mask is None else np.asarray(image)[mask]
    above_low, above_high = (
        np.array([np.count_nonzero(known > cut) / known.size for cut in ends])
        for ends in (low, high)
    )
    return ThresholdBand(low, high, above_low, above_high, level, draws)


def _refit(
    blocks: np.ndarray,
    centres: np.ndarray,
    n_classes: int,
    rng: np.random.Generator,
    families: Sequence[str] | str | None,
    linear: bool,
) -> np.ndarray:
    """Thresholds of an image made of blocks drawn with replacement."""
    for _ in range(100):
        taken = rng.integers(len(blocks), size=len(blocks))
        counts = blocks[taken].sum(axis=0)
        used = counts > 0
        if np.count_nonzero(used) >= n_classes:
            fit = ordered_classes(
                counts[used], centres[used], n_classes, families=families, linear=linear
            )
            return fit.thresholds
    raise InputError("The image has too few values for a band of thresholds; leave it out.")


def _histograms(
    image: np.ndarray, mask: np.ndarray | None, n_blocks: int
) -> tuple[np.ndarray, np.ndarray]:
    """Bin centres (B,), and counts (blocks, B) of the blocks that hold a pixel."""
    image = np.asarray(image)
    levels = levels_of(image, mask)
    n_levels = len(levels.centres)
    inside = levels.index.ravel() if mask is None else levels.index[mask]
    total = np.bincount(inside, minlength=n_levels).astype(np.float64)
    _, centres, edges = coarsen(total, levels.centres, _BINS)
    to_bin = np.searchsorted(edges, levels.centres)
    rows = []
    for block in product(*(_cuts(n, parts) for n, parts in zip(
        image.shape, _parts(image.shape, n_blocks), strict=True
    ))):  # fmt: skip
        part = levels.index[block]
        part = part.ravel() if mask is None else part[mask[block]]
        if part.size:
            rows.append(np.bincount(to_bin[part], minlength=len(centres)))
    if len(rows) < 8:
        raise InputError(
            f"The image is too small for a band of thresholds: it makes {len(rows)} blocks, and 8 "
            f"are needed."
        )
    return centres, np.array(rows, dtype=np.float64)


def _parts(shape: tuple[int, ...], n_blocks: int) -> list[int]:
    """Parts of each axis: blocks about as long as wide, about ``n_blocks`` of them.

    >>> _parts((800, 800), 64), _parts((4, 400, 400), 64), _parts((100, 1600), 64)
    ([8, 8], [1, 8, 8], [2, 32])
    """
    side = (np.prod(shape, dtype=float) / n_blocks) ** (1 / len(shape))
    flat = [n for n in shape if n < side]  # not cut; the others make up for them
    if flat and len(flat) < len(shape):
        rest = [n for n in shape if n >= side]
        side = (np.prod(rest, dtype=float) / n_blocks) ** (1 / len(rest))
    return [1 if n in flat else max(1, round(n / side)) for n in shape]


def _cuts(n: int, parts: int) -> list[slice]:
    ends = np.linspace(0, n, min(parts, n) + 1).round().astype(int)
    return [slice(int(a), int(b)) for a, b in pairwise(ends)]
