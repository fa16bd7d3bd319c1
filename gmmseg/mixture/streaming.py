"""EM on data larger than memory: moments block by block, and stepwise EM.

A pass of EM needs sums alone, so blocks may come from a file, a generator or a cluster; the
answer is that of all samples at once, but for the order of sums.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from gmmseg.checks import InputError
from gmmseg.mixture import em
from gmmseg.mixture.blocks import reduce_blocks
from gmmseg.mixture.model import Mixture, as_samples
from gmmseg.mixture.moments import Moments, Terms

READ_ONCE = (
    "an iterator can be read only once, and EM reads the samples in each iteration. "
    "Give a function that returns a fresh iterator, or call partial_fit on each block."
)


def stream_step(X: Any) -> Callable[[Mixture, Terms], Moments]:
    """The E-step of a stream, as :func:`gmmseg.mixture.em.iterate` wants it.

    Parameters
    ----------
    X : callable or dask array
        A function without arguments that returns a fresh iterator over blocks, each an
        (N, C) array or a pair of samples and their (N,) weights; or a dask array, whose
        blocks are reduced where they are, on the scheduler in use.

    Raises
    ------
    InputError
        For an iterator that can be read only once, or a stream without blocks.
    """
    if hasattr(X, "__next__"):
        raise InputError(READ_ONCE)

    def step(mixture: Mixture, terms: Terms) -> Moments:
        total = reduce_blocks(X, functools.partial(block_moments, mixture, terms))
        return replace(total, reference=mixture.means)

    return step


def fit_stream(X: Any, start: Mixture, **options: Any) -> em.Fit:
    """Fit a mixture to samples that come in blocks.

    Parameters
    ----------
    X : callable or dask array
        See :func:`stream_step`.
    start : Mixture
    **options
        ``variance_prior``, ``covariance_type``, ``blur``, ``max_iter``, ``tol`` and
        ``on_iteration`` of :func:`gmmseg.mixture.em.fit`.

    Returns
    -------
    em.Fit

    Examples
    --------
    >>> values = np.random.default_rng(0).normal(5, 2, (1000, 1))
    >>> start = Mixture([1.0], [[0.0]], [[[1.0]]])
    >>> whole = em.fit(values, start).mixture
    >>> parts = fit_stream(lambda: iter(np.array_split(values, 7)), start).mixture
    >>> bool(np.allclose(whole.covariances, parts.covariances))
    True
    """
    return em.iterate(stream_step(X), start, **options)


def block_moments(
    mixture: Mixture, terms: Terms, samples: np.ndarray, weight: np.ndarray | None
) -> Moments:
    """Moments of one block."""
    samples, weight, _ = em.checked(as_samples(samples, mixture.n_channels), mixture, weight, None)
    return em.stepper(samples, weight, None)(mixture, terms)


class Stepwise:
    """Stepwise EM: running averages of moments, one block after the other.

    Parameters
    ----------
    start : Mixture
    decay : float
        A block counts with weight (t + 2)^-decay; between 0.5 and 1.

    References
    ----------
    .. [1] Cappe & Moulines (2009), *J. R. Stat. Soc. B* 71, 593-613,
       doi 10.1111/j.1467-9868.2009.00698.x.
    """

    def __init__(self, start: Mixture, decay: float = 0.7) -> None:
        self.mixture, self.decay, self.n_blocks = start, decay, 0
        self.weight_seen = 0.0
        self._origin = start.means[np.zeros(start.n_components, dtype=int)]
        self._average: Moments | None = None

    def update(self, moments: Moments, **options: Any) -> Mixture:
        """Take in the moments of one more block; returns the mixture that follows."""
        block = moments.about(self._origin).scaled(1 / moments.total)
        rate = (self.n_blocks + 2.0) ** -self.decay if self.n_blocks else 1.0
        if self._average is None:
            self._average = block
        else:
            self._average = self._average.scaled(1 - rate) + block.scaled(rate)
        self.n_blocks += 1
        self.weight_seen += moments.total
        seen = self._average.scaled(self.weight_seen)  # a prior weighs less as samples gather
        self.mixture = em.update(seen, self.mixture, **options)
        return self.mixture
