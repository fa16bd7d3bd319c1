"""The installed command, files for it, and what it leaves in a folder."""

import subprocess
import sys
from pathlib import Path

import fake
import nibabel as nib
import numpy as np

COMMAND = Path(sys.executable).with_name("gmmseg")


def run(*words, cwd=None):
    """Run the installed command; its exit code and what it printed."""
    command = [str(COMMAND), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)


def save(path, data, affine=fake.AFFINE, **options):
    nib.save(nib.Nifti1Image(data, affine, **options), path)
    return path


def noise(path):
    """Write a scan that can be read (noise, so no brain)."""
    rng = np.random.default_rng(3)
    return save(path, rng.normal(100, 10, fake.ball().shape).astype(np.float32))


def entries(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
