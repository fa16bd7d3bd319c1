"""The command as a process: signals that stop it, and the terminal that it runs in."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commandline import entries

SLOW = """
import signal, sys, time, types
# Started in the background by a script, a process inherits Ctrl-C ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.path.insert(0, {tests!r})
import fake
def segment_brain(*_, **__):
    print("working", flush=True)
    time.sleep(60)
module = types.ModuleType("gmmseg.workflows.brain")
module.unchecked = segment_brain
sys.modules["gmmseg.workflows.brain"] = module
from gmmseg.cli import main
main()
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_that_is_stopped_leaves_nothing_behind(noise_t1, tmp_path, number, code):
    script = SLOW.format(tests=str(Path(__file__).parent))
    words = [sys.executable, "-c", script, "brain", str(noise_t1), "-o", str(tmp_path / "out")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"working\n", process.stderr.read()
        assert (tmp_path / "out").exists()
        time.sleep(0.1)
        process.send_signal(number)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == code
    assert b"Traceback" not in errors
    assert entries(tmp_path) == []


FAST = """
import sys, time, types
sys.path.insert(0, {tests!r})
import fake
def segment_brain(image, mask=None, settings=None, *, volume_index=None, progress=None):
    if progress is not None:
        progress("joint fit", 0.5)
        time.sleep(0.5)  # the bar is drawn ten times a second
    return fake.segmentation(image, settings)
module = types.ModuleType("gmmseg.workflows.brain")
module.unchecked = segment_brain
sys.modules["gmmseg.workflows.brain"] = module
from gmmseg.cli import main
main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
@pytest.mark.parametrize("quiet", [False, True])
def test_a_terminal_shows_the_stage_unless_told_to_be_quiet(noise_t1, tmp_path, quiet):
    import pty

    script = FAST.format(tests=str(Path(__file__).parent))
    words = [sys.executable, "-c", script, "brain", str(noise_t1), "-o", str(tmp_path / "out")]
    ours, theirs = pty.openpty()
    result = subprocess.run(
        [*words, *(["-q"] if quiet else [])],
        stdout=subprocess.PIPE,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm"},
        check=True,
    )
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # the end of a closed terminal is an error on Linux
        while part := os.read(ours, 65536):
            shown += part
    os.close(ours)
    assert (b"joint fit" in shown) is not quiet
    assert b"joint fit" not in result.stdout
