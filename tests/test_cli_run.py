"""The installed command on the sample head, from scan to files, and once more to the same bits."""

import csv
import json
import shlex
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from matplotlib.image import imread

from gmmseg.labels import SCHEMES
from gmmseg.metrics import dice

COMMAND = str(Path(sys.executable).with_name("gmmseg"))
NAMES = ("GM", "WM", "CSF")


def run(words):
    result = subprocess.run(words, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result


@pytest.fixture(scope="module")
def first(sample_t1, tmp_path_factory):
    """Folder and output of a run with one thread and nothing else given."""
    out = tmp_path_factory.mktemp("first")
    result = run([COMMAND, "brain", str(sample_t1), "-o", str(out), "--threads", "1"])
    return out, result


@pytest.fixture(scope="module")
def record(first):
    """The record of the first run."""
    return json.loads((first[0] / "sub-sim_desc-provenance.json").read_text())


def load(folder, ending, stem="sub-sim"):
    image = nib.load(folder / f"{stem}_{ending}.nii.gz")
    return np.asarray(image.dataobj), image


def test_the_files_are_those_printed_and_nothing_is_said_besides(first):
    out, result = first
    assert sorted(map(Path, result.stdout.splitlines())) == sorted(out.iterdir())
    assert result.stderr == ""


def test_the_tissues_are_found(first, sample_truth):
    """Far below what is reached: a swapped label or a shifted grid falls through."""
    labels, _ = load(first[0], "dseg")
    for name, code in SCHEMES["bids"].items():
        assert dice(labels == code, sample_truth == code) > 0.75, name


def test_every_image_is_on_the_grid_of_the_scan(first, sample_t1):
    scan = nib.load(sample_t1)
    images = list(first[0].glob("*.nii.gz"))
    assert len(images) == 6
    for path in images:
        image = nib.load(path)
        assert image.shape == scan.shape
        np.testing.assert_array_equal(image.affine, scan.affine)
        for field in ("sform_code", "qform_code", "xyzt_units"):
            assert image.header[field] == scan.header[field]


def test_probabilities_labels_mask_and_volumes_agree(first):
    out, _ = first
    labels, image = load(out, "dseg")
    mask, _ = load(out, "desc-brain_mask")
    posteriors = np.stack([load(out, f"label-{name}_probseg")[0] for name in NAMES], axis=-1)
    assert labels.dtype == mask.dtype == np.uint8
    assert posteriors.dtype == np.float32
    assert np.isfinite(posteriors).all()
    np.testing.assert_array_equal(mask, labels > 0)
    np.testing.assert_allclose(posteriors.sum(axis=-1), mask, atol=1e-5)
    with (out / "sub-sim_desc-volumes.tsv").open(newline="") as file:
        rows = {row["name"]: row for row in csv.DictReader(file, delimiter="\t")}
    voxel = np.prod(image.header.get_zooms()) / 1000
    for k, name in enumerate(NAMES):
        by_label = float(rows[name]["volume_from_labels_ml"])
        assert by_label == pytest.approx(np.count_nonzero(labels == k + 1) * voxel, abs=1e-3)
        by_posterior = float(rows[name]["volume_from_probabilities_ml"])
        assert by_posterior == pytest.approx(posteriors[..., k].sum(dtype=float) * voxel, abs=1e-2)


def test_the_picture_is_there(first):
    assert imread(first[0] / "sub-sim_qc.png").shape[1] == 1600


def test_the_record_tells_the_whole_run(record, sample_t1):
    assert record["scan"]["path"] == str(sample_t1)
    assert record["settings"]["threads"] == 1
    assert np.diff(record["objective_nats_per_sample"]).min() >= -1e-9
    assert sum(record["seconds"].values()) > 0
    assert {"GM", "WM", "CSF"} <= {row["class"] for row in record["components"]}
    assert sum(row["weight"] for row in record["components"]) == pytest.approx(1)


def test_the_command_in_the_record_gives_the_same_bits_with_two_threads(first, record, tmp_path):
    words = shlex.split(record["command"])
    words[0] = COMMAND
    words[words.index("-o") + 1] = str(tmp_path)
    words[words.index("--threads") + 1] = "2"
    words[words.index("--labels") + 1] = "fsl"
    run(words)
    for path in first[0].glob("*.nii.gz"):
        if not path.name.endswith("_dseg.nii.gz"):
            assert (tmp_path / path.name).read_bytes() == path.read_bytes(), path.name
    to_fsl = np.array([0, *(SCHEMES["fsl"][name] for name in NAMES)], dtype=np.uint8)
    np.testing.assert_array_equal(load(tmp_path, "dseg")[0], to_fsl[load(first[0], "dseg")[0]])


@pytest.fixture(scope="module")
def masked(sample_t1, sample_truth, tmp_path_factory):
    """Folder of a run in which every option is given; the scan is an MGZ of two volumes."""
    folder = tmp_path_factory.mktemp("masked")
    scan = nib.load(sample_t1)
    both = np.stack([np.asarray(scan.dataobj)] * 2, axis=-1).astype(np.float32)
    nib.save(nib.MGHImage(both, scan.affine), folder / "head.mgz")
    mask = nib.Nifti1Image((sample_truth > 0).astype(np.uint8), scan.affine)
    nib.save(mask, folder / "mask.nii")
    words = ["--mask", str(folder / "mask.nii"), "--whole-head", "--labels", "freesurfer"]
    words += ["--mrf", "0", "--bias-fwhm", "80", "--no-bias", "--volume", "1", "--threads", "2"]
    out = folder / "out"
    run([COMMAND, "brain", str(folder / "head.mgz"), "-o", str(out), *words, "-q", "--overwrite"])
    return out


def test_a_mask_bounds_the_brain_and_other_codes_are_written(masked, sample_truth):
    labels, _ = load(masked, "dseg", "head")
    assert set(np.unique(labels)) == {0, 2, 3, 24}
    assert not labels[sample_truth == 0].any()
    for name, code in SCHEMES["freesurfer"].items():
        truth = sample_truth == SCHEMES["bids"][name]
        assert dice(labels == code, truth) > 0.75, name


def test_without_bias_correction_the_scan_comes_back(masked, sample_t1):
    corrected, _ = load(masked, "desc-biascorr_T1w", "head")
    np.testing.assert_allclose(corrected, np.asarray(nib.load(sample_t1).dataobj), rtol=1e-5)


def test_given_settings_are_recorded(masked):
    record = json.loads((masked / "head_desc-provenance.json").read_text())
    expected = {"mrf": 0, "bias_fwhm": 80, "bias": "off", "stripped": False, "threads": 2}
    assert expected.items() <= record["settings"].items()
    assert record["mask"]["path"].endswith("mask.nii")
    assert "--volume 1" in record["command"]
