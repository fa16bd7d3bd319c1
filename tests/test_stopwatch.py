"""The stopwatch: who is told, what is added up, how memory is attributed to a stage."""

import mmap
import sys
import time

import numpy as np
import pytest

from gmmseg import stopwatch
from gmmseg.stopwatch import Stage, Stopwatch, table, total


def test_whoever_listens_is_told_the_same():
    told = []
    watch = Stopwatch(then=lambda *stage: told.append(stage))
    watch("reading", 0.0)
    watch("fitting", 0.5)
    assert told == [("reading", 0.0), ("fitting", 0.5)]


def test_a_stage_entered_again_is_added_to():
    watch = Stopwatch()
    for name in ("a", "b", "a"):
        watch(name, 0.0)
        time.sleep(0.02)
    stages = watch.finish()
    assert [stage.name for stage in stages] == ["a", "b"]
    assert stages[0].seconds >= 0.04  # slept twice
    assert stages == watch.finish()  # time after the end counts for nothing


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peaks are reset on Linux only")
def test_the_peak_is_that_of_the_stage_and_not_of_the_one_before():
    if not stopwatch._reset_peak():
        pytest.skip("this system does not let a process reset its peak")
    watch = Stopwatch()
    watch("large", 0.0)
    # pages of its own: an array may be given memory that an earlier test freed and that stayed
    # resident, which then changes no peak
    with mmap.mmap(-1, 200_000_000) as block:
        np.frombuffer(block, dtype=np.uint8)[:] = 1
    watch("small", 0.5)
    large, small = watch.finish()
    assert large.peak_mb - small.peak_mb > 150  # of 200; the rest of the process moves a little


def test_where_the_peak_cannot_be_reset_it_is_that_of_the_process(monkeypatch, tmp_path):
    monkeypatch.setattr(stopwatch, "_CLEAR", tmp_path / "missing" / "file")
    watch = Stopwatch()
    watch("a", 0.0)
    (stage,) = watch.finish()
    assert stage.peak_mb is None or stage.peak_mb > 10  # an interpreter with NumPy takes more


def test_the_table_ends_with_sums_of_seconds_and_the_largest_peak():
    stages = (Stage("a", 1.0, 2.0, 300.0), Stage("b", 0.5, 0.25, 100.0))
    assert total(stages) == ("total", 1.5, 2.25, 300.0)
    assert table(stages).splitlines()[-1].split() == ["total", "1.50", "2.25", "300"]
