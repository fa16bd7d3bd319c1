"""Compiled kernels on several threads, each over a range of its own.

Kernels are compiled for one thread and let go of the interpreter. A kernel that splits its own
loops takes numba three times as long to compile, and most of a first run is compiling.
"""

from __future__ import annotations

import collections
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any

import numba

SHARES = 4  # ranges a thread: some take longer than others
N_BLOCKS = 16
"""Blocks of samples whose sums are added in order: fixed, so that the number of threads changes no
bit of them."""

_pool: ThreadPoolExecutor | None = None


def use_threads(threads: int | None) -> None:
    """Let kernels that this thread starts run on so many threads; None leaves that as it is."""
    if threads is not None:
        numba.set_num_threads(min(threads, _most()))


@contextmanager
def on_threads(threads: int | None) -> Iterator[None]:
    """:func:`use_threads` until the block ends."""
    before = n_threads()
    use_threads(threads)
    try:
        yield
    finally:
        numba.set_num_threads(before)


def n_threads() -> int:
    """On how many threads kernels run that this thread starts."""
    return int(numba.get_num_threads())


def _most() -> int:
    return int(numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]


def spread(kernel: Callable[..., None], n: int, *args: Any) -> None:
    """Call a kernel over ranges that together are 0 to ``n``, on as many threads as numba may use.

    Parameters
    ----------
    kernel : callable
        Called as ``kernel(first, stop, *args)``. It lets go of the interpreter, and what it writes
        for one number does not depend on what it is given with it, so that the result is the same
        for any number of threads.
    n : int
    *args
        What else the kernel wants.

    Examples
    --------
    >>> import numpy as np
    >>> def square(first, stop, out):
    ...     for i in range(first, stop):
    ...         out[i] = i**2
    >>> out = np.zeros(6, int)
    >>> spread(square, 6, out)
    >>> out.tolist()
    [0, 1, 4, 9, 16, 25]
    """
    threads = min(n_threads(), n)
    if threads < 2:
        kernel(0, n, *args)
        return
    size = max(1, n // (SHARES * threads))
    # The next of a range is one step of the interpreter: no two threads get the same.
    starts = iter(range(0, n, size))
    others = [_workers().submit(_work, kernel, starts, size, n, args) for _ in range(threads - 1)]
    try:
        _work(kernel, starts, size, n, args)
    finally:  # nothing is written any more when this returns, also on Ctrl-C
        # What has not begun by now has nothing left to do.
        running = [other for other in others if not other.cancel()]
        wait(running)
    for other in running:
        other.result()


def spread_blocks(kernel: Callable[..., None], n: int, *args: Any) -> None:
    """Call a kernel over ``N_BLOCKS`` blocks that together are 0 to ``n``, as :func:`spread` does.

    Called as ``kernel(block, first, stop, *args)``, it writes its sums at index ``block``.
    """

    def blocks(low: int, high: int) -> None:
        for block in range(low, high):
            kernel(block, block * n // N_BLOCKS, (block + 1) * n // N_BLOCKS, *args)

    spread(blocks, N_BLOCKS)


def spread_calls(function: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
    """What a function makes of each item, in their order, on as many threads as numba may use.

    Each call stays on one thread, with the kernels that it spreads: for work that is a long row of
    small kernels, each of which would be done before a second thread has woken up.

    Examples
    --------
    >>> spread_calls(abs, [-1, 2, -3])
    [1, 2, 3]
    """
    results: list[Any] = [None] * len(items)

    def alone(first: int, stop: int) -> None:
        with on_threads(1):
            for i in range(first, stop):
                results[i] = function(items[i])

    spread(alone, len(items))
    return results


def _work(
    kernel: Callable[..., None], starts: Iterator[int], size: int, n: int, args: tuple[Any, ...]
) -> None:
    try:
        for first in starts:
            kernel(first, min(first + size, n), *args)
    except BaseException:
        collections.deque(starts, maxlen=0)  # the others stop after the range that they are at
        raise


def _workers() -> ThreadPoolExecutor:
    global _pool
    if _pool is None:
        _pool = ThreadPoolExecutor(_most(), thread_name_prefix="gmmseg")
    return _pool


def _forget() -> None:
    global _pool
    _pool = None


if hasattr(os, "register_at_fork"):  # threads do not follow into a forked process
    os.register_at_fork(after_in_child=_forget)
