"""Classes of several Gaussians, from the command's job to what it reports of them."""

import csv
import json

import nibabel as nib
import numpy as np
import pytest
from matplotlib.figure import Figure

from gmmseg import report
from gmmseg.batch import Job, run_job
from gmmseg.contrast import steps
from gmmseg.spatial import interval

TISSUES = ("GM", "WM", "CSF")


@pytest.fixture(scope="module")
def done(sample_t1, sample_truth, tmp_path_factory):
    """The brain of the sample scan at 4 mm, grey and white matter with two Gaussians each."""
    folder = tmp_path_factory.mktemp("gaussians")
    scan, thin = nib.load(sample_t1), (slice(None, None, 2),) * 3
    affine = scan.affine @ np.diag([2, 2, 2, 1])
    nib.save(nib.Nifti1Image(np.asarray(scan.dataobj)[thin], affine), folder / "t1.nii.gz")
    inside = (sample_truth[thin] > 0).astype(np.uint8)
    nib.save(nib.Nifti1Image(inside, affine), folder / "mask.nii.gz")
    quick = {"bias": "off", "deformation": "off"}  # half of the seconds, and not what is asked here
    settings = {**quick, "gaussians": {"GM": 2, "WM": 2}}
    with pytest.MonkeyPatch.context() as patch:  # the picture takes as long as all the rest
        patch.setattr(report, "draw", lambda *_, **__: Figure(figsize=(1, 1)))
        job = Job(folder / "t1.nii.gz", folder / "out", folder / "mask.nii.gz", settings=settings)
        return run_job(job)


@pytest.fixture(scope="module")
def record(done):
    (path,) = (path for path in done.written if path.name.endswith("desc-provenance.json"))
    return json.loads(path.read_text())


def averages(record, values, *, weighted):
    """Mean of ``values`` over the Gaussians of each tissue that the record lists."""
    found = {}
    for tissue in TISSUES:
        own = [k for k, one in enumerate(record["components"]) if one["class"] == tissue]
        weights = [record["components"][k]["weight"] if weighted else 1.0 for k in own]
        found[tissue] = np.average(np.asarray(values)[own], weights=weights)
    return found


def statistics(record, *, weighted):
    """Mean and standard deviation of each tissue, from the Gaussians in the record."""
    means, deviations = (
        np.array([one[key] for one in record["components"]])
        for key in ("mean", "standard_deviation")
    )
    centres = averages(record, means, weighted=weighted)
    squares = averages(record, means**2 + deviations**2, weighted=weighted)
    return centres, {t: np.sqrt(squares[t] - centres[t] ** 2) for t in TISSUES}


def test_the_record_has_every_gaussian_and_their_shares_are_unlike(record):
    """So that the mean of a class is neither of them, nor midway between the two."""
    owners = [one["class"] for one in record["components"]]
    assert [owners.count(name) for name in TISSUES] == [2, 2, 1]
    weighted, plain = (statistics(record, weighted=way)[0] for way in (True, False))
    for name in ("GM", "WM"):
        assert abs(weighted[name] - plain[name]) > 1, name


def test_the_class_means_of_a_result_are_those_of_its_gaussians_by_weight(done, record):
    means, spreads = statistics(record, weighted=True)
    for name in TISSUES:
        assert done.segmentation.class_mean(name) == pytest.approx(means[name], rel=1e-9)
        assert done.segmentation.class_spread(name) == pytest.approx(spreads[name], rel=1e-6)


def test_the_self_check_goes_by_the_weighted_means(record):
    reported = {
        one["name"]: one["measured"]
        for one in record["self_check"]
        if one["name"].startswith("contrast")
    }
    weighted, plain = (
        {s.name: s.measured for s in steps("t1", *statistics(record, weighted=way))[1:]}
        for way in (True, False)
    )
    assert reported == pytest.approx(weighted, rel=1e-6)
    assert reported != pytest.approx(plain, rel=0.05)  # negative control


def test_the_intervals_of_volumes_go_by_the_weighted_means(done, record):
    result = done.segmentation
    (path,) = (path for path in done.written if path.name.endswith("desc-volumes.tsv"))
    with path.open(newline="") as file:
        table = {row["name"]: row for row in csv.DictReader(file, delimiter="\t")}
    halves = []
    for weighted in (True, False):
        means = statistics(record, weighted=weighted)[0]
        levels = {k: means[name] for k, name in enumerate(result.names, start=1)}
        values, labels = result.corrected[result.mask], result.labels[result.mask]
        borders = interval.border_voxels(values, labels, levels)
        deviations, _ = interval.deviations(result.contacts, borders, result.names.index("CSF") + 1)
        halves.append(interval.Z90 * deviations * result.volume.voxel_ml)
    for name, weighted, plain in zip(result.names, *halves, strict=True):
        own, low, high = (
            float(table[name][f"volume_{what}_ml"]) for what in ("from_labels", "low", "high")
        )
        assert high - own == pytest.approx(weighted, abs=2e-3), name  # three digits are written
        assert own - low == pytest.approx(weighted, abs=2e-3), name
        assert abs(plain - weighted) > 0.1, name  # negative control
