"""The table of thresholds while runs add to it: what is there stays, whoever wrote it."""

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from thresholdimages import blobs, grey, save, table

from gmmseg import staging, thresholdbatch, thresholdledger
from gmmseg.checks import InputError
from gmmseg.cli import main
from gmmseg.thresholdledger import Ledger
from gmmseg.thresholdtable import failed_row

TRUTH = blobs((48, 64))


def row(name, message="no reason"):
    return failed_row(Path(f"{name}.png"), message, "n/a")


def images(folder):
    return [one["image"] for one in table(folder)]


def test_two_runs_in_one_folder_keep_the_rows_of_each_other(tmp_path):
    first, second = Ledger(tmp_path), Ledger(tmp_path)
    for name in "ab":
        first.add(name, [row(name)])
        first.save()
        second.add(name.upper(), [row(name.upper())])
        second.save()
    assert images(tmp_path) == ["a.png", "A.png", "b.png", "B.png"]


def test_a_row_replaces_that_of_its_image_where_it_stands(tmp_path):
    ledger = Ledger(tmp_path)
    for name in "abc":
        ledger.add(name, [row(name)])
    ledger.save()
    again = Ledger(tmp_path)
    again.add("b", [row("b", "another reason")])
    again.save()
    assert images(tmp_path) == ["a.png", "b.png", "c.png"]
    assert table(tmp_path)[1]["message"] == "another reason"


