"""Ranges over threads: all of a kernel's work once, in whatever order, and errors that come out."""

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gmmseg import threads
from gmmseg.threads import N_BLOCKS, spread, spread_blocks, spread_calls, use_threads


@pytest.fixture
def two(several_threads):
    """Two threads, however many there are."""
    numba.set_num_threads(2)


def count(first, stop, out):
    out[first:stop] += 1


@given(st.integers(0, 300))
def test_every_number_is_worked_on_once(n):
    out = np.zeros(n, int)
    spread(count, n, out)
    assert (out == 1).all()


@given(st.integers(0, 300))
def test_blocks_cover_all_samples_once_and_each_knows_its_own(n):
    out, own = np.zeros(n, int), np.zeros(N_BLOCKS, int)

    def kernel(block, first, stop):
        out[first:stop] += 1
        own[block] += stop - first

    spread_blocks(kernel, n)
    assert (out == 1).all()
    assert own.sum() == n
    assert np.ptp(own) <= 1


def test_calls_on_two_threads_answer_in_the_order_of_their_items_each_on_one_thread(two):
    met = threading.Barrier(2, timeout=20)

    def ask(item):
        met.wait()  # breaks, and with it the test, if one thread does all
        return item, numba.get_num_threads()

    assert spread_calls(ask, "abcd") == [(letter, 1) for letter in "abcd"]
    assert numba.get_num_threads() == 2


def test_two_threads_work_at_the_same_time(two):
    met = threading.Barrier(2, timeout=20)

    def kernel(first, stop):
        if first in (0, 1):
            met.wait()  # breaks, and with it the test, if one thread does both

    spread(kernel, 2)


def test_one_thread_gets_all_of_it_in_one_go():
    before, calls = numba.get_num_threads(), []
    try:
        use_threads(1)
        spread(lambda first, stop: calls.append((first, stop)), 50)
    finally:
        numba.set_num_threads(before)
    assert calls == [(0, 50)]


@pytest.mark.parametrize("here", [True, False])
def test_an_error_on_any_thread_comes_out(two, here):
    caller, met = threading.get_ident(), threading.Barrier(2, timeout=20)

    def kernel(first, stop):
        met.wait()  # one range for each thread
        if (threading.get_ident() == caller) == here:
            raise ValueError("seven")

    with pytest.raises(ValueError, match="seven"):
        spread(kernel, 2)


def test_nothing_runs_on_after_an_interrupt(two):
    caller, ended = threading.get_ident(), []
    met = threading.Barrier(2, timeout=20)

    def kernel(first, stop):
        met.wait()
        if threading.get_ident() == caller:
            raise KeyboardInterrupt
        time.sleep(0.1)
        ended.append(first)

    with pytest.raises(KeyboardInterrupt):
        spread(kernel, 2)
    assert len(ended) == 1


def test_nothing_runs_on_after_an_error_on_one_of_many_threads(monkeypatch):
    """Not on those either that come after the one that failed; and nobody begins anything new."""
    met, ended, n = threading.Barrier(4, timeout=20), [], 400
    monkeypatch.setattr(threads, "n_threads", lambda: 4)
    with ThreadPoolExecutor(4) as pool:
        monkeypatch.setattr(threads, "_pool", pool)

        def kernel(first, stop):
            if first < 100:  # the first range of each thread
                met.wait()
            if first == 25:
                raise ValueError("seven")
            time.sleep(0.1)
            ended.append(first)

        with pytest.raises(ValueError, match="seven"):
            spread(kernel, n)
        at_once = len(ended)
        time.sleep(0.3)
        assert len(ended) == at_once
        assert at_once < 10  # of sixteen ranges


def test_who_finds_all_workers_busy_does_it_alone(two):
    most = numba.config.NUMBA_NUM_THREADS
    free, out = threading.Event(), np.zeros(10, int)
    busy = [threads._workers().submit(free.wait, 20) for _ in range(most)]
    spread(count, 10, out)
    assert not any(one.done() for one in busy)
    free.set()
    assert (out == 1).all()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_process_makes_threads_of_its_own(two):
    spread(lambda first, stop: None, 8)
    assert threads._pool is not None
    child = os.fork()
    if child == 0:  # pragma: no cover, in another process
        out = np.zeros(100, int)
        spread(count, 100, out)
        os._exit(0 if (out == 1).all() else 1)
    for _ in range(200):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        time.sleep(0.1)
    else:
        os.kill(child, 9)
        os.waitpid(child, 0)
        pytest.fail("the forked process hangs")
    assert status == 0


def test_products_of_scipy_run_on_one_thread_too():
    """Whose library is another than NumPy's, and may be loaded after that was asked for."""
    code = (
        "import numpy\n"
        "from threadpoolctl import threadpool_info\n"
        "from gmmseg.mixture.libraries import one_blas_thread\n"
        "with one_blas_thread():\n"
        "    pass\n"
        "import scipy.linalg\n"
        "with one_blas_thread():\n"
        "    print(*{i['num_threads'] for i in threadpool_info() if i['user_api'] == 'blas'})"
    )
    threads = {"OPENBLAS_NUM_THREADS": "2", "MKL_NUM_THREADS": "2", "OMP_NUM_THREADS": "2"}
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **threads},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.split() == ["1"]
