"""``gmmseg threshold`` where results are there already: what goes, what stays, what is refused."""

import signal
from pathlib import Path

import pytest
import tifffile
from click.testing import CliRunner
from thresholdimages import blobs, grey, save, table

from gmmseg import cli_threshold, thresholdbatch
from gmmseg.cli import main

TRUTH = blobs((48, 64))


def run(folder, *words):
    """Run the command in this process, with results in a folder."""
    words = ["threshold", *map(str, words), "-o", str(folder)]
    return CliRunner().invoke(main, words, catch_exceptions=False)


def label(folder, *words):
    """Run, insist on success, and take no time for pictures."""
    result = run(folder, *words, "--no-picture")
    assert result.exit_code == 0, result.output


def names(folder):
    """Files of a folder but for the table."""
    return {path.name for path in folder.iterdir()} - {"thresholds.tsv", "thresholds.json"}


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def png(tmp_path):
    return save(tmp_path / "cells.png", grey(TRUTH))


@pytest.fixture
def tif(tmp_path):
    """An image of the same name and another kind."""
    tifffile.imwrite(tmp_path / "cells.tif", grey(TRUTH))
    return tmp_path / "cells.tif"


def test_overwrite_takes_away_what_only_the_earlier_run_of_an_image_made(png, out):
    run(out, png, "--uncertainty", "--posteriors")
    assert len(names(out)) == 4
    (out / "cells_mine.png").write_text("mine")
    label(out, png, "--overwrite")
    assert names(out) == {"cells_dseg.png", "cells_mine.png"}


def test_a_file_that_no_row_of_the_table_names_is_not_ours_to_take_away(png, out):
    out.mkdir()
    (out / "cells_probseg.tif").write_text("mine")
    label(out, png, "--overwrite")
    label(out, png, "--overwrite")
    assert names(out) == {"cells_dseg.png", "cells_probseg.tif"}


def test_overwrite_takes_away_results_of_an_image_of_the_same_name_and_another_kind(png, tif, out):
    """The table has one row for both, so that labels of the other one would belong to none."""
    label(out, tif, "--posteriors")
    assert names(out) == {"cells_dseg.tif", "cells_probseg.tif"}
    label(out, png, "--overwrite")
    assert names(out) == {"cells_dseg.png"}
    assert [row["image"] for row in table(out)] == [str(png)]


def test_results_of_an_image_of_another_kind_are_not_replaced_unasked(png, tif, out):
    label(out, tif)
    for more in ([], ["--resume"]):
        result = run(out, png, "--no-picture", *more)
        assert result.exit_code == 2
        assert "cells_dseg.tif exists already; replace with --overwrite" in result.stderr
    assert names(out) == {"cells_dseg.tif"}
    assert [row["image"] for row in table(out)] == [str(tif)]
    label(out, tif, "--resume")  # negative control


def test_labels_of_an_earlier_run_that_are_the_mask_of_this_one_stay(png, tif, out):
    label(out, tif)
    label(out, png, "--mask", out / "cells_dseg.tif", "--overwrite")
    assert names(out) == {"cells_dseg.png", "cells_dseg.tif"}


def test_results_that_a_failed_run_left_in_place_go_with_the_next_that_does_not_fail(
    png, tmp_path, out
):
    other = save(tmp_path / "other.png", grey(TRUTH))
    label(out, png, other, "--uncertainty")
    whole = png.read_bytes()
    png.write_bytes(whole[:99])
    assert run(out, png, other, "--overwrite", "--no-picture").exit_code == 2
    left = {"cells_dseg.png", "cells_desc-uncertainty_probseg.tif"}
    assert names(out) == {*left, "other_dseg.png"}
    png.write_bytes(whole)
    label(out, png, "--overwrite")
    assert names(out) == {"cells_dseg.png", "other_dseg.png"}


@pytest.mark.parametrize("files", ["../mine.png", "/../mine.png", "mine.png", "n/a", "", ",,"])
def test_a_table_that_names_files_elsewhere_takes_none_away(png, out, files):
    label(out, png)
    (out.parent / "mine.png").write_text("mine")
    path = out / "thresholds.tsv"
    assert "\tdseg.png\t" in path.read_text()
    path.write_text(path.read_text().replace("\tdseg.png\t", f"\t{files}\t"))
    before = sorted(out.parent.rglob("*"))
    label(out, png, "--overwrite")
    assert sorted(out.parent.rglob("*")) == before


def test_an_image_that_ctrl_c_found_written_has_its_row(out, tmp_path, monkeypatch):
    """The signal comes while labels are moved to their place, and waits until they are there."""
    images = [save(tmp_path / f"{name}.png", grey(TRUTH)) for name in ("a", "b")]
    move = Path.replace

    def interrupted(path, target):
        if Path(target).parent == out:
            monkeypatch.setattr(Path, "replace", move)
            signal.raise_signal(signal.SIGINT)
        return move(path, target)

    monkeypatch.setattr(Path, "replace", interrupted)
    stopped = run(out, *images, "--no-picture")
    assert stopped.exit_code == 130
    assert "1 image of 2 labelled" in stopped.stderr
    assert names(out) == {"a_dseg.png"}
    assert [row["image"] for row in table(out)] == [str(images[0])]
    label(out, *images, "--resume")
    assert names(out) == {"a_dseg.png", "b_dseg.png"}


def test_ctrl_c_when_all_was_written_says_so(png, out, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli_threshold, "_tell", stop)
    stopped = run(out, png, "--no-picture")
    assert stopped.exit_code == 130
    assert stopped.stderr == "Interrupted; all was written.\n"
    assert [row["image"] for row in table(out)] == [str(png)]


def test_a_signal_that_compiled_code_passes_on_as_another_error_ends_the_run(
    png, tif, tmp_path, monkeypatch
):
    seen = []

    def labelled(image, *_):
        seen.append(image)
        try:
            raise SystemExit(143)
        except SystemExit as stop:
            raise SystemError("a kernel returned with an exception set") from stop

    monkeypatch.setattr(thresholdbatch, "_labelled", labelled)
    other = save(tmp_path / "other.png", grey(TRUTH))
    assert run(tmp_path / "out", png, other).exit_code == 143
    assert seen == [png]
