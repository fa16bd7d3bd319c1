"""What surrounds the command and is not as it should be: told in one sentence, exit code 2."""

import errno
import os
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from click.testing import CliRunner

from gmmseg import cli


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
