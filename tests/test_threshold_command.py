"""``gmmseg threshold``: options, files that appear, what is printed, exit codes."""

import json
import signal
import subprocess
import sys
import time

import nibabel as nib
import numpy as np
import pytest
import tifffile
from click.testing import CliRunner
from scipy.special import entr
from thresholdimages import blobs, grey, load, save, scene, table

from gmmseg.cli import main
from gmmseg.thresholdtable import MISSING

TRUTH = blobs()


def run(*words):
    """Run the command in this process."""
    return CliRunner().invoke(main, ["threshold", *map(str, words)], catch_exceptions=False)


def label(folder, *words):
    """Run, insist on success, and take no time for pictures."""
    result = run(*words, "-o", folder, "--no-picture")
    assert result.exit_code == 0, result.output
    return result


def test_an_image_gives_labels_a_picture_and_a_row(tmp_path):
    image = save(tmp_path / "cells.png", grey(TRUTH))
    result = run(image, "-o", tmp_path / "out")
    assert result.exit_code == 0
    named = [tmp_path / "out" / name for name in
             ("cells_dseg.png", "cells_threshold.png", "thresholds.tsv")]  # fmt: skip
    assert result.stdout.splitlines() == [str(path) for path in named]
    assert result.stderr == ""
    assert sorted((tmp_path / "out").iterdir()) == sorted(
        [*named, tmp_path / "out" / "thresholds.json"]
    )
    labels = load(named[0])
    assert labels.dtype == np.uint8
    # Half the distance of the means is five deviations: one pixel in two million is wrong.
    np.testing.assert_array_equal(labels, TRUTH)
    (row,) = table(tmp_path / "out")
    assert (row["image"], row["status"], row["classes"]) == (str(image), "ok", "2")
    assert 80 < float(row["threshold_1"]) < 120
    assert float(row["mean_1"]) == pytest.approx(60, abs=1)  # background first
    assert float(row["mean_2"]) == pytest.approx(140, abs=1)
    assert float(row["fraction_2"]) == pytest.approx(TRUTH.mean())
    assert float(row["separation"]) == pytest.approx(10, rel=0.05)
    assert float(row["misfit"]) < 0.02
    assert row["flags"] == MISSING
    told = json.loads((tmp_path / "out" / "thresholds.json").read_text())
    assert list(told) == list(row)


def test_the_darker_class_is_the_foreground_if_asked(tmp_path):
    image = save(tmp_path / "page.png", grey(~TRUTH))
    label(tmp_path / "out", image, "--dark")
    np.testing.assert_array_equal(load(tmp_path / "out" / "page_dseg.png"), TRUTH)
    (row,) = table(tmp_path / "out")
    assert float(row["mean_1"]) > float(row["mean_2"])


def test_more_classes_count_from_one_in_order_of_intensity(tmp_path):
    bands = np.repeat([[2, 0, 1]], 30, axis=1) * np.ones((60, 1), int)
    pixels = np.clip(50 + 60 * bands + np.random.default_rng(0).normal(0, 5, bands.shape), 0, 255)
    image = save(tmp_path / "three.png", pixels.astype(np.uint8))
    label(tmp_path / "out", image, "-k", 3)
    np.testing.assert_array_equal(load(tmp_path / "out" / "three_dseg.png"), bands + 1)
    label(tmp_path / "auto", image, "-k", "auto")
    np.testing.assert_array_equal(load(tmp_path / "auto" / "three_dseg.png"), bands + 1)


def test_folders_and_patterns_stand_for_images_and_results_are_no_images(tmp_path):
    for name in ("a.png", "b.png", "c.png"):
        save(tmp_path / name, grey(TRUTH))
    label(tmp_path / "one", tmp_path / "[ab].png")
    assert [row["image"][-5:] for row in table(tmp_path / "one")] == ["a.png", "b.png"]
    assert run(tmp_path, "-o", tmp_path).exit_code == 0
    result = run(tmp_path, "-o", tmp_path, "--overwrite")
    assert result.exit_code == 0
    assert "3 images labelled." in result.stderr
    assert len(table(tmp_path)) == 3


def test_a_mask_says_where_to_label(tmp_path):
    image = save(tmp_path / "a.png", grey(TRUTH))
    inside = np.zeros(TRUTH.shape, np.uint8)
    inside[20:60, 30:90] = 255
    mask = save(tmp_path / "mask.png", inside)
    label(tmp_path / "out", image, "--mask", mask)
    np.testing.assert_array_equal(load(tmp_path / "out" / "a_dseg.png"), TRUTH & (inside > 0))
    assert table(tmp_path / "out")[0]["pixels"] == str(40 * 60)


