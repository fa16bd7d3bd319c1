"""Samples in blocks: functions that give them, dask arrays, and arrays cut into slabs."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import numpy as np

from gmmseg.checks import InputError
from gmmseg.mixture.libraries import one_blas_thread
from gmmseg.mixture.settings import weights_for

Blocks = Callable[[], Iterable[Any]]
T = TypeVar("T")
_ROWS = 2**16
_NO_BLOCK = "the stream of samples holds no block."


def is_stream(X: Any) -> bool:
    """Whether X comes in blocks: a function that gives them, an iterator, or a dask array."""
    return callable(X) or hasattr(X, "map_blocks") or hasattr(X, "__next__")


def refuse_weights(sample_weight: Any) -> None:
    """Raise InputError if weights are given beside a stream, where none would read them."""
    if sample_weight is not None:
        raise InputError(
            "sample_weight cannot go beside a stream; let it give pairs of a block and its weights."
        )


def n_columns(X: Any) -> int:
    """Number of channels of an array, or of the first block of a stream."""
    if hasattr(X, "map_blocks") or not is_stream(X):
        return int(np.shape(X)[1]) if np.ndim(X) == 2 else 1
    for block in _blocks(X):
        return int(_split(block)[0].shape[1])
    raise InputError(_NO_BLOCK)


def reduce_blocks(X: Any, task: Callable[[np.ndarray, np.ndarray | None], T]) -> T:
    """Sum over blocks of what a task makes of samples and their weights.

    The blocks of a dask array are reduced where they are, on the scheduler in use.
    """
    total: Any = None
    for part in _parts(X, task):
        total = part if total is None else total + part
    if total is None:
        raise InputError(_NO_BLOCK)
    return total


def joined(X: Any, task: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """What a task makes of each block, one after the other."""
    parts = list(_parts(X, functools.partial(_without_weight, task)))
    if not parts:
        raise InputError(_NO_BLOCK)
    return np.concatenate(parts)


def rows_to_start_from(
    X: Any, most: int, state: np.random.RandomState
) -> tuple[np.ndarray, np.ndarray | None]:
    """At most so many samples of a stream, drawn as from an array, and their weights."""
    n = reduce_blocks(X, _length)
    rows = np.arange(n)
    if n > most:
        rows = np.sort(state.choice(n, most, replace=False))
    if hasattr(X, "map_blocks"):
        known = X.compute_chunk_sizes() if np.isnan(X.shape[0]) else X
        return np.asarray((known[rows] if n > most else known).compute()), None
    parts, weights, first = [], [], 0
    for block in _blocks(X):
        samples, weight = _split(block)
        last = first + len(samples)
        here = rows[slice(*np.searchsorted(rows, [first, last]))] - first
        parts.append(samples[here])
        weights.append(np.ones(len(here)) if weight is None else weight[here])
        first = last
    weighted = any((part != 1).any() for part in weights)
    return np.concatenate(parts), np.concatenate(weights) if weighted else None


def mean_and_covariance(X: Any) -> tuple[float, np.ndarray, np.ndarray]:
    """Total weight, mean and unbiased covariance of a stream; NaN counts as the mean."""
    n, known, sums = reduce_blocks(X, _first_moments)
    if not np.isfinite(sums).all():
        raise InputError("samples hold infinite values; set them to NaN to have them missing.")
    mean = np.divide(sums, known, out=np.zeros_like(sums), where=known > 0)
    scatter = reduce_blocks(X, functools.partial(_scatter_about, mean))
    return float(n.max()), mean, scatter / max(float(n.max()) - 1, 1e-300)


def slabs_of(X: np.ndarray, sample_weight: np.ndarray | None) -> Blocks:
    """An array as a stream of blocks."""
    rows = range(0, len(X), _ROWS)
    if sample_weight is None:
        return lambda: (X[a : a + _ROWS] for a in rows)
    return lambda: ((X[a : a + _ROWS], sample_weight[a : a + _ROWS]) for a in rows)


def _parts(X: Any, task: Callable[[np.ndarray, np.ndarray | None], T]) -> Iterator[T]:
    if not hasattr(X, "map_blocks"):
        for block in _blocks(X):
            yield task(*_split(block))
        return
    X = X.rechunk({1: -1})
    boxes = X.map_blocks(
        _boxed, task, dtype=object, chunks=((1,) * X.numblocks[0], (1,)),
        meta=np.empty((0, 0), dtype=object),
    ).compute()  # fmt: skip
    yield from boxes[:, 0]


def _boxed(samples: np.ndarray, task: Callable[[np.ndarray, None], Any]) -> np.ndarray:
    """What becomes of a block as the only element of an array, which is what dask passes on."""
    box = np.empty((1, 1), dtype=object)
    box[0, 0] = task(samples, None)
    return box


def _blocks(X: Any) -> Iterable[Any]:
    blocks = X() if callable(X) else X
    if isinstance(blocks, np.ndarray):
        raise InputError("a stream must give an iterator over blocks; got a single array.")
    return blocks


def _length(samples: np.ndarray, _: np.ndarray | None) -> int:
    return len(samples)


def _without_weight(
    task: Callable[[np.ndarray], np.ndarray], samples: np.ndarray, _: np.ndarray | None
) -> np.ndarray:
    return task(samples)


def _first_moments(samples: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
    """Total weight, that of values there are, and their weighted sums; (3, C)."""
    w = np.ones(len(samples)) if weight is None else weight
    there = ~np.isnan(samples)
    with one_blas_thread():
        sums = w @ np.where(there, samples, 0.0)
        return np.stack([np.full(samples.shape[1], w.sum()), w @ there, sums])


def _scatter_about(mean: np.ndarray, samples: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
    residual = samples - mean
    residual[np.isnan(residual)] = 0.0
    weighted = residual if weight is None else residual * weight[:, None]
    with one_blas_thread():
        return weighted.T @ residual


def _split(block: Any) -> tuple[np.ndarray, np.ndarray | None]:
    if not isinstance(block, tuple):
        return np.asarray(block), None
    samples = np.asarray(block[0])
    return samples, weights_for(block[1], len(samples), empty=True)
