"""Threads of the libraries below us. One of them, so that sums have one order.

A product split over threads may add in another order, and then the last bits of a result
would depend on the machine. The engine splits work itself, into chunks that do not.
"""

from __future__ import annotations

import functools
from contextlib import AbstractContextManager
from importlib import import_module

from threadpoolctl import ThreadpoolController


def one_blas_thread() -> AbstractContextManager[object]:
    """Matrix products run on the calling thread inside this context."""
    return _controller().limit(limits=1, user_api="blas")


def one_library_thread() -> AbstractContextManager[object]:
    """Matrix products and OpenMP loops of other libraries run on one thread."""
    return _later_controller().limit(limits=1)


@functools.cache
def _controller() -> ThreadpoolController:
    import_module("scipy.linalg.blas")  # whose library is another than NumPy's, and loaded later
    return ThreadpoolController()


@functools.cache
def _later_controller() -> ThreadpoolController:
    """Made when first needed, by when scikit-learn has loaded OpenMP."""
    return ThreadpoolController()