def test_maps_are_written_if_asked_and_agree_with_the_labels(tmp_path):
    image = save(tmp_path / "a.png", grey(TRUTH, noise=30))
    label(tmp_path / "out", image, "--posteriors", "--uncertainty", "--smooth", 0.5)
    share = tifffile.imread(tmp_path / "out" / "a_probseg.tif")
    doubt = tifffile.imread(tmp_path / "out" / "a_desc-uncertainty_probseg.tif")
    labels = load(tmp_path / "out" / "a_dseg.png")
    assert share.shape == (2, *TRUTH.shape)
    np.testing.assert_allclose(share.sum(axis=0), 1, atol=1e-5)
    np.testing.assert_array_equal(share.argmax(axis=0), labels)
    np.testing.assert_allclose(doubt, entr(share).sum(axis=0), atol=1e-6)


def test_smoothing_takes_specks_away(tmp_path):
    image = save(tmp_path / "a.png", grey(TRUTH, noise=24))
    wrong = {}
    for beta in (0, 1):
        label(tmp_path / str(beta), image, "--smooth", beta)
        wrong[beta] = np.mean(load(tmp_path / str(beta) / "a_dseg.png") != TRUTH)
    # 3.3 deviations apart, a threshold is wrong in about 4 %; blobs are many pixels wide.
    assert wrong[1] < 0.5 * wrong[0]


def test_colour_is_averaged_unless_channels_are_asked_for(tmp_path):
    red = scene(TRUTH, 60, 180)
    colour = np.stack([red, 240 - red, np.full_like(red, 90)], axis=-1)
    image = save(tmp_path / "a.png", np.clip(colour, 0, 255).astype(np.uint8))
    result = label(tmp_path / "red", image, "--channel", 0)
    np.testing.assert_array_equal(load(tmp_path / "red" / "a_dseg.png"), TRUTH)
    assert result.stderr == ""
    noisy = np.clip(colour + np.random.default_rng(2).normal(0, 3, colour.shape), 0, 255)
    image = save(tmp_path / "b.png", noisy.astype(np.uint8))
    label(tmp_path / "all", image, "--channels")
    np.testing.assert_array_equal(load(tmp_path / "all" / "b_dseg.png"), TRUTH)
    grey_run = label(tmp_path / "grey", image)
    assert "averaged to grey" in grey_run.stderr
    assert not load(tmp_path / "grey" / "b_dseg.png").any()  # red and green cancel: one class
    assert table(tmp_path / "grey")[0]["flags"] == "one_class"


def test_a_photograph_of_a_page_needs_no_more_than_dark_and_local(tmp_path):
    light = np.linspace(0.4, 1.0, TRUTH.shape[1])
    page = scene(~TRUTH, 80, 220, noise=4) * light
    sheet = np.clip(page[..., None] * (1, 0.97, 0.9), 0, 255).astype(np.uint8)
    image = save(tmp_path / "page.png", sheet)
    label(tmp_path / "out", image, "--dark", "--local")
    found = load(tmp_path / "out" / "page_dseg.png") > 0
    assert 2 * (found & TRUTH).sum() / (found.sum() + TRUTH.sum()) > 0.98
    assert table(tmp_path / "out")[0]["options"] == "--dark --local"


def test_a_volume_keeps_its_place(tmp_path):
    truth = blobs((20, 24, 16))
    affine = np.diag([2.0, 2.0, 3.0, 1.0])
    image = nib.Nifti1Image(scene(truth).astype(np.float32), affine)
    nib.save(image, tmp_path / "v.nii.gz")
    label(tmp_path / "out", tmp_path / "v.nii.gz")
    labels = nib.load(tmp_path / "out" / "v_dseg.nii.gz")
    np.testing.assert_array_equal(labels.affine, affine)
    np.testing.assert_array_equal(np.asarray(labels.dataobj), truth)


def test_quiet_prints_nothing_but_warnings(tmp_path):
    save(tmp_path / "a.png", grey(TRUTH))
    save(tmp_path / "empty.png", grey(np.zeros((64, 64), bool)))
    result = run(tmp_path, "-o", tmp_path / "out", "-q", "--no-picture")
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        (
            "Warning: empty.png: One class explains it as well as two, and nothing but noise is "
            "to be seen, so all is background; --always-cut cuts it all the same."
        )
    ]


def test_an_empty_image_is_not_cut_in_half_unless_asked(tmp_path):
    image = save(tmp_path / "empty.png", grey(np.zeros((96, 128), bool), noise=12))
    label(tmp_path / "out", image)
    assert not load(tmp_path / "out" / "empty_dseg.png").any()
    row = table(tmp_path / "out")[0]
    assert (row["classes"], row["flags"], row["threshold_1"]) == ("1", "one_class", MISSING)
    light = np.linspace(1, 1.5, 128) * grey(np.zeros((96, 128), bool), noise=6)
    shaded = save(tmp_path / "shaded.png", light.astype(np.uint8))
    label(tmp_path / "out", shaded)
    assert not load(tmp_path / "out" / "shaded_dseg.png").any()
    label(tmp_path / "cut", image, "--always-cut")
    assert load(tmp_path / "cut" / "empty_dseg.png").any()
    assert table(tmp_path / "cut")[0]["flags"] == "one_class"


