"""Every pipeline runs on what the project brings along, and is short enough to be copied."""

import runpy
import sys
from pathlib import Path

import fake
import nibabel as nib
import numpy as np
import pytest
from matplotlib.figure import Figure
from skimage import data, io
from skimage.filters import threshold_otsu

from gmmseg import report
from gmmseg.metrics import dice

PIPELINES = Path(__file__).resolve().parent.parent / "pipelines"


def run(monkeypatch, name, *words):
    """Run a pipeline as a script; its exit code."""
    monkeypatch.setattr(sys, "argv", [name, *map(str, words)])
    try:
        runpy.run_path(str(PIPELINES / name), run_name="__main__")
    except SystemExit as stop:
        return stop.code
    return 0


@pytest.fixture
def workflow(monkeypatch):
    """The fake segmentation in the place of the model; fails for a scan named bad."""

    def segment_brain(image, mask=None, settings=None, *, volume_index=None, progress=None):
        if image.path.name.startswith("bad"):
            raise ZeroDivisionError("what no one thought of")
        doubts = ("It is odd.",) if image.path.name.startswith("odd") else ()
        return fake.segmentation(image, settings, doubts)

    fake.install_workflow(monkeypatch, segment_brain)
    monkeypatch.setattr(report, "draw", lambda *_, **__: Figure(figsize=(1, 1)))


def save_scan(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(0).normal(100, 10, fake.ball().shape).astype(np.float32)
    nib.save(nib.Nifti1Image(values, fake.AFFINE), path)
    return path


@pytest.mark.parametrize("path", sorted(PIPELINES.glob("*.py")), ids=lambda path: path.name)
def test_a_pipeline_has_at_most_thirty_lines(path):
    assert len(path.read_text().splitlines()) <= 30


def test_one_scan_is_segmented_and_its_volumes_printed(monkeypatch, workflow, tmp_path, capsys):
    scan = save_scan(tmp_path / "t1.nii.gz")
    assert run(monkeypatch, "brain_t1w.py", scan, tmp_path / "out") == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[0].split()[::2] == ["GM", "mL"]
    assert str(tmp_path / "out" / "t1_dseg.nii.gz") in printed


@pytest.mark.parametrize("name", ["brain_t1w.py", "batch_folder.py"])
def test_a_doubtful_result_is_warned_of(monkeypatch, workflow, tmp_path, capsys, name):
    scan = save_scan(tmp_path / "in" / "odd.nii.gz")
    what = scan if name == "brain_t1w.py" else scan.parent
    assert run(monkeypatch, name, what, tmp_path / "out") == 0
    assert "Warning: It is odd.\n" in capsys.readouterr().err


def test_one_bad_scan_is_one_sentence(monkeypatch, workflow, tmp_path, capsys):
    assert run(monkeypatch, "brain_t1w.py", tmp_path / "none.nii") == 2
    assert capsys.readouterr().err.endswith("none.nii does not exist.\n")


def test_a_folder_is_done_but_for_its_bad_scans_which_are_listed(
    monkeypatch, workflow, tmp_path, capsys
):
    save_scan(tmp_path / "in" / "a.nii.gz")
    save_scan(tmp_path / "in" / "bad.nii.gz")
    (tmp_path / "in" / "deep").mkdir()
    (tmp_path / "in" / "deep" / "broken.nii").write_text("no image")
    save_scan(tmp_path / "in" / "deep" / "z.nii")
    out = tmp_path / "in" / "out"
    assert run(monkeypatch, "batch_folder.py", tmp_path / "in", out) == 1
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [f"{out}/a_dseg.nii.gz", f"{out}/deep/z_dseg.nii.gz"]
    failed = [line for line in printed.err.splitlines() if line.startswith("FAILED")]
    assert [Path(line.split()[1].rstrip(":")).name for line in failed] == [
        "bad.nii.gz",
        "broken.nii",
    ]
    assert printed.err.endswith("2 of 4 scans done\n")


def test_scans_of_one_name_in_different_folders_do_not_meet(monkeypatch, workflow, tmp_path):
    for person in ("anna", "otto"):
        save_scan(tmp_path / "in" / person / "t1.nii.gz")
    assert run(monkeypatch, "batch_folder.py", tmp_path / "in", tmp_path / "out") == 0
    found = sorted(path.parent.name for path in (tmp_path / "out").rglob("t1_dseg.nii.gz"))
    assert found == ["anna", "otto"]


def test_a_bids_data_set_becomes_one_folder_of_derivatives(monkeypatch, workflow, tmp_path):
    for person in ("sub-01", "sub-02"):
        save_scan(tmp_path / "in" / person / "anat" / f"{person}_T1w.nii.gz")
    assert run(monkeypatch, "batch_folder.py", tmp_path / "in", tmp_path / "out") == 0
    found = sorted(
        path.relative_to(tmp_path / "out") for path in (tmp_path / "out").rglob("*.json")
    )
    assert Path("dataset_description.json") in found
    assert Path("sub-02_dseg.json") in found
    assert not [path for path in found if path.parent != Path()]


def test_results_of_before_are_no_scans(monkeypatch, workflow, tmp_path, capsys):
    save_scan(tmp_path / "a.nii.gz")
    out = tmp_path / "derivatives" / "gmmseg"
    assert run(monkeypatch, "batch_folder.py", tmp_path, out) == 0
    assert run(monkeypatch, "batch_folder.py", tmp_path, tmp_path / "again") == 0
    assert capsys.readouterr().err.endswith("1 of 1 scans done\n")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert run(monkeypatch, "batch_folder.py", empty) == 1


@pytest.mark.parametrize("name", ["coins", "camera"])
def test_a_packaged_image_is_sorted_into_classes_of_rising_intensity(monkeypatch, tmp_path, name):
    assert run(monkeypatch, "threshold_2d.py", name, 3, tmp_path) == 0
    labels, pixels = io.imread(tmp_path / f"{name}_labels.png"), getattr(data, name)()
    assert labels.shape == pixels.shape
    assert set(np.unique(labels)) == {0, 1, 2}
    assert np.diff([pixels[labels == k].mean() for k in range(3)]).min() > 0
    assert io.imread(tmp_path / f"{name}_classes.png").shape == (500, 1200, 4)


def test_two_classes_of_a_file_are_those_of_otsu_where_classes_are_equal(monkeypatch, tmp_path):
    """Equal weights and variances, eight deviations apart: any threshold between will do."""
    rng = np.random.default_rng(0)
    truth = np.arange(64 * 64).reshape(64, 64) % 2 == 1
    pixels = np.clip(rng.normal(80 + 80 * truth, 10), 0, 255).astype(np.uint8)
    io.imsave(tmp_path / "dots.png", pixels, check_contrast=False)
    assert run(monkeypatch, "threshold_2d.py", tmp_path / "dots.png", 2, tmp_path) == 0
    labels = io.imread(tmp_path / "dots_labels.png") == 1
    assert dice(labels, truth) == 1
    assert dice(labels, pixels > threshold_otsu(pixels)) == 1


@pytest.mark.parametrize("name", ["brain_t1w.py", "batch_folder.py", "threshold_2d.py"])
def test_a_pipeline_without_arguments_says_how_to_use_it(monkeypatch, name):
    assert run(monkeypatch, name) not in (0, None)
