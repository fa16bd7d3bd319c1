"""The table of thresholds while runs add to it: what is there stays, whoever wrote it."""

from pathlib import Path

import pytest
from click.testing import CliRunner
from thresholdimages import blobs, grey, save, table

from gmmseg import staging
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
    lines = path.read_text().splitlines()
    # as a spreadsheet may save it, with a byte order mark
    path.write_text(f"{lines[0]}\tgroup\n{lines[1]}\tcontrol\n", encoding="utf-8-sig")
    again = Ledger(tmp_path)
    again.add("b", [row("b")])
    again.save()
    assert [one["group"] for one in table(tmp_path)] == ["control", "n/a"]
    assert list(table(tmp_path)[0]) == [*lines[0].split("\t"), "group"]
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


def test_a_table_that_cannot_be_written_is_told_of_apart_from_the_labels(tmp_path, monkeypatch):
    image = save(tmp_path / "cells.png", grey(TRUTH))
    move = Path.replace

    def full(path, target):
        if Path(target).name == "thresholds.tsv":
            raise OSError(28, "No space left on device")
        return move(path, target)

    monkeypatch.setattr(Path, "replace", full)
    out = tmp_path / "out"
    words = ["threshold", str(image), "--no-picture", "-o", str(out)]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 2
    assert "table thresholds.tsv could not be written" in result.stderr
    assert "nothing was written" not in result.stderr
    assert [path.name for path in out.iterdir()] == ["cells_dseg.png"]
    monkeypatch.undo()
    result = CliRunner().invoke(main, [*words, "--resume"])
    assert result.exit_code == 0, result.stderr
    assert images(out) == [str(image)]


def test_a_folder_that_cannot_be_made_is_told_of(tmp_path):
    (tmp_path / "file").touch()
    ledger = Ledger(tmp_path / "file" / "below")
    ledger.add("a", [row("a")])
    with pytest.raises(InputError, match=r"table thresholds\.tsv could not be written"):
        ledger.save()


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
