"""Segment scans after all that may befall them, and compare with the untouched scan.

    python benchmarks/stress.py                                # everything; goes on where it was
    python benchmarks/stress.py --scan colin27 --only noise12
    python benchmarks/stress.py --report                       # the table of what is there

The scans are found through $GMMSEG_BENCH (folders heads/ and synthseg_sim/). A result is the Dice
overlap of CSF, GM and WM with the labels of the untouched scan, fetched by nearest neighbour,
inside the field of view that both share. Where the change resamples the scan, `ceiling` is the
Dice of the untouched labels put through the same interpolation: no segmenter of the new scan can
do better. `thresholds` is what thresholds midway between the tissues' means keep of their own
labels, if they know the brain and the bias field on both sides: what interpolation does to a
segmenter that has nothing else to go wrong.

    ok        within the bound (.95; .90 for 5 mm slices and 12 % noise)
    ok*       within the bound of the ceiling
    warned    further off, and the program said that it does not trust the result
    refused   the program gave an InputError
    FAIL      further off, and nothing was said
"""

from __future__ import annotations

import argparse
import json
import os
import re
import time
import warnings
from collections.abc import Callable, Collection
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel as nib
import numpy as np

from gmmseg import selfcheck, volume
from gmmseg.checks import InputError
from gmmseg.metrics import dice_per_label
from gmmseg.settings import BrainSettings
from gmmseg.simulate import perturb
from gmmseg.spatial.foreground import head_foreground
from gmmseg.workflows.brain import unchecked

ROOT = Path(__file__).resolve().parent.parent
BENCH = Path(os.environ.get("GMMSEG_BENCH", ROOT.parent / "shared" / "bench"))
TISSUES = {"CSF": 3, "GM": 1, "WM": 2}


@dataclass(frozen=True)
class Case:
    """A scan in RAS+ order and what the untouched run made of it."""

    scan: perturb.Scan
    labels: np.ndarray
    corrected: np.ndarray
    means: dict[str, float]
    to_template: np.ndarray


@dataclass(frozen=True)
class Stress:
    """One change of a scan."""

    change: Callable[[perturb.Scan, Case], perturb.Scan]
    bound: float = 0.95
    resamples: bool = False
    contrast: str | None = None


