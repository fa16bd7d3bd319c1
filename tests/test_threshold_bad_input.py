"""Bad input to ``gmmseg threshold``: a right answer or one clear sentence, never anything else."""

import numpy as np
import pytest
import tifffile
from click.testing import CliRunner
from PIL import Image
from thresholdimages import blobs, grey, load, save, scene, table

from gmmseg.cli import main

TRUTH = blobs((48, 64))
PIXELS = grey(TRUTH)


def run(folder, *words):
    words = ["threshold", *map(str, words), "-o", str(folder / "out"), "--no-picture"]
    return CliRunner().invoke(main, words, catch_exceptions=False)


def refused(result, *parts):
    """Exit code 2, one sentence on stderr, nothing on stdout."""
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    for part in parts:
        assert str(part) in result.stderr


def tiff(folder, array, **options):
    tifffile.imwrite(folder / "a.tif", array, **options)
    return folder / "a.tif"


def holes(folder):
    image = scene(TRUTH).astype(np.float32) / 100
    image[:4] = np.nan
    return tiff(folder, image)


def infinite(folder):
    image = scene(TRUTH).astype(np.float32)
    image[3, 3] = np.inf
    return tiff(folder, image)


def truncated(folder):
    whole = save(folder / "a.png", PIXELS).read_bytes()
    (folder / "a.png").write_bytes(whole[: len(whole) // 2])
    return folder / "a.png"


def animated(folder):
    frames = [Image.fromarray(PIXELS), Image.fromarray(255 - PIXELS)]
    frames[0].save(folder / "a.gif", save_all=True, append_images=frames[1:])
    return folder / "a.gif"


def text(folder):
    (folder / "a.png").write_text("no image")
    return folder / "a.png"


def equal_means(folder):
    """Red and blue are as bright as each other."""
    image = np.where(TRUTH[..., None], (200, 0, 0), (0, 0, 200)).astype(np.uint8)
    return save(folder / "a.png", image)


REFUSED = {
    "no file": (lambda d: d / "none.png", (), "does not exist"),
    "text": (text, (), "but text"),
    "truncated": (truncated, (), "truncated or damaged"),
    "animated": (animated, (), "animated"),
    "infinite": (infinite, (), "infinite values"),
    "all missing": (lambda d: tiff(d, np.full((9, 9), np.nan, np.float32)), (), "no pixel"),
    "complex": (lambda d: tiff(d, TRUTH * 1j), (), "complex"),
    "colours of one mean": (equal_means, (), "--channels"),
    "one value, three classes": (
        lambda d: save(d / "a.png", np.full((9, 9), 5, np.uint8)), ("-k", 3), "one value only, 5",
    ),
    "one value, always cut": (
        lambda d: save(d / "a.png", np.full((9, 9), 5, np.uint8)), ("--always-cut",),
        "one value only, 5",
    ),
    "more classes than values": (
        lambda d: save(d / "a.png", TRUTH.astype(np.uint8)), ("-k", 3), "2 distinct intensities",
    ),
    "no such channel": (
        lambda d: save(d / "a.png", np.dstack([PIXELS, PIXELS // 2, PIXELS])), ("--channel", 3),
        "no 3",
    ),
    "no such family": (lambda d: save(d / "a.png", PIXELS), ("--families", "cauchy"), "cauchy"),
    "parts of a PNG": (lambda d: save(d / "a.png", PIXELS), ("--large",), "in parts"),
    "edges in parts": (
        lambda d: tiff(d, PIXELS), ("--large", "--smooth", 1, "--edges"), "--edges",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_used_is_one_sentence_and_leaves_nothing(tmp_path, name):
    make, words, message = REFUSED[name]
    image = make(tmp_path)
    refused(run(tmp_path, image, *words), image, message)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("shape", "value", "message"), [((5, 5), 1, "has size 5x5"), (TRUTH.shape, 0, "is empty")]
)
def test_a_mask_of_another_size_or_without_a_pixel_is_refused(tmp_path, shape, value, message):
    image = save(tmp_path / "a.png", PIXELS)
    mask = save(tmp_path / "m.png", np.full(shape, value, np.uint8))
    refused(run(tmp_path, image, "--mask", mask), mask, message)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--local", "-k", "3"), "two classes"),
        (("--local", "--families", "gaussian,gaussian"), "cannot be combined"),
        (("--local", "--report"), "--report"),
    ],
)
def test_options_that_exclude_each_other_are_refused_before_any_work(tmp_path, words, message):
    refused(run(tmp_path, tmp_path / "not there.png", *words), message)


def test_two_images_with_results_of_one_name_are_refused_before_any_work(tmp_path):
    one, two = save(tmp_path / "a.png", PIXELS), save(tmp_path / "a.bmp", PIXELS)
    refused(run(tmp_path, one, two), one, two, "a_dseg")
    assert not (tmp_path / "out").exists()


def test_an_input_is_never_overwritten(tmp_path):
    image = save(tmp_path / "a.png", PIXELS)
    (tmp_path / "out").mkdir()
    mask = save(tmp_path / "out" / "a_dseg.png", np.ones(TRUTH.shape, np.uint8))
    before = mask.read_bytes()
    refused(run(tmp_path, image, "--mask", mask, "--overwrite"), "would overwrite an input")
    assert mask.read_bytes() == before


def test_results_are_kept_unless_overwriting_is_asked_for(tmp_path):
    image = save(tmp_path / "a.png", PIXELS)
    assert run(tmp_path, image).exit_code == 0
    refused(run(tmp_path, image, "--dark"), "exists already")
    assert run(tmp_path, image, "--dark", "--overwrite").exit_code == 0
    (row,) = table(tmp_path / "out")
    assert row["options"] == "--dark"


def test_one_bad_image_does_not_stop_the_others_and_is_in_the_table(tmp_path):
    for name in ("a.png", "c.png"):
        save(tmp_path / name, PIXELS)
    (tmp_path / "b.png").write_text("no image")
    result = run(tmp_path, tmp_path)
    assert result.exit_code == 2
    first, sentence = result.stderr.splitlines()
    assert first == "2 images labelled, 1 failed:"
    assert str(tmp_path / "b.png") in sentence
    rows = table(tmp_path / "out")
    assert [row["status"] for row in rows] == ["ok", "failed", "ok"]
    assert "but text" in rows[1]["message"]
    save(tmp_path / "b.png", PIXELS)  # mended, it is all that a second run has to do
    again = run(tmp_path, tmp_path, "--resume")
    assert "1 image labelled, 2 done before." in again.stderr
    assert [row["status"] for row in table(tmp_path / "out")] == ["ok"] * 3


def test_a_table_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "out").mkdir()
    other = tmp_path / "out" / "thresholds.tsv"
    other.write_text("a\tb\n1\t2\n")
    refused(run(tmp_path, save(tmp_path / "a.png", PIXELS)), other)
    assert other.read_text() == "a\tb\n1\t2\n"


RIGHT = {
    "one bit": lambda d: (Image.fromarray(TRUTH).save(d / "a.png"), d / "a.png")[1],
    "two values": lambda d: save(d / "a.png", np.where(TRUTH, 7, 3).astype(np.uint8)),
    "12 bits in 16": lambda d: tiff(d, PIXELS.astype(np.uint16) * 16),
    "big-endian": lambda d: tiff(d, PIXELS.astype(">u2") * 200, byteorder=">"),
    "float beyond one": lambda d: tiff(d, (scene(TRUTH) * 37 - 900).astype(np.float32)),
    "negative integers": lambda d: tiff(d, PIXELS.astype(np.int16) - 100),
    "white is 0": lambda d: tiff(d, 255 - PIXELS, photometric="miniswhite"),
    "grey palette": lambda d: (Image.fromarray(PIXELS).convert("P").save(d / "a.png"),
                               d / "a.png")[1],
    "JPEG": lambda d: (Image.fromarray(PIXELS).save(d / "a.jpg", quality=97), d / "a.jpg")[1],
}  # fmt: skip


@pytest.mark.parametrize("name", RIGHT)
def test_odd_images_get_the_right_labels(tmp_path, name):
    image = RIGHT[name](tmp_path)
    assert run(tmp_path, image).exit_code == 0
    (found,) = (tmp_path / "out").glob("a_dseg.*")
    labels = tifffile.imread(found) if found.suffix == ".tif" else load(found)
    # JPEG rings at edges; all others are noise ten deviations below the contrast.
    assert np.mean(labels != TRUTH) <= (0.01 if name == "JPEG" else 0)


def test_missing_pixels_are_not_labelled(tmp_path):
    assert run(tmp_path, holes(tmp_path)).exit_code == 0
    labels = tifffile.imread(tmp_path / "out" / "a_dseg.tif")
    assert not labels[:4].any()
    np.testing.assert_array_equal(labels[4:], TRUTH[4:])


def test_transparent_pixels_are_not_labelled(tmp_path):
    alpha = np.full(TRUTH.shape, 255, np.uint8)
    alpha[:, :8] = 0
    image = save(tmp_path / "a.png", np.dstack([PIXELS] * 3 + [alpha]))
    assert run(tmp_path, image).exit_code == 0
    np.testing.assert_array_equal(load(tmp_path / "out" / "a_dseg.png"), TRUTH & (alpha > 0))


def test_an_image_of_one_value_is_background_with_a_flag(tmp_path):
    image = save(tmp_path / "a.png", np.full((9, 9), 5, np.uint8))
    result = run(tmp_path, image)
    assert result.exit_code == 0
    assert "one value only, 5" in result.stderr
    assert not load(tmp_path / "out" / "a_dseg.png").any()
    assert table(tmp_path / "out")[0]["flags"] == "one_class"
