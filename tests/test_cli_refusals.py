"""What surrounds the command and is not as it should be: told in one sentence, exit code 2."""

import errno
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from click.testing import CliRunner

from gmmseg import cli, kernelcache


@pytest.mark.parametrize(
    "words",
    [
        ["brain", "shut/t1.nii"],
        ["brain", "t1.nii", "--mask", "shut/mask.nii"],
        ["brain", "t1.nii", "-o", "shut/out"],
        ["brain", "t1.nii", "--atlas", "GM=shut/gm.nii"],
        ["threshold", "shut/x.png"],
        ["threshold", "t1.nii", "-o", "shut/out"],
        ["threshold", "t1.nii", "--mask", "shut/mask.nii"],
    ],
)
def test_a_folder_that_may_not_be_entered_is_told_of(tmp_path, monkeypatch, rng, words):
    """The system call refuses, and not the folder's mode: root may enter all."""
    look = Path.stat

    def stat(path, **options):
        if "shut" in path.parent.parts:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return look(path, **options)

    monkeypatch.setattr(Path, "stat", stat)
    monkeypatch.chdir(tmp_path)
    scan = rng.normal(100, 10, (12, 11, 10)).astype(np.float32)
    nib.save(nib.Nifti1Image(scan, np.eye(4)), "t1.nii")
    result = CliRunner().invoke(cli.main, words)
    assert result.exit_code == 2, result.exception
    assert re.search(r"Error: .*shut.* permission denied\..*\n", result.stderr), result.stderr


def test_a_mask_of_the_whole_image_is_refused_before_the_long_work(
    sample_t1, tmp_path, monkeypatch
):
    from gmmseg.workflows import brain

    def begin(*_):
        raise AssertionError("the alignment has begun")

    monkeypatch.setattr(brain, "fit_masked", begin)
    scan, mask = nib.load(sample_t1), tmp_path / "mask.nii"
    words = ["brain", str(sample_t1), "--mask", str(mask), "-o", str(tmp_path / "out")]
    nib.save(nib.Nifti1Image(np.ones(scan.shape, np.uint8), scan.affine), mask)
    result = CliRunner().invoke(cli.main, words)
    assert result.exit_code == 2, result.exception
    assert re.fullmatch(r"Error: The brain mask holds 7\.97 L and fills 100%.*\n", result.stderr)
    assert not (tmp_path / "out").exists()
    inside = np.zeros(scan.shape, np.uint8)
    inside[20:-20, 20:-20, 20:-20] = 1  # 1.7 L of a box, which a cut scan may be
    nib.save(nib.Nifti1Image(inside, scan.affine), mask)
    result = CliRunner().invoke(cli.main, words)
    assert "(AssertionError: the alignment has begun)" in result.stderr  # negative control


@pytest.mark.parametrize("command", ["brain", "threshold"])
def test_a_current_folder_that_was_removed_is_told_of(monkeypatch, sample_t1, command):
    def gone():
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(os, "getcwd", gone)
    result = CliRunner().invoke(cli.main, [command, str(sample_t1), "-o", "out"])
    assert result.exit_code == 2, result.exception
    assert re.fullmatch(r"Error: The current folder is not there any more; .*\n", result.stderr)


@pytest.mark.parametrize("value", ["0", "-1", "two"])
def test_a_number_of_threads_that_numba_refuses_is_told_of(monkeypatch, value):
    monkeypatch.setenv("NUMBA_NUM_THREADS", value)
    result = CliRunner().invoke(cli.main, ["brain", "t1.nii"])
    assert result.exit_code == 2, result.exception
    expected = rf"Error: .*NUMBA_NUM_THREADS is '{value}'; it must be a number, 1 or more.*\n"
    assert re.fullmatch(expected, result.stderr)


LOAD = """
import os, sys
from gmmseg import kernelcache
kernelcache._writable = lambda folder: {writable}
from click.testing import CliRunner
from gmmseg import cli
CliRunner().invoke(cli.main, ["brain", "no.nii"])
print(os.environ.get("NUMBA_CACHE_DIR"))
folder = os.environ.get("NUMBA_CACHE_DIR")
if folder is not None:
    assert os.path.isdir(folder)
    assert os.stat(folder).st_mode & 0o77 == 0
"""


def test_a_user_without_a_home_keeps_kernels_in_a_folder_of_the_run():
    """As in a container: platformdirs knows no cache folder then."""
    homeless = (
        "import platformdirs\n"
        "def user_cache_path(*_, **__):\n"
        "    raise RuntimeError('Could not determine home directory.')\n"
        "platformdirs.user_cache_path = user_cache_path\n"
    )
    code = homeless + LOAD.format(writable=False)
    without = {name: v for name, v in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    words = [sys.executable, "-P", "-c", code]
    result = subprocess.run(words, capture_output=True, text=True, env=without, check=True)
    assert Path(result.stdout.strip()).parent == Path(tempfile.gettempdir())


@pytest.mark.parametrize("writable", [False, True])
def test_kernels_are_kept_in_a_folder_of_the_run_where_there_is_no_other(writable):
    without = {name: v for name, v in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    words = [sys.executable, "-P", "-c", LOAD.format(writable=writable)]
    result = subprocess.run(words, capture_output=True, text=True, env=without, check=True)
    folder = result.stdout.strip()
    if writable:
        assert folder == "None"
    else:
        assert Path(folder).parent == Path(tempfile.gettempdir())
        assert not Path(folder).exists()  # any more


def test_a_folder_of_ones_own_is_left_to_numba(monkeypatch, tmp_path):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(kernelcache, "_writable", lambda folder: folder == tmp_path)
    kernelcache.ensure_folder()
    assert os.environ["NUMBA_CACHE_DIR"] == str(tmp_path)


@pytest.mark.parametrize("named", [None, "elsewhere"])
def test_no_folder_at_all_for_kernels_is_told_of(monkeypatch, named):
    def refuse(**_):
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    if named is not None:
        monkeypatch.setenv("NUMBA_CACHE_DIR", named)
    monkeypatch.setattr(kernelcache, "_writable", lambda folder: False)
    monkeypatch.setattr(kernelcache.tempfile, "mkdtemp", refuse)
    result = CliRunner().invoke(cli.main, ["brain", "t1.nii"])
    assert result.exit_code == 2, result.exception
    assert re.fullmatch(r"Error: There is no folder for compiled kernels: .*\n", result.stderr)


def test_a_folder_below_a_file_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    assert not kernelcache._writable(tmp_path / "file" / "below")
    assert kernelcache._writable(tmp_path / "new" / "below")


LIST = """
from pathlib import Path
from gmmseg.listing import Listing
names = Listing(Path("out"))
names.add([Path("out/a")])
names.add([Path("out/b")])
names.finish()
"""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no full device")
def test_names_that_cannot_be_printed_are_told_of_in_one_sentence_when_all_is_done():
    words = [sys.executable, "-P", "-c", LIST]
    with Path("/dev/full").open("wb") as full:
        result = subprocess.run(words, stdout=full, stderr=-1, text=True, check=False)
    assert result.returncode == 1
    expected = r"Error: The results are in out, but their names cannot be printed \(.*\)\.\n"
    assert re.fullmatch(expected, result.stderr), result.stderr
    there = subprocess.run(words, capture_output=True, text=True, check=True)
    assert there.stdout.splitlines() == [str(Path("out/a")), str(Path("out/b"))]
    assert not there.stderr