def _head(scan: perturb.Scan) -> np.ndarray:
    """Mask of the head, in steps of 3 mm."""
    step = np.maximum(1, np.rint(3 / scan.spacing)).astype(int)
    head = head_foreground(scan.data[:: step[0], :: step[1], :: step[2]], scan.spacing * step)
    rows = [np.arange(n) // s for n, s in zip(scan.data.shape, step, strict=True)]
    return head[np.ix_(*rows)]


def _crop(scan: perturb.Scan, top: float, bottom: float) -> perturb.Scan:
    """Take mm off the top of the head, and off the bottom of the field of view."""
    top_slice = int(np.nonzero(_head(scan).any((0, 1)))[0].max())
    above = scan.data.shape[2] - 1 - top_slice
    return perturb.cropped(scan, 2, bottom, top + above * scan.spacing[2] if top else 0.0)


def _stresses() -> dict[str, Stress]:
    """Every change, by name."""
    out = {}
    for name, v in {
        "x+30": (30, 0, 0), "x-30": (-30, 0, 0), "y+30": (0, 30, 0), "z+30": (0, 0, 30),
        "xyz+30": (17.3, 17.3, 17.3),
    }.items():  # fmt: skip
        out[f"header {name}°"] = Stress(lambda s, c, v=v: perturb.turned_header(s, v))
        out[f"turned {name}°"] = Stress(lambda s, c, v=v: perturb.turned(s, v, order=0))
    for name, v in {"x+30": (30, 0, 0), "xyz+30": (17.3, 17.3, 17.3)}.items():
        out[f"resampled {name}°"] = Stress(lambda s, c, v=v: perturb.turned(s, v), resamples=True)
    out["header 60 mm"] = Stress(lambda s, c: perturb.moved_header(s, (60, -60, 60)))
    out["header 500 mm"] = Stress(lambda s, c: perturb.moved_header(s, (-500, 300, 400)))
    out["no origin"] = Stress(lambda s, c: perturb.without_origin(s))
    for name, axes in {"back to front": (1,), "upside down": (2,), "both": (1, 2)}.items():
        out[f"header {name}"] = Stress(lambda s, c, a=axes: perturb.mirrored_header(s, a))
    for axis, letter in enumerate("xyz"):
        for mm in (-60, 60):
            out[f"shift {letter}{mm:+d}"] = Stress(
                lambda s, c, a=axis, m=mm: perturb.shifted(s, a, m)
            )
    out["top 30 mm off"] = Stress(lambda s, c: _crop(s, 30, 0))
    out["bottom 30 mm off"] = Stress(lambda s, c: _crop(s, 0, 30))
    out["neck"] = Stress(lambda s, c: perturb.with_neck(s, 60))
    out["defaced"] = Stress(lambda s, c: perturb.defaced(s, c.to_template, c.labels > 0))
    for axis, letter in enumerate("xyz"):
        out[f"shade 40 % {letter}"] = Stress(lambda s, c, a=axis: perturb.shaded(s, a, 0.8, 1.2))
        out[f"coil x4 {letter}"] = Stress(lambda s, c, a=axis: perturb.shaded(s, a, 2.0, 0.5))
    out["slices 5 mm"] = Stress(
        lambda s, c: perturb.coarse(s, (0, 0, 5)), bound=0.90, resamples=True
    )
    out["voxels 2 mm"] = Stress(lambda s, c: perturb.coarse(s, (2, 2, 2)), resamples=True)
    out["noise 12 %"] = Stress(
        lambda s, c: perturb.noisy(s, 0.12 * c.means["WM"], np.random.default_rng(4)), bound=0.90
    )
    out["size .75"] = Stress(lambda s, c: perturb.resized_header(s, 0.75))
    out["size 1.2"] = Stress(lambda s, c: perturb.resized_header(s, 1.2))
    for axis, letter in enumerate("xyz"):
        side = np.where(np.arange(3) == axis, 0.7, 1.0)
        out[f"{letter} said .7"] = Stress(lambda s, c, f=side: perturb.resized_header(s, f))
    out["stray values"] = Stress(
        lambda s, c: perturb.with_stray_values(s, 50, np.random.default_rng(5))
    )
    out["padding below 0"] = Stress(lambda s, c: perturb.padded(s, _head(s), -3 * s.data.max()))
    out["noise for air"] = Stress(
        lambda s, c: perturb.noisy_air(s, _head(s), np.random.default_rng(6))
    )
    out["times 1e-3"] = Stress(lambda s, c: perturb.scaled(s, 1e-3))
    out["times 1e5"] = Stress(lambda s, c: perturb.scaled(s, 1e5))
    for kind in perturb.CONTRASTS:
        out["inverted" if kind == "inverted" else f"{kind}-like"] = Stress(
            lambda s, c, k=kind: perturb.recoloured(
                s, k, c.labels > 0, [c.means[t] for t in TISSUES]
            ),
            contrast="auto",
        )
    return out


STRESSES = _stresses()


def scans() -> dict[str, Path]:
    """Every whole head of the benchmark, by name."""
    paths = sorted(BENCH.glob("heads/*.nii.gz")) + sorted(BENCH.glob("synthseg_sim/t1_*.nii.gz"))
    short = {p.name.removesuffix(".nii.gz"): p for p in paths}
    return {name.removesuffix("_t1").replace("t1_", "head_"): p for name, p in short.items()}


def run(data: np.ndarray, affine: np.ndarray, settings: BrainSettings):
    """Labels and what the program doubts of them, by the check that says so.

    Remarks on the scan alone do not count.
    """
    scan = volume.read(nib.Nifti1Image(data, affine))
    result = unchecked(scan, None, settings)
    said = {word: word for word in result.warnings}
    return result, said | {c.name: c.message for c in selfcheck.check(result) if not c.passed}


def untouched(path: Path) -> tuple[Case, dict[str, str]]:
    """Segment the scan as it is."""
    scan = volume.to_canonical(volume.read(path))
    data = np.nan_to_num(scan.data)
    result, said = run(data, scan.affine, BrainSettings())
    owners, centres = np.array(result.component_names), result.mixture.means[:, 0]
    means = {name: float(centres[owners == name].mean()) for name in TISSUES}
    case = Case(
        perturb.Scan.of(data - min(0, data.min()), scan.affine),
        result.labels,
        result.corrected,
        means,
        np.array(result.decisions["affine"]),
    )
    return case, said


def measure(case: Case, stress: Stress, known: Collection[str]) -> dict[str, object]:
    """One row of the table; ``known`` is the checks that the untouched scan failed."""
    changed = stress.change(case.scan, case)
    reference, inside = changed.fetch(case.labels)
    row: dict[str, object] = {}
    if stress.resamples:

        def through(image: np.ndarray) -> np.ndarray:
            """The image as the change leaves it."""
            return stress.change(replace(case.scan, data=image.astype(np.float32)), case).data

        kept = np.argmax([through(case.labels == k) for k in range(4)], axis=0)
        row["ceiling"] = overlap(kept, reference, inside)
        before = thresholded(case.corrected, case.labels > 0, case.means)
        after = thresholded(through(np.nan_to_num(case.corrected)), kept > 0, case.means)
        row["thresholds"] = overlap(after, changed.fetch(before)[0], inside)
    settings = BrainSettings()
    if stress.contrast is not None:
        settings = replace(settings, contrast=stress.contrast)
    began = time.perf_counter()
    try:
        result, said = run(changed.data, changed.affine, settings)
    except InputError as error:
        return {**row, "said": [str(error)], "verdict": "refused"}
    row["seconds"] = round(time.perf_counter() - began, 1)
    row["dice"] = overlap(result.labels, reference, inside)
    row["said"] = [said[name] for name in said if name not in known]
    row["decisions"] = {k: result.decisions.get(k) for k in ("contrast", "strong shading")}
    row["verdict"] = verdict(row, stress.bound)
    return row


def thresholded(image: np.ndarray, brain: np.ndarray, means: dict[str, float]) -> np.ndarray:
    """Labels by thresholds midway between the means of CSF, GM and WM."""
    names = sorted(TISSUES, key=lambda name: means[name])
    codes = np.array([TISSUES[name] for name in names])
    middle = np.convolve([means[name] for name in names], [0.5, 0.5], "valid")
    return np.where(brain, codes[np.digitize(image, middle)], 0)


def overlap(labels: np.ndarray, reference: np.ndarray, inside: np.ndarray) -> dict[str, float]:
    """Dice of each tissue within ``inside``."""
    dice = dice_per_label(np.where(inside, labels, 0), np.where(inside, reference, 0))
    return {name: round(float(dice.get(code, 0.0)), 4) for name, code in TISSUES.items()}


def verdict(row: dict, bound: float) -> str:
    """What the row comes to."""
    dice, ceiling = row["dice"], row.get("ceiling")
    if min(dice.values()) >= bound:
        return "ok"
    if ceiling and all(dice[t] >= ceiling[t] - (1 - bound) for t in TISSUES):
        return "ok*"
    return "warned" if row["said"] else "FAIL"


def show(scan: str, name: str, row: dict) -> None:
    """One line."""
    figures = "  ".join(
        "/".join(f"{row[part][t]:.3f}" for t in TISSUES) if part in row else " " * 17
        for part in ("dice", "ceiling", "thresholds")
    )
    print(f"{scan:12s} {name:17s} {figures}  {row['verdict']:7s} {' '.join(row['said'])[:90]}")


def one_scan(name: str, wanted: list[str], kept: Path) -> None:
    """All changes of one scan that are not in its file yet."""
    warnings.simplefilter("ignore")
    file = kept / f"{name}.json"
    rows = json.loads(file.read_text()) if file.exists() else {}
    missing = [w for w in wanted if w not in rows]
    if not missing:
        return
    case, known = untouched(scans()[name])
    for stress in missing:
        rows[stress] = measure(case, STRESSES[stress], known)
        file.write_text(json.dumps(rows, indent=1, ensure_ascii=False))
        show(name, stress, rows[stress])


def report(kept: Path, names: list[str]) -> None:
    """The table: of each change, the mean and the lowest Dice over the scans, and the verdicts."""
    rows = {n: json.loads((kept / f"{n}.json").read_text()) for n in names
            if (kept / f"{n}.json").exists()}  # fmt: skip
    print(f"{len(rows)} scans: {', '.join(rows)}\n")
    print("| change | mean CSF/GM/WM | lowest | ceiling | thresholds | verdicts |")
    print("| --- | --- | --- | --- | --- | --- |")
    for stress in STRESSES:
        here = [r[stress] for r in rows.values() if stress in r]
        if not here:
            continue
        cells = []
        columns = (("dice", np.mean), ("dice", np.min))
        columns += (("ceiling", np.mean), ("thresholds", np.mean))
        for part, how in columns:
            found = [r[part] for r in here if part in r]
            text = "/".join(f"{how([f[t] for f in found]):.3f}" for t in TISSUES) if found else ""
            cells.append(re.sub(r"\b0\.", ".", text))
        counts: dict[str, int] = {}
        for r in here:
            counts[r["verdict"]] = counts.get(r["verdict"], 0) + 1
        words = ", ".join(f"{n} {word}" for word, n in counts.items())
        print(f"| {stress} | {' | '.join(cells)} | {words} |")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scan", action="append", choices=list(scans()), help="may be repeated")
    parser.add_argument("--only", action="append", metavar="CHANGE", help="name or its beginning")
    parser.add_argument("--json", type=Path, default=Path("stress"), help="folder of the results")
    parser.add_argument("--jobs", type=int, default=1, help="scans at a time")
    parser.add_argument("--report", action="store_true", help="print the table and run nothing")
    given = parser.parse_args()
    names = given.scan or list(scans())
    wanted = [s for s in STRESSES if not given.only or s.startswith(tuple(given.only))]
    given.json.mkdir(parents=True, exist_ok=True)
    if not given.report:
        if given.jobs == 1:
            for name in names:
                one_scan(name, wanted, given.json)
        else:
            with ProcessPoolExecutor(given.jobs) as pool:
                futures = [pool.submit(one_scan, n, wanted, given.json) for n in names]
                for future in futures:
                    future.result()
    report(given.json, names)


if __name__ == "__main__":
    main()