def test_objects_that_the_histogram_cannot_tell_are_kept_for_they_can_be_seen(tmp_path):
    """2.7 deviations apart, a fifth of the pixels: the histogram has one mode."""
    image = save(tmp_path / "a.png", grey(TRUTH, noise=30))
    result = label(tmp_path / "out", image, "--smooth", 0.5)
    assert "may mean nothing" in result.stderr
    assert table(tmp_path / "out")[0]["flags"] == "one_class"
    found = load(tmp_path / "out" / "a_dseg.png") > 0
    assert 2 * (found & TRUTH).sum() / (found.sum() + TRUTH.sum()) > 0.9
    shuffled = np.random.default_rng(0).permutation(grey(TRUTH, noise=30).ravel())
    image = save(tmp_path / "b.png", shuffled.reshape(TRUTH.shape))  # the same histogram
    label(tmp_path / "out", image, "--smooth", 0.5)
    assert not load(tmp_path / "out" / "b_dseg.png").any()


def test_an_interrupted_run_keeps_what_was_done_and_goes_on_with_resume(tmp_path):
    for n in range(60):
        save(tmp_path / f"i{n:02}.png", grey(blobs((400, 400), seed=n)))
    out = tmp_path / "out"
    # A shell without job control starts what runs in the background deaf to Ctrl-C.
    hear = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    words = [sys.executable, "-c", f"{hear}; from gmmseg.cli import main; main()", "threshold",
             str(tmp_path), "-o", str(out), "-q"]  # fmt: skip
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        until = time.monotonic() + 60
        while len(list(out.glob("*_dseg.png"))) < 3 and time.monotonic() < until:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate()
    assert process.returncode == 130
    assert "--resume" in told
    done = {row["image"] for row in table(out)}
    assert 0 < len(done) < 60
    finished = len(list(out.glob("*_dseg.png")))
    assert finished == len(list(out.glob("*_threshold.png")))
    assert finished - len(done) in (0, 1)  # it may hit between the files and the row
    assert not list(out.glob(".gmmseg*"))
    kept = {path: path.stat().st_mtime_ns for path in out.glob("*_dseg.png")
            if any(name.endswith(path.name.replace("_dseg", "")) for name in done)}  # fmt: skip
    result = run(tmp_path, "-o", out, "--resume", "--no-picture")
    assert result.exit_code == 0
    assert f"{60 - len(done)} images labelled, {len(done)} done before." in result.stderr
    assert len(table(out)) == 60
    assert all(path.stat().st_mtime_ns == when for path, when in kept.items())


def test_resume_makes_anew_what_a_run_left_that_was_cut_off_before_its_row(tmp_path):
    for n in range(2):
        save(tmp_path / f"i{n}.png", grey(blobs((60, 60), seed=n)))
    out = tmp_path / "out"
    assert run(tmp_path, "-o", out).exit_code == 0
    path = next(out.glob("*.tsv"))
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:2]))
    kept = (out / "i0_dseg.png").stat().st_mtime_ns
    (out / "i1_dseg.png").write_bytes(b"half")

    assert run(tmp_path, "-o", out).exit_code == 2  # negative control
    result = run(tmp_path, "-o", out, "--resume")

    assert result.exit_code == 0
    assert [row["image"] for row in table(out)] == [str(tmp_path / f"i{n}.png") for n in range(2)]
    assert (out / "i0_dseg.png").stat().st_mtime_ns == kept
    assert (out / "i1_dseg.png").stat().st_size > 4


@pytest.mark.parametrize("smooth", [0, 0.6])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
def test_an_image_in_parts_gets_the_labels_of_the_image_in_memory(tmp_path, kind, smooth):
    """Whole numbers to the last pixel; real numbers may change bins at their edges."""
    image = scene(blobs((300, 400)), noise=30)
    image = image.astype(kind) if kind == np.float32 else image.clip(0, 255).round().astype(kind)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, image, tile=(128, 128))
    found = []
    for way in ("--large", "--no-large"):
        label(tmp_path / way, path, way, "--smooth", smooth)
        found.append(tifffile.imread(tmp_path / way / "a_dseg.tif"))
    differ = np.count_nonzero(found[0] != found[1])
    assert differ <= (20 if kind == np.float32 else 0)
    assert 0.1 < found[0].mean() < 0.3


def test_a_report_says_how_far_a_threshold_can_be_trusted(tmp_path):
    sure = save(tmp_path / "sure.png", grey(blobs((256, 256)), noise=8))
    unsure = save(tmp_path / "unsure.png", grey(blobs((256, 256)), noise=24))
    label(tmp_path / "out", sure, unsure, "--report", "-k", 2)
    widths = []
    for row in table(tmp_path / "out"):
        low, cut, high = (float(row[name]) for name in ("low_1", "threshold_1", "high_1"))
        assert low <= cut <= high
        assert float(row["area_low_1"]) >= float(row["fraction_2"]) >= float(row["area_high_1"])
        widths.append(high - low)
    assert widths[0] < widths[1]
