"""Files that appear together or not at all, whatever signal arrives and whatever disk fails."""

import shutil
import signal
from pathlib import Path

import pytest
from jobs import files

from gmmseg import staging
from gmmseg.checks import InputError


@pytest.fixture
def publish(tmp_path):
    """Publishes three files over older ones of their names."""
    targets = [tmp_path / name for name in "abc"]
    for target in targets:
        target.write_text("old")

    def publish():
        with staging.staged(tmp_path, targets) as stage:
            for target in targets:
                (stage / target.name).write_text("new")

    return publish


@pytest.fixture
def terminated(monkeypatch):
    """SIGTERM ends the program by an exception, as in the commands."""

    def stop(*_):
        raise SystemExit(143)

    usual = signal.signal(signal.SIGTERM, stop)
    yield
    signal.signal(signal.SIGTERM, usual)


def on_call(monkeypatch, owner, name, at, do):
    """Do something as a function is called for the so-manieth time, before it does its work."""
    usual, calls = getattr(owner, name), []

    def called(*args, **kwargs):
        calls.append(args)
        if len(calls) in at:
            do()
        return usual(*args, **kwargs)

    monkeypatch.setattr(owner, name, called)
    return calls


@pytest.mark.parametrize(
    ("number", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)]
)
@pytest.mark.parametrize("at", [(1,), (4,), (4, 5), (6,)])
def test_signals_wait_until_all_files_are_in_their_place(
    publish, terminated, tmp_path, monkeypatch, number, raised, at
):
    on_call(monkeypatch, Path, "replace", at, lambda: signal.raise_signal(number))
    handler = signal.getsignal(number)
    with pytest.raises(raised, match="all was written" if raised is KeyboardInterrupt else "143"):
        publish()
    assert files(tmp_path) == dict.fromkeys("abc", b"new")
    assert signal.getsignal(number) is handler


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_do_not_lose_what_is_put_back_after_a_failure(
    publish, terminated, tmp_path, monkeypatch, number
):
    """The disk is full as the second file is published; the signal comes as the first returns."""

    def do():
        if len(calls) == 4:
            raise OSError(28, "No space left on device")
        signal.raise_signal(number)

    calls = on_call(monkeypatch, Path, "replace", (4, 5), do)
    with pytest.raises(InputError, match="No space left on device"):  # which ends the work as well
        publish()
    assert len(calls) == 6  # `a` and `b` came back; nothing had been done to `c`
    assert files(tmp_path) == dict.fromkeys("abc", b"old")


def test_a_handler_that_python_has_not_set_is_left_alone(publish, tmp_path, monkeypatch):
    monkeypatch.setattr(signal, "getsignal", lambda number: None)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    publish()
    assert files(tmp_path) == dict.fromkeys("abc", b"new")
    assert signal.signal(signal.SIGINT, before) is signal.default_int_handler


def test_a_signal_while_cleaning_up_leaves_no_hidden_folder(publish, tmp_path, monkeypatch):
    on_call(monkeypatch, shutil, "rmtree", (1, 2), lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt, match="all was written"):
        publish()
    assert files(tmp_path) == dict.fromkeys("abc", b"new")
    assert not list(tmp_path.glob(".gmmseg-*"))


def test_what_cannot_be_put_back_is_kept_and_told_of(publish, tmp_path, monkeypatch):
    """The disk fails as the second file is published, and goes on failing."""

    def fail():
        signal.raise_signal(signal.SIGINT)  # nor does Ctrl-C hide where they are
        raise OSError(5, "Input/output error")

    on_call(monkeypatch, Path, "replace", range(4, 10), fail)
    with pytest.raises(InputError, match=r"\(Input/output error\).* they are in (\S+)\.$") as told:
        publish()
    assert (tmp_path / "a").read_text() == "new"  # not removed before the old one comes
    kept = Path(str(told.value).rsplit(" ", 1)[1].rstrip("."))
    assert files(kept) == dict.fromkeys("ab", b"old")
    assert (tmp_path / "c").read_text() == "old"


def test_files_of_a_block_that_ends_well_are_moved_and_the_folder_kept(tmp_path):
    targets = [tmp_path / "out" / "a", tmp_path / "out" / "b"]
    with staging.staged(tmp_path / "out", targets) as stage:
        (stage / "a").write_text("1")
        (stage / "scratch").write_text("2")
    assert files(tmp_path / "out") == {"a": b"1"}
