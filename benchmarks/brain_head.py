"""Cost of the main job: seconds and memory of whole commands, each in a process of its own.

    python benchmarks/brain_head.py [T1.nii.gz ...] [--threads N] [--repeat N]

Without a scan, the cases of ``$GMMSEG_BENCH`` named in ``CASES`` are taken, or else the sample
image. Of each scan: the first run ever, with an empty cache of compiled kernels (once); the run of
least CPU seconds after it, with its profile; the peers' CPU seconds on the same file, where they
are known. Of the first scan also the run on 0.7 mm voxels, resampled here: what it costs for each
10 million voxels. CPU seconds are of the process, its start included; clock seconds mean little
while other work runs.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np
from scipy import ndimage

SAMPLE = Path(__file__).resolve().parent.parent / "sample_images" / "sub-sim_T1w.nii.gz"
GMMSEG = [sys.executable, "-c", "from gmmseg.cli import main; main()"]
CASES = (("whole_head", "head_09"), ("masked", "head_09"), ("heads", "colin27"))
FINE_MM = 0.7


class Case(NamedTuple):
    """One scan to time."""

    name: str
    scan: Path
    mask: Path | None
    peers: dict[str, float]  # CPU seconds


class Cost(NamedTuple):
    """What a command took."""

    seconds: float  # by the clock
    cpu: float
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
    return Cost(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit / 1e9)


def show(what: str, cost: Cost, more: str = "") -> None:
    """One line."""
    row = f"{what:44s} {cost.seconds:7.2f} s {cost.cpu:7.2f} CPU s {cost.peak_gb:6.2f} GB"
    print(row, more, flush=True)


def brain(case: Case, options: list[str], repeat: int, cache: Path, *, profile: bool) -> Cost:
    """The cheapest of some runs on one scan, shown with the peers."""
    with tempfile.TemporaryDirectory() as folder:
        words = [*GMMSEG, "brain", str(case.scan), "-o", folder, "--overwrite", *options]
        if case.mask is not None:
            words += ["--mask", str(case.mask)]
        if not any(cache.iterdir()):
            show("first run, compiling", measure(words, NUMBA_CACHE_DIR=str(cache)))
        runs = [measure(words, NUMBA_CACHE_DIR=str(cache)) for _ in range(repeat)]
        cost = min(runs, key=lambda run: run.cpu)
        peers = [f"{name} {cpu / cost.cpu:.0f}x" for name, cpu in case.peers.items()]
        show(case.name, cost, " ".join(peers))
        if profile:  # apart: counting peaks by stage spoils that of the process
            subprocess.run(
                [*words, "--profile", "--quiet"],
                env={**os.environ, "NUMBA_CACHE_DIR": str(cache)},
                check=True,
            )
    return cost


def bench_cases() -> Iterator[Case]:
    """Cases of the benchmark folder that ``$GMMSEG_BENCH`` names, if it is set."""
    folder = os.environ.get("GMMSEG_BENCH")
    if not folder:
        return
    root = Path(folder)
    tracks = json.loads((root / "cases.json").read_text("utf-8"))
    peers = json.loads((root / "peers.json").read_text("utf-8"))
    for track, name in CASES:
        case = tracks[track]["cases"][name]
        mask = root / case["mask"] if "mask" in case else None
        known = peers.get(track, {}).get(name, {})
        cpu = {peer: row["cpu"] for peer, row in known.items() if "cpu" in row}
        yield Case(f"{track} {name}", root / case["t1"], mask, cpu)


def resampled(scan: Path, folder: Path) -> Case:
    """The scan on voxels of ``FINE_MM``, linearly interpolated."""
    image = nib.load(scan)
    factor = np.array(image.header.get_zooms()[:3]) / FINE_MM
    data = ndimage.zoom(np.asarray(image.dataobj, np.float32), factor, order=1, grid_mode=False)
    true = (np.array(image.shape) - 1) / (np.array(data.shape) - 1)
    path = folder / "fine_T1w.nii.gz"
    nib.save(nib.Nifti1Image(data, image.affine @ np.diag([*true, 1.0])), path)
    return Case(f"{scan.name} at {FINE_MM} mm", path, None, {})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scans", nargs="*", type=Path)
    parser.add_argument("--threads", metavar="N")
    parser.add_argument("--repeat", type=int, default=3)
    given = parser.parse_args()
    cases = [Case(scan.name, scan, None, {}) for scan in given.scans]
    cases = cases or list(bench_cases()) or [Case(SAMPLE.name, SAMPLE, None, {})]
    options = ["--threads", given.threads] if given.threads else []
    show("python itself", measure([sys.executable, "-c", "pass"]))
    show("gmmseg --help", measure([*GMMSEG, "--help"]))
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder, "cache")
        cache.mkdir()
        for number, case in enumerate(cases):
            brain(case, options, given.repeat, cache, profile=number < 2)
        fine = resampled(cases[0].scan, Path(folder))
        cost = brain(fine, options, 1, cache, profile=False)
        share = np.prod(nib.load(fine.scan).shape) / 1e7
        print(
            f"for each 10 million voxels: {cost.cpu / share:.1f} CPU s, "
            f"{cost.peak_gb / share:.2f} GB ({share * 10:.0f} million)"
        )


if __name__ == "__main__":
    main()