def test_columns_that_somebody_added_stay_behind_ours(tmp_path):
    ledger = Ledger(tmp_path)
    ledger.add("a", [row("a")])
    path, sidecar = ledger.save()
    head, *rest = path.read_text().splitlines()
    more = ("group", "visit_20240101", "area_²", "empty")
    lines = ["\t".join((head, *more)), *("\t".join((r, "control", "7", "8", "n/a")) for r in rest)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8-sig")  # as a spreadsheet may save it
    again = Ledger(tmp_path)
    again.add("b", [row("b")])
    again.save()
    again.add("a", [row("a", "another reason")])  # keeps what was said of the image
    again.save()
    a, b = table(tmp_path)
    assert list(a) == [*head.split("\t"), *more]
    assert [a[name] for name in more] == ["control", "7", "8", "n/a"]
    assert {b[name] for name in more} == {"n/a"}
    assert a["message"] == "another reason"
    assert "group" not in sidecar.read_text()


def test_a_run_without_news_does_not_touch_the_table(tmp_path):
    ledger = Ledger(tmp_path)
    assert ledger.save() == ()
    assert list(tmp_path.iterdir()) == []
    ledger.add("a", [row("a")])
    assert len(written := ledger.save()) == 2
    (tmp_path / "thresholds.tsv").unlink()
    assert ledger.save() == written
    assert not (tmp_path / "thresholds.tsv").exists()


def test_a_table_that_goes_while_a_run_adds_to_it_comes_back_whole(tmp_path):
    ledger = Ledger(tmp_path)
    for name in "ab":
        ledger.add(name, [row(name)])
        path, _ = ledger.save()
        assert images(tmp_path)[-1] == f"{name}.png"
        path.unlink()
    ledger.add("c", [row("c")])
    ledger.save()
    assert sorted(images(tmp_path)) == ["a.png", "b.png", "c.png"]


def test_what_another_run_labelled_meanwhile_is_not_called_failed(tmp_path, monkeypatch):
    """Its labels are there, so that this run may not write them."""
    image = save(tmp_path / "cells.png", grey(TRUTH))
    out = tmp_path / "out"
    words = ["threshold", str(image), str(save(tmp_path / "b.png", grey(TRUTH))), "-o", str(out)]
    usual = thresholdbatch.threshold_image

    def beside(*args, **kwargs):
        monkeypatch.setattr(thresholdbatch, "threshold_image", usual)
        assert CliRunner().invoke(main, [*words, "--no-picture"]).exit_code == 0
        return usual(*args, **kwargs)

    monkeypatch.setattr(thresholdbatch, "threshold_image", beside)
    result = CliRunner().invoke(main, [*words, "--no-picture"])
    assert result.exit_code == 2
    assert "exists already" in result.stderr
    assert [one["status"] for one in table(out)] == ["ok", "ok"]
    resumed = CliRunner().invoke(main, [*words, "--no-picture", "--resume"])
    assert resumed.exit_code == 0, resumed.stderr


def test_overwrite_takes_away_what_another_run_made_of_the_name_meanwhile(tmp_path):
    begun = Ledger(tmp_path)
    other = Ledger(tmp_path)
    other.add("a", [failed_row(Path("a.tif"), "no reason", "n/a", ["a_dseg.tif"])])
    assert begun.made("a") == ()
    other.save()
    assert begun.made("a") == ("a_dseg.tif",)


def test_a_table_that_cannot_be_written_is_told_of_apart_from_the_labels(tmp_path, monkeypatch):
    image = save(tmp_path / "cells.png", grey(TRUTH))
    (tmp_path / "bad.png").write_bytes(b"no picture")
    move = Path.replace

    def full(path, target):
        if Path(target).name == "thresholds.tsv":
            raise OSError(28, "No space left on device")
        return move(path, target)

    monkeypatch.setattr(Path, "replace", full)
    out = tmp_path / "out"
    words = ["threshold", str(image), str(tmp_path / "bad.png"), "--no-picture", "-o", str(out)]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 2
    assert "(No space left on device). The labels of 1 image are there" in result.stderr
    assert "bad.png" in result.stderr
    assert "nothing was written" not in result.stderr
    assert [path.name for path in out.iterdir()] == ["cells_dseg.png"]
    monkeypatch.undo()
    CliRunner().invoke(main, [*words, "--resume"])
    assert [one["status"] for one in table(out)] == ["ok", "failed"]


def test_a_table_spoilt_meanwhile_does_not_stop_a_run_nor_go(tmp_path, monkeypatch):
    monkeypatch.setattr(thresholdledger, "_EVERY", 0.0)
    ledger = Ledger(tmp_path)
    ledger.add("a", [row("a")])
    path = tmp_path / "thresholds.tsv"
    path.write_text(path.read_text().replace("\t", ";"))
    spoilt = path.read_text()
    ledger.add("b", [row("b")])
    with pytest.raises(InputError, match=r"could not be written to .*not one of gmmseg threshold"):
        ledger.save()
    assert path.read_text() == spoilt


def test_where_nothing_was_labelled_no_labels_are_promised(tmp_path):
    image = save(tmp_path / "cells.png", grey(TRUTH))
    (tmp_path / "file").touch()
    words = ["threshold", str(image), str(save(tmp_path / "b.png", grey(TRUTH)))]
    result = CliRunner().invoke(main, [*words, "-o", str(tmp_path / "file" / "below")])
    assert result.exit_code == 2
    assert result.stderr.count("below cannot be written") == 2  # one for each image
    assert "thresholds.tsv could not be written" in result.stderr
    assert "are there" not in result.stderr


MANY = """
import sys
from pathlib import Path
from gmmseg.thresholdledger import Ledger
from gmmseg.thresholdtable import failed_row
ledger = Ledger(Path(sys.argv[1]))
print("begun", flush=True)
sys.stdin.readline()
for i in range(40):
    ledger.add(f"{sys.argv[2]}{i}", [failed_row(Path(f"{sys.argv[2]}{i}.png"), "no", "n/a")])
    ledger.save()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no lock of a folder")
def test_processes_that_write_at_a_time_lose_no_row(tmp_path):
    """Without the lock a run may write over rows that came after it had read the table."""
    words = [sys.executable, "-P", "-c", MANY, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    both = [subprocess.Popen([*words, name], **pipes) for name in "ab"]
    for process in both:
        process.stdout.readline()
    for process in both:
        process.stdin.write(b"\n")
        process.stdin.flush()
    for process in both:
        process.communicate(timeout=60)
        assert process.returncode == 0
    assert sorted(images(tmp_path)) == sorted(f"{n}{i}.png" for n in "ab" for i in range(40))


def test_the_cost_of_looking_for_inputs_grows_with_the_images_not_their_square(
    tmp_path, monkeypatch
):
    picture = grey(TRUTH)
    named = [save(tmp_path / f"cells{i}.png", picture) for i in range(12)]
    usual, calls = staging.Path.resolve, []

    def resolve(path, *args, **kwargs):
        calls.append(path)
        return usual(path, *args, **kwargs)

    monkeypatch.setattr(staging.Path, "resolve", resolve)

    def count(paths):
        calls.clear()
        out = tmp_path / f"out{len(paths)}"
        words = ["threshold", *map(str, paths), "--no-picture", "-o", str(out)]
        assert CliRunner().invoke(main, words).exit_code == 0
        return len(calls)

    few, many = count(named[:3]), count(named)
    assert 0 < many <= 4 * few
