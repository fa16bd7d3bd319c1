"""Data larger than memory: moments block by block, and stepwise EM.

A pass of EM needs sums alone, so blocks may come from a file, a generator or a cluster; the
answer is that of all samples at once, but for the order of sums.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from gmmseg.checks import InputError
from gmmseg.mixture import em
from gmmseg.mixture.model import Mixture, as_samples
from gmmseg.mixture.moments import Moments, Terms

Blocks = Callable[[], Iterable[Any]]


def is_stream(X: Any) -> bool:
    """Whether X comes in blocks: a function that gives them, or a dask array."""
    return callable(X) or hasattr(X, "map_blocks") or hasattr(X, "__next__")


def first_block(X: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """Samples and weights of the first block, from which a start is made."""
    if hasattr(X, "map_blocks"):
        return np.asarray(X.blocks[0].compute()), None
    for block in _blocks(X):
        return _split(block)
    raise InputError("the stream of samples holds no block.")


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
    if hasattr(X, "map_blocks"):
        return _dask_step(X)
    if hasattr(X, "__next__"):
        raise InputError(
            "an iterator can be read only once, and EM reads the samples in each iteration. "
            "Give a function that returns a fresh iterator, or call partial_fit on each block."
        )

    def step(mixture: Mixture, terms: Terms) -> Moments:
        total = None
        for block in _blocks(X):
            samples, weight = _split(block)
            part = block_moments(samples, weight, mixture, terms)
            total = part if total is None else total + part
        if total is None:
            raise InputError("the stream of samples holds no block.")
        return total

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
    samples: np.ndarray, weight: np.ndarray | None, mixture: Mixture, terms: Terms
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


def _dask_step(X: Any) -> Callable[[Mixture, Terms], Moments]:
    X = X.rechunk({1: -1})

    def step(mixture: Mixture, terms: Terms) -> Moments:
        parts = X.map_blocks(
            _boxed_moments, mixture, terms, dtype=object,
            chunks=((1,) * X.numblocks[0], (1,)), meta=np.empty((0, 0), dtype=object),
        ).compute()  # fmt: skip
        total = parts[0, 0]
        for part in parts[1:, 0]:
            total = total + part
        return replace(total, reference=mixture.means)

    return step


def _boxed_moments(samples: np.ndarray, mixture: Mixture, terms: Terms) -> np.ndarray:
    """One block's moments as the only element of an array, which is what dask passes on."""
    box = np.empty((1, 1), dtype=object)
    box[0, 0] = block_moments(samples, None, mixture, terms)
    return box


def _blocks(X: Any) -> Iterable[Any]:
    blocks = X()
    if isinstance(blocks, np.ndarray):
        raise InputError("a stream must give an iterator over blocks; got a single array.")
    return blocks


def _split(block: Any) -> tuple[np.ndarray, np.ndarray | None]:
    if isinstance(block, tuple):
        samples, weight = block
        return np.asarray(samples), np.asarray(weight, dtype=np.float64)
    return np.asarray(block), None
