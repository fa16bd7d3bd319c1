"""Signals that end a program: let through where nothing is lost by it, held where something is."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from inspect import currentframe
from threading import Thread, Timer, current_thread, main_thread
from types import FrameType
from typing import Any

ENDING = ("SIGTERM", "SIGHUP", "SIGINT")  # Windows has no SIGHUP
_AGAIN = 0.05  # seconds until a signal is tried again that came at a bad moment
_GRACE = 3.0  # seconds that other threads have to come to an end
_FRAGILE = (
    "<frozen importlib",
    f"numba{os.sep}core{os.sep}",
    f"llvmlite{os.sep}binding{os.sep}",
)
"""What the names of files have of code that no exception may come to."""
_CODE = 128  # exit codes count from here, as shells have it


def stop_by_exceptions() -> None:
    """Let every signal that ends a command raise, so that temporary files are removed.

    Ctrl-C raises KeyboardInterrupt, the others SystemExit. While a module is being imported, or a
    kernel compiled or found in the cache, they wait: both have calls of their own that swallow
    exceptions, and locks that stay held if one comes between taking the lock and what would give it
    back, so that another thread waits for ever. Raised where Python has no one to raise it to, as
    in the end of an object, they come again.
    Signals that are ignored, as after nohup, or have another handler are left alone.
    """
    here = _fragile(currentframe())  # of a script that is itself imported
    for name in ENDING:
        number = getattr(signal, name, None)
        usual = (signal.SIG_DFL, signal.default_int_handler)
        if number is not None and signal.getsignal(number) in usual:
            signal.signal(number, partial(_stop, here))
    if not (isinstance(sys.unraisablehook, partial) and sys.unraisablehook.func is _unraisable):
        sys.unraisablehook = partial(_unraisable, sys.unraisablehook)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Ctrl-C and the like wait until the block ends: they would lose what is being moved.

    Where the block fails they are dropped; what it failed of ends the work as well, and says more.
    """
    if current_thread() is not main_thread():  # where no signal arrives
        yield
        return
    missed: list[int] = []
    held = [getattr(signal, name) for name in ENDING if hasattr(signal, name)]
    usual = {
        number: signal.signal(number, lambda number, _: missed.append(number))
        for number in held
        if signal.getsignal(number) is not None  # which could not be put back
    }
    try:
        yield
    except BaseException:
        _restore(usual)
        raise
    _restore(usual)
    for number in held:
        if number in missed:
            signal.raise_signal(number)


def _restore(handlers: dict[int, Any]) -> None:
    """Let signals have their handlers back, all of them even if one arrives meanwhile."""
    if not handlers:
        return
    number, handler = handlers.popitem()
    try:
        signal.signal(number, handler)
    finally:
        _restore(handlers)


def _stop(usual: int, number: int, frame: FrameType | None) -> None:
    if _fragile(frame) > usual and _later(number):
        return
    with suppress(RuntimeError):  # no thread can be had
        Thread(target=_end, args=(_CODE + number,), daemon=True).start()
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    sys.exit(_CODE + number)


def _end(code: int) -> None:
    """End the process once its main thread has, whatever the others wait for.

    An exception between the start of a thread of a pool and its entry in the list of those that are
    told to end leaves it waiting, and Python waits for it.
    """
    main_thread().join()
    time.sleep(_GRACE)
    atexit._run_exitfuncs()  # noqa: SLF001 (which os._exit leaves out)
    os._exit(code)


def _fragile(frame: FrameType | None) -> int:
    """How many of a frame and those that called it are code that no exception may come to."""
    n = 0
    while frame is not None:
        n += any(part in frame.f_code.co_filename for part in _FRAGILE)
        frame = frame.f_back
    return n


def _later(number: int) -> bool:
    """Send a signal again in a moment; False where no thread can be had for it."""
    timer = Timer(_AGAIN, _send, (number,))
    timer.daemon = True
    try:
        timer.start()
    except RuntimeError:
        return False
    return True


def _send(number: int) -> None:
    if hasattr(signal, "pthread_kill"):  # which wakes the main thread where it waits for a lock
        signal.pthread_kill(main_thread().ident or 0, number)
    else:
        signal.raise_signal(number)


def _unraisable(
    usual: Callable[[sys.UnraisableHookArgs], object], what: sys.UnraisableHookArgs
) -> None:
    stop = what.exc_value
    ours = {_CODE + getattr(signal, name): name for name in ENDING if hasattr(signal, name)}
    number = None
    if isinstance(stop, KeyboardInterrupt):
        number = signal.SIGINT
    elif isinstance(stop, SystemExit) and stop.code in ours:
        number = getattr(signal, ours[stop.code])
    if number is None or not _later(number):
        usual(what)
