"""One pass over the samples: their moments, or their responsibilities.

Samples are taken in chunks whose number depends on their count alone, and chunk sums are
added in order, so the result is the same to the last bit for any number of threads. A few
channels go through one compiled pass; many go through matrix products, chunk by chunk.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numba
import numpy as np

from gmmseg.mixture import kernels
from gmmseg.mixture.libraries import one_blas_thread
from gmmseg.mixture.moments import Moments, Terms

FUSED_CHANNELS = 8  # above, matrix products are faster than the compiled pass
T = TypeVar("T")
_NONE_1 = np.empty(0)
_NONE_2 = np.empty((0, 0))


def e_step(
    samples: np.ndarray,
    terms: Terms,
    *,
    sample_weight: np.ndarray | None = None,
    log_prior: np.ndarray | None = None,
) -> Moments:
    """One pass over all samples: responsibilities, and their moments.

    Parameters
    ----------
    samples : (N, C) float32 or float64 ndarray
    terms : Terms
    sample_weight : (N,) ndarray, optional
    log_prior : (N, K) ndarray, optional
        Takes the place of the log weights.

    Returns
    -------
    Moments
        With the diagonal of the scatter alone if the terms are diagonal and the channels
        many.
    """
    work = _Work(samples, terms, sample_weight, log_prior)
    parts = in_order(work.moments, work.chunks, blas=not work.fused)
    total = next(parts)
    for part in parts:
        total = total + part
    return total.blurred(terms.blur) if terms.blur else total


def responsibilities(
    samples: np.ndarray, terms: Terms, *, log_prior: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Posteriors (N, K) and log evidence (N,) of all samples, float64."""
    work = _Work(samples, terms, None, log_prior)
    posterior = np.empty((len(samples), len(terms.means)))
    evidence = np.empty(len(samples))
    for _ in in_order(
        lambda chunk: work.posteriors(chunk, posterior, evidence),
        work.chunks,
        blas=not work.fused,
    ):
        pass
    return posterior, evidence


