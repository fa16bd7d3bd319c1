"""Signals that end a command raise, but not where the exception would be lost."""

import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module

import pytest

from gmmseg import stopping

LOADS = "import signal\nsignal.raise_signal(signal.{name})\nloaded = True\n"
RAISED = {"SIGINT": KeyboardInterrupt, "SIGTERM": SystemExit}
numbers = pytest.mark.parametrize("name", RAISED)


@pytest.fixture
def handlers():
    """What is in force before a test is so again after it; each test begins with Python's own."""
    ending = [getattr(signal, name) for name in stopping.ENDING if hasattr(signal, name)]
    before, hook = {number: signal.getsignal(number) for number in ending}, sys.unraisablehook
    for number in ending:
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
    sys.unraisablehook = hook


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes a module and gives its name, which no other has."""
    monkeypatch.syspath_prepend(tmp_path)
    name = f"loads_{time.monotonic_ns()}"

    def write(text):
        (tmp_path / f"{name}.py").write_text(text)
        return name

    yield write
    sys.modules.pop(name, None)


def wait():
    """Long enough for any signal that is on its way."""
    time.sleep(20 * stopping._AGAIN)


@numbers
def test_a_signal_waits_until_a_module_is_loaded(handlers, module, name):
    stopping.stop_by_exceptions()
    stem = module(LOADS.format(name=name))
    import_module(stem)
    with pytest.raises(RAISED[name]) as ended:
        wait()
    assert sys.modules[stem].loaded
    if name == "SIGTERM":
        assert ended.value.code == 128 + signal.SIGTERM


def test_a_signal_waits_until_a_lock_of_the_compiler_is_given_back(handlers, monkeypatch):
    """llvmlite's takes it in Python: an exception just then would leave it held."""
    from llvmlite.binding import ffi

    stopping.stop_by_exceptions()
    lock = ffi._LLVMLock()
    lock.register(lambda: signal.raise_signal(signal.SIGINT), lambda: None)
    with lock:
        pass
    with pytest.raises(KeyboardInterrupt):
        wait()
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(lock._lock.acquire, blocking=False).result()


def test_without_that_the_module_is_not_loaded(handlers, module):
    """Negative control."""
    with pytest.raises(KeyboardInterrupt):
        import_module(module(LOADS.format(name="SIGINT")))


def test_a_command_that_a_script_starts_as_it_is_imported_is_ended_all_the_same(handlers, module):
    text = "from gmmseg import stopping\nstopping.stop_by_exceptions()\n"
    with pytest.raises(KeyboardInterrupt):
        import_module(module(text + LOADS.format(name="SIGINT")))


@numbers
def test_a_signal_at_the_end_of_an_object_comes_again(handlers, name):
    class Ends:
        def __del__(self):
            signal.raise_signal(getattr(signal, name))

    stopping.stop_by_exceptions()
    one = Ends()
    del one  # swallows the exception
    with pytest.raises(RAISED[name]):
        wait()


@pytest.mark.parametrize("error", [ValueError("as usual"), SystemExit(255), SystemExit("no")])
def test_other_errors_at_the_end_of_an_object_go_where_they_went_before(handlers, error):
    class Ends:
        def __del__(self):
            raise error

    seen = []
    sys.unraisablehook = lambda what: seen.append(what.exc_value)
    for _ in range(2):  # as where a script runs two commands
        stopping.stop_by_exceptions()
    one = Ends()
    del one
    assert seen == [error]


def test_where_no_thread_can_be_had_a_signal_does_not_wait(handlers, module, monkeypatch):
    def refuse(*_):
        raise RuntimeError("can't start new thread")

    stopping.stop_by_exceptions()
    monkeypatch.setattr(stopping.Timer, "start", refuse)
    with pytest.raises(KeyboardInterrupt):
        import_module(module(LOADS.format(name="SIGINT")))


WAITS = """
import signal, sys, threading
from gmmseg import stopping
stopping._GRACE = 0.5
{how}
threading.Thread(target=threading.Event().wait, args=({seconds},)).start()
signal.raise_signal(signal.SIGTERM)
"""


@pytest.mark.parametrize("stops", [True, False])
def test_a_thread_that_waits_for_ever_does_not_keep_a_command_from_its_end(stops):
    """Without our handlers, as a negative control, Python waits for as long as the thread does."""
    plain = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))"
    how = "stopping.stop_by_exceptions()" if stops else plain
    code = WAITS.format(how=how, seconds=None if stops else 4)
    began = time.monotonic()
    result = subprocess.run([sys.executable, "-P", "-c", code], timeout=60, check=False)
    assert result.returncode == 143
    assert stops or time.monotonic() - began > 4


@pytest.mark.parametrize("handler", [signal.SIG_IGN, lambda *_: None])
def test_signals_that_are_ignored_or_have_a_handler_are_left_alone(handlers, handler):
    for name in RAISED:
        signal.signal(getattr(signal, name), handler)
    stopping.stop_by_exceptions()
    for name in RAISED:
        assert signal.getsignal(getattr(signal, name)) is handler
