"""How tissues come out in the deep nuclei, the brainstem and the cerebellum, scan by scan.

    python benchmarks/regions.py T1.nii.gz TRUTH.nii.gz [T1 TRUTH ...] [--codes 2,3,1]
                                 [--map LABELS.nii.gz --table NAMES.csv]

For each scan and region: voxels, mL, Dice of GM and WM with the reference inside the region, the
share of the region that is labelled WM, and that share in the reference. ``--codes`` are those of
GM, WM and CSF in the reference (FAST's order, as in the benchmark files, if not given). A region
that turns white has a WM share far above the reference's.

Regions are those of the template, carried to the scan by the fitted alignment and displacement: the
ellipsoids of :data:`gmmseg.spatial.regions.NUCLEI`, which lie in the middle of each nucleus, and
the watershed regions of ``gmmseg brain --regions``. ``--map`` takes a label image in MNI space
instead, with ``--table`` of ``index,name`` lines; names that hold the same key word are one region.
"""

import argparse
from pathlib import Path

import nibabel as nib
import numpy as np

import gmmseg
from gmmseg import template, volume
from gmmseg.metrics import dice
from gmmseg.spatial.regions import NUCLEI, coordinates

COLUMNS = ("GM", "WM", "white", "ref.")
WORDS = {
    "thalamus": ("thalamus",),
    "putamen": ("putamen",),
    "pallidum": ("pallidum",),
    "caudate": ("caudate",),
    "brainstem": ("stem",),
    "cerebellum": ("cerebell",),
    "cerebellar cortex": ("cerebellum_exterior", "vermal"),
}


def template_maps() -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Regions from the package."""
    maps, affine = template.region_maps()
    points = coordinates(maps.shape[:3], affine)
    regions = {nucleus.name: nucleus.radius(points) < 1 for nucleus in NUCLEI}
    putamen = next(nucleus for nucleus in NUCLEI if nucleus.name == "putamen")
    regions["putamen's back"] = regions["putamen"] & (points[1] < putamen.centre[1])
    return {**regions, "brainstem": maps[..., 1], "cerebellum": maps[..., 2]}, affine


def label_maps(image: Path, table: Path) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Regions from a label image of template space."""
    read = nib.as_closest_canonical(nib.load(image))
    labels = np.asarray(read.dataobj)
    rows = [line.split(",")[:2] for line in table.read_text().splitlines()]
    names = {int(index): name.lower() for index, name in rows if index.isdigit()}
    found = {}
    for region, words in WORDS.items():
        own = [index for index, name in names.items() if any(word in name for word in words)]
        if own:
            found[region] = np.isin(labels, own)
    return found, read.affine


def look(scan: Path, truth: Path, codes: list[int], regions: dict, affine: np.ndarray) -> None:
    """Segment one scan and print its regions."""
    result = gmmseg.segment_brain(scan)
    labels = volume.turn(result.labels, result.volume)
    stored = np.squeeze(np.rint(np.asarray(nib.load(truth).dataobj))).astype(int)
    reference = np.zeros(stored.shape, np.uint8)
    for k, code in enumerate(codes):
        reference[stored == code] = k + 1
    reference = volume.turn(reference, result.volume)
    whole = tuple(slice(0, n) for n in labels.shape)
    print(
        f"\n{scan.name}\n{'region':18s} {'mL':>7s} {'GM':>6s} {'WM':>6s} {'white':>6s} {'ref.':>6s}"
    )
    for name, region in regions.items():
        share = result.template_map.sample(region[..., None].astype(np.float32), affine, whole)
        here = (share[..., 0] > 0.5) & (labels > 0) & (reference > 0)
        mine, theirs = labels[here], reference[here]
        figures = [dice(mine == k, theirs == k) for k in (1, 2)]
        white = [np.mean(one == 2) for one in (mine, theirs)]
        size = np.count_nonzero(here) * result.volume.voxel_ml
        print(f"{name:18s} {size:7.1f} " + " ".join(f"{v:6.3f}" for v in (*figures, *white)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scans", nargs="+", type=Path, metavar="T1 TRUTH")
    parser.add_argument("--codes", default="2,3,1", help="of GM, WM, CSF in the reference")
    parser.add_argument("--map", type=Path, help="label image in MNI space")
    parser.add_argument("--table", type=Path, help="index,name lines for it")
    given = parser.parse_args()
    if len(given.scans) % 2:
        parser.error("each T1 needs its reference")
    codes = [int(code) for code in given.codes.split(",")]
    regions, affine = label_maps(given.map, given.table) if given.map else template_maps()
    for scan, truth in zip(given.scans[::2], given.scans[1::2], strict=True):
        look(scan, truth, codes, regions, affine)


if __name__ == "__main__":
    main()
