"""How the installed command refuses scans, masks and folders that it cannot use."""

import errno
import os
import re
import tempfile

import fake
import numpy as np
from click.testing import CliRunner
from commandline import entries, run, save

from gmmseg import cli


def refused(result, message):
    """Assert exit code 2 and one sentence on stderr that matches."""
    assert result.returncode == 2, result.stderr
    assert result.stdout == ""
    assert re.search(message, result.stderr), result.stderr
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.stderr


def bad_scans(folder):
    """Path, further words and expected message of every kind of scan that is refused."""
    rng = np.random.default_rng(0)
    data = rng.integers(1, 1000, (12, 11, 10)).astype(np.int16)
    whole = save(folder / "whole.nii.gz", data).read_bytes()
    (folder / "truncated.nii.gz").write_bytes(whole[: len(whole) // 2])
    (folder / "text.nii").write_text("no image" * 100)
    flat = bytearray(save(folder / "flat.nii", data).read_bytes())
    flat[252:256] = np.array([1, 0], np.int16).tobytes()  # no sform, which has sizes of its own
    flat[80:84] = np.float32(0).tobytes()
    (folder / "flat.nii").write_bytes(flat)
    flat[80:84] = np.float32(-2).tobytes()
    (folder / "negative.nii").write_bytes(flat)
    save(folder / "4d.nii", np.stack([data, data], axis=-1))
    save(folder / "complex.nii", data.astype(np.complex64))
    save(folder / "zeros.nii", data * 0)
    save(folder / "constant.nii", data * 0 + 5)
    save(folder / "nan.nii", np.full(data.shape, np.nan, np.float32))
    save(folder / "plain.nii", data).rename(folder / "plain.nii.gz")
    (folder / "loop.nii").symlink_to("loop.nii")
    return [
        ("missing.nii", (), "does not exist"),
        ("truncated.nii.gz", (), "truncated or damaged"),
        ("text.nii", (), "not an image"),
        ("flat.nii", (), "voxel size 0 x"),
        ("negative.nii", (), "voxel size -2 x"),
        ("4d.nii", (), "--volume N, with N from 0 to 1"),
        ("4d.nii", ("--volume", 2), "no volume 2"),
        ("complex.nii", (), "is complex"),
        ("zeros.nii", (), "empty: every voxel has the value 0"),
        ("constant.nii", (), "every voxel has the value 5"),
        ("nan.nii", (), "no finite voxel"),
        ("plain.nii.gz", (), r"not compressed by gzip, as its name says; rename it to plain\.nii"),
        ("loop.nii", (), "leads back to itself|does not exist"),
        ("x" * 300 + ".nii", (), "longer than the system takes|would have a name of"),
        (".", (), "is a folder"),
        ("whole.nii.gz", ("--mask", "x" * 300 + ".nii"), "longer than the system takes"),
        ("whole.nii.gz", ("--mask", "loop.nii"), "leads back to itself|does not exist"),
        ("whole.nii.gz", ("--atlas", f"GM={'x' * 300}"), "longer than the system takes"),
        ("whole.nii.gz", ("-o", "x" * 300), "longer than the system takes"),
        ("whole.nii.gz", ("-o", "loop.nii"), "leads back to itself|broken link"),
        ("whole.nii.gz", ("-o", "text.nii"), r"text\.nii is a file, or a broken link"),
    ]


def test_a_bad_scan_is_refused_with_exit_code_2_and_nothing_is_written(tmp_path):
    cases = bad_scans(tmp_path)
    before = entries(tmp_path)
    for name, words, message in cases:
        refused(run("brain", name, "-o", "out", *words, cwd=tmp_path), message)
    assert entries(tmp_path) == before


def test_a_bad_mask_is_refused_with_exit_code_2_and_nothing_is_written(noise_t1, tmp_path):
    shape = fake.ball().shape
    moved = fake.AFFINE.copy()
    moved[1, 3] += 7
    save(tmp_path / "moved.nii", np.ones(shape, np.uint8), moved)
    save(tmp_path / "small.nii", np.ones((4, 4, 4), np.uint8))
    save(tmp_path / "empty.nii", np.zeros(shape, np.uint8))
    before = entries(tmp_path)
    for name, message in (
        ("moved.nii", "not on the image's grid.*up to 7 mm apart"),
        ("small.nii", "size 4x4x4 and the image 40x24x16"),
        ("empty.nii", "mask .*empty.nii is empty"),
        ("missing.nii", "mask .*missing.nii does not exist"),
    ):
        refused(run("brain", noise_t1, "--mask", name, "-o", "out", cwd=tmp_path), message)
    assert entries(tmp_path) == before


def test_outputs_that_exist_or_cannot_be_written_are_refused(noise_t1, tmp_path):
    (tmp_path / "t1_dseg.tsv").write_text("mine")
    refused(run("brain", noise_t1, "-o", tmp_path), "t1_dseg.tsv exists already.*--overwrite")
    refused(run("brain", noise_t1, "-o", tmp_path / "t1_dseg.tsv" / "out"), "cannot be written")
    assert entries(tmp_path) == ["t1_dseg.tsv"]


def test_a_folder_without_permission_is_refused(noise_t1, tmp_path, monkeypatch):
    """The system call refuses, and not the folder's mode: root may write everywhere."""

    def forbid(*_, **__):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(tempfile, "mkdtemp", forbid)
    out = tmp_path / "new" / "out"
    result = CliRunner().invoke(cli.main, ["brain", str(noise_t1), "-o", str(out)])
    assert result.exit_code == 2
    assert re.match(r"Error: .* cannot be written \(Permission denied\)", result.stderr)
    assert entries(tmp_path) == []
