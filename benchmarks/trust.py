"""Are the intervals of volumes and the probabilities of ``gmmseg brain`` what they say they are?

    python benchmarks/trust.py [--heads 8] [--seed 100]

Heads are simulated at 2 mm, each with its own noise, shading, anatomy, deformation, folding and
tissue means, and segmented without and with their mask, with the Potts field and without. For each:
whether the true volume of GM, WM, CSF and (without mask) the brain lies in its 90 % interval, the
error in standard deviations, and the expected calibration error over the true brain. Seeds from 100
on played no part in any constant of the intervals.
"""

import argparse
import importlib.util
from pathlib import Path

import numpy as np

from gmmseg.metrics import calibration_error
from gmmseg.settings import BrainSettings
from gmmseg.simulate import HeadSettings, simulate_head
from gmmseg.spatial.interval import Z90
from gmmseg.volume import Volume
from gmmseg.workflows.brain import segment_brain

SAMPLE = Path(__file__).resolve().parent.parent / "sample_images" / "make.py"
NAMES = ("GM", "WM", "CSF", "brain")


def sample_script():
    """The script that draws the sample scan, for its tissue maps, grid and pose."""
    spec = importlib.util.spec_from_file_location("make_sample", SAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def drawn(rng: np.random.Generator, pose: np.ndarray) -> HeadSettings:
    """A head like no other."""
    means = {name: value * rng.normal(1, 0.04) for name, value in HeadSettings().means.items()}
    turn = pose.copy()
    turn[:3, 3] += rng.normal(0, 6, 3)
    turn[:3, :3] *= rng.normal(1, 0.03)
    return HeadSettings(
        noise=rng.uniform(1.5, 8), bias=rng.uniform(5, 45), deformation=rng.uniform(2, 4.5),
        folding=rng.uniform(4, 8), affine=turn, means=means,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--heads", type=int, default=8)
    parser.add_argument("--seed", type=int, default=100)
    args = parser.parse_args()
    make = sample_script()
    maps, affine = make.tissue_maps()
    rows = {False: [], True: []}
    errors = {}
    for seed in range(args.seed, args.seed + args.heads):
        rng = np.random.default_rng(seed)
        head = simulate_head(maps, affine, make.SHAPE, make.grid(), rng, drawn(rng, make.pose()))
        scan = Volume(head.image.astype(np.float32), make.grid())
        voxel = scan.voxel_ml
        truth = [float(head.fractions[..., k].sum()) * voxel for k in range(3)]
        truth.append(sum(truth))
        for masked in (False, True):
            mask = head.mask if masked else None
            for mrf in ("auto", 0.0):
                result = segment_brain(scan, mask, BrainSettings(mrf=mrf))
                known = (head.labels > 0) & result.mask
                error = calibration_error(
                    result.posteriors[known].astype(float), head.labels[known].astype(int) - 1
                )
                errors.setdefault((masked, mrf), []).append(error)
                if mrf == "auto":
                    z = []
                    n = 3 if masked else 4  # the mask is the brain
                    for row, true in zip(result.volumes_ml()[:n], truth[:n], strict=True):
                        deviation = (row.high - row.from_labels) / Z90
                        z.append((row.from_labels - true) / deviation if deviation > 0 else np.nan)
                    rows[masked].append(z)
        print(seed, *(f"{np.round(rows[m][-1], 2)}" for m in rows), flush=True)
    for masked, z in rows.items():
        table = np.array(z)
        inside = np.abs(table) <= Z90
        print(
            f"{'mask' if masked else 'no mask'}: inside the 90 % interval "
            + ", ".join(
                f"{name} {n}/{len(z)}" for name, n in zip(NAMES, inside.sum(0), strict=False)
            )
            + f"; root mean square of error / s.d. {np.sqrt((table**2).mean(0)).round(2)}, "
            f"mean {table.mean(0).round(2)}"
        )
    for (masked, mrf), values in errors.items():
        print(
            f"calibration error, {'mask' if masked else 'no mask'}, mrf {mrf}: "
            f"{np.mean(values):.4f} ({min(values):.4f} to {max(values):.4f})"
        )


if __name__ == "__main__":
    main()
