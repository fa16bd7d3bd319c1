"""Cost of the main job: seconds and peak memory of commands, each in a process of its own.

    python benchmarks/brain_head.py [T1.nii.gz ...] [--threads N] [--repeat N]

Without a scan, the sample image is taken. Printed for each scan: the first run ever, with an
empty cache of compiled kernels; then the fastest of the runs after it, with the stages that the
provenance file reports. Before that, what it costs to import the package and to print the help.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

SAMPLE = Path(__file__).resolve().parent.parent / "sample_images" / "sub-sim_T1w.nii.gz"
GMMSEG = str(Path(sys.executable).with_name("gmmseg"))


class Cost(NamedTuple):
    """What a command took."""

    seconds: float
    peak_gb: float


def measure(words: list[str], **environment: str) -> Cost:
    """Run a command to its end; peak memory is that of its largest process (Linux, macOS)."""
    start = time.perf_counter()
    process = subprocess.Popen(words, env={**os.environ, **environment}, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if status != 0:
        sys.exit(f"{' '.join(words)}: exit status {os.waitstatus_to_exitcode(status)}")
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss: bytes there, KiB elsewhere
    return Cost(seconds, usage.ru_maxrss * unit / 1e9)


def best(words: list[str], repeat: int, **environment: str) -> Cost:
    """The fastest of some runs."""
    return min(measure(words, **environment) for _ in range(repeat))


def show(what: str, cost: Cost) -> None:
    """One line."""
    print(f"{what:44s} {cost.seconds:7.2f} s {cost.peak_gb:6.2f} GB", flush=True)


def brain(scan: Path, threads: list[str], repeat: int) -> None:
    """First and later runs of `gmmseg brain` on one scan."""
    with tempfile.TemporaryDirectory() as folder:
        cache, out = Path(folder, "cache"), Path(folder, "out")
        words = [GMMSEG, "brain", str(scan), "-o", str(out), "--overwrite", *threads]
        show(f"{scan.name}: first run, compiling", measure(words, NUMBA_CACHE_DIR=str(cache)))
        runs = []
        for _ in range(repeat):
            cost = measure(words, NUMBA_CACHE_DIR=str(cache))
            record = json.loads(next(out.glob("*_desc-provenance.json")).read_text("utf-8"))
            runs.append((cost, record["seconds"]))
        cost, stages = min(runs, key=lambda run: run[0])
        show(f"{scan.name}: later run", cost)
        for stage, seconds in stages.items():
            print(f"    {stage:40s} {seconds:7.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scans", nargs="*", type=Path, default=[SAMPLE])
    parser.add_argument("--threads", metavar="N")
    parser.add_argument("--repeat", type=int, default=3)
    given = parser.parse_args()
    show("python itself", best([sys.executable, "-c", "pass"], 5))
    show("import gmmseg", best([sys.executable, "-c", "import gmmseg"], 5))
    show("gmmseg --help", best([GMMSEG, "--help"], 5))
    threads = ["--threads", given.threads] if given.threads else []
    for scan in given.scans:
        brain(scan, threads, given.repeat)


if __name__ == "__main__":
    main()
