"""Seconds and memory of each stage of a run."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

_CLEAR, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


class Stage(NamedTuple):
    """What one stage took."""

    name: str
    seconds: float  # by the clock
    cpu_seconds: float  # of all threads
    peak_mb: float | None  # most memory resident during it; None where it cannot be told


class Stopwatch:
    """Follows the stages of a run as one who is told of its progress.

    On Linux the peak of each stage is the kernel's own count, reset at its start; on other systems
    it is the peak since the start of the process. A stage entered again is added to.

    Examples
    --------
    >>> watch = Stopwatch()
    >>> watch("reading", 0.0)
    >>> watch("fitting", 0.5)
    >>> [stage.name for stage in watch.finish()]
    ['reading', 'fitting']
    """

    def __init__(self, then: Callable[[str, float], None] | None = None) -> None:
        """Pass on what it is told to ``then``."""
        self.then, self._name = then, ""
        self._stages: dict[str, Stage] = {}

    def __call__(self, stage: str, done: float) -> None:
        """Enter a stage; ``done`` is the fraction of the whole that lies behind."""
        self._leave()
        self._name = stage
        self._began, self._cpu = time.perf_counter(), time.process_time()
        self._exact = _reset_peak()
        if self.then is not None:
            self.then(stage, done)

    def finish(self) -> tuple[Stage, ...]:
        """Leave the last stage; returns all, in the order they were first entered."""
        self._leave()
        self._name = ""
        return tuple(self._stages.values())

    def _leave(self) -> None:
        if not self._name:
            return
        peak = _peak_mb(self._exact)
        seconds, cpu = time.perf_counter() - self._began, time.process_time() - self._cpu
        before = self._stages.get(self._name, Stage(self._name, 0.0, 0.0, None))
        peaks = [p for p in (before.peak_mb, peak) if p is not None]
        self._stages[self._name] = Stage(
            self._name,
            before.seconds + seconds,
            before.cpu_seconds + cpu,
            max(peaks) if peaks else None,
        )


def total(stages: tuple[Stage, ...]) -> Stage:
    """Sum of seconds and largest peak of some stages, called total."""
    peaks = [stage.peak_mb for stage in stages if stage.peak_mb is not None]
    return Stage(
        "total",
        sum(stage.seconds for stage in stages),
        sum(stage.cpu_seconds for stage in stages),
        max(peaks) if peaks else None,
    )


def table(stages: tuple[Stage, ...]) -> str:
    """Stages and their total as a small table.

    >>> print(table((Stage("reading", 0.31, 0.4, 250.0), Stage("fitting", 2.0, 3.96, None))))
    stage                   s   CPU s  peak MB
    reading              0.31    0.40      250
    fitting              2.00    3.96        -
    total                2.31    4.36      250
    """
    lines = ["stage                   s   CPU s  peak MB"]
    for name, seconds, cpu, peak in (*stages, total(stages)):
        memory = "-" if peak is None else f"{peak:.0f}"
        lines.append(f"{name:18s} {seconds:6.2f}  {cpu:6.2f} {memory:>8s}")
    return "\n".join(lines)


def _reset_peak() -> bool:
    """Let the kernel count the peak from here on; False where it does not."""
    try:
        _CLEAR.write_text("5")  # see proc(5)
    except OSError:
        return False
    return True


def _peak_mb(exact: bool) -> float | None:
    """Most memory resident since the last reset, or since the start of the process."""
    if exact:
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