class _Work:
    """Samples and terms made ready for a chunk at a time."""

    def __init__(
        self,
        samples: np.ndarray,
        terms: Terms,
        sample_weight: np.ndarray | None,
        log_prior: np.ndarray | None,
    ) -> None:
        n, c = samples.shape
        k = len(terms.means)
        self.samples, self.terms = samples, terms
        self.weight = _NONE_1 if sample_weight is None else sample_weight
        self.log_prior = _NONE_2 if log_prior is None else log_prior
        self.fused = c <= FUSED_CHANNELS
        self.constants = terms.constants.copy()
        if log_prior is None:
            self.constants += terms.log_weights
        # A common origin keeps squares small; any fixed point serves.
        self.centre = np.average(terms.means, axis=0)
        self.means = terms.means - self.centre
        # A chunk is one task; its number depends on N alone. A tile of it is one product.
        rows = max(16 * kernels.TILE, -(-n // 64))
        self.chunks = [(a, min(a + rows, n)) for a in range(0, max(n, 1), rows)]
        self.tile = max(256, min(4096, 2**20 // max(k, 2 * c)))
        if self.fused:
            self.roots = np.ascontiguousarray(terms.full_roots())
        else:
            self.roots = terms.roots
        if not self.fused and terms.diagonal:
            precision = np.square(terms.roots)
            self.factors = np.hstack([-0.5 * precision, precision * self.means]).T
            self.constants -= 0.5 * (precision * np.square(self.means)).sum(axis=1)

    def moments(self, chunk: tuple[int, int]) -> Moments:
        k, c = self.means.shape
        first, last = chunk
        weight = self.weight[first:last] if self.weight.size else None
        total = float(weight.sum()) if weight is not None else float(last - first)
        if not self.fused:
            tiles = [
                self._moments_by_products(a, min(a + self.tile, last))
                for a in range(first, last, self.tile)
            ]
            return functools.reduce(Moments.__add__, tiles)
        counts, sums, scatter = np.zeros(k), np.zeros((k, c)), np.zeros((k, c, c))
        log_likelihood = kernels.e_pass(
            self.samples, first, last, self.centre, self.means, self.roots, self.constants,
            self.weight, self.log_prior, _NONE_2, _NONE_1, counts, sums, scatter,
        )  # fmt: skip
        scatter += np.tril(scatter, -1).transpose(0, 2, 1)
        return Moments(log_likelihood, total, counts, sums, scatter, self.terms.means)

    def posteriors(
        self, chunk: tuple[int, int], posterior: np.ndarray, evidence: np.ndarray
    ) -> None:
        first, last = chunk
        if self.fused:
            empty = np.empty((0, 0, 0))
            kernels.e_pass(
                self.samples, first, last, self.centre, self.means, self.roots, self.constants,
                _NONE_1, self.log_prior, posterior, evidence, _NONE_1, _NONE_2, empty,
            )  # fmt: skip
            return
        for a in range(first, last, self.tile):
            b = min(a + self.tile, last)
            joint, _ = self._joint_by_products(a, b)
            evidence[a:b] = kernels.softmax_rows(joint)
            posterior[a:b] = joint

    def _joint_by_products(self, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
        """Log joint (n, K), and the centred rows (n, C) or [x^2, x] (n, 2C) it came from."""
        x = self.samples[first:last] - self.centre
        c = x.shape[1]
        if self.roots.ndim == 2:
            rows = np.empty((len(x), 2 * c))
            np.square(x, out=rows[:, :c])
            rows[:, c:] = x
            joint = rows @ self.factors
            joint += self.constants
        else:
            rows = x.astype(np.float64, copy=False)
            joint = np.empty((len(x), len(self.means)))
            for k, root in enumerate(self.roots):
                white = (rows - self.means[k]) @ root.T
                np.einsum("nc,nc->n", white, white, out=joint[:, k])
            joint *= -0.5
            joint += self.constants
        if self.log_prior.size:
            joint += self.log_prior[first:last]
        return joint, rows

    def _moments_by_products(self, first: int, last: int) -> Moments:
        weight = self.weight[first:last] if self.weight.size else None
        total = float(last - first) if weight is None else float(weight.sum())
        joint, rows = self._joint_by_products(first, last)
        evidence = kernels.softmax_rows(joint)
        if weight is None:
            log_likelihood = float(evidence.sum())
        else:
            log_likelihood = float(evidence @ weight)
            joint *= weight[:, None]
        counts = joint.sum(axis=0)
        k, c = self.means.shape
        if self.roots.ndim == 2:
            raw = joint.T @ rows
            sums = raw[:, c:] - counts[:, None] * self.means
            scatter = raw[:, :c] - self.means * (raw[:, c:] + sums)
            return Moments(log_likelihood, total, counts, sums, scatter, self.terms.means)
        sums, scatter = np.empty((k, c)), np.empty((k, c, c))
        for j in range(k):
            residual = rows - self.means[j]
            weighted = joint[:, j, None] * residual
            sums[j] = weighted.sum(axis=0)
            scatter[j] = weighted.T @ residual
        return Moments(log_likelihood, total, counts, sums, scatter, self.terms.means)


def in_order(
    task: Callable[[tuple[int, int]], T], chunks: list[tuple[int, int]], *, blas: bool
) -> Iterator[T]:
    """Results of a task over chunks, in the order of chunks, on several threads."""
    threads = min(numba.get_num_threads(), len(chunks))
    if threads == 1 and not blas:
        for chunk in chunks:
            yield task(chunk)
        return
    with one_blas_thread(), ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[T]] = deque()
        for chunk in chunks:
            waiting.append(pool.submit(task, chunk))
            if len(waiting) > 2 * threads:  # keeps few results in memory
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
