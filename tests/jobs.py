"""A scan, a workflow that answers at once, and folders to look at, for tests of jobs."""

import fake
import nibabel as nib
import numpy as np
from matplotlib.figure import Figure

from gmmseg import report


def write_scan(folder, rng):
    """A scan with a BIDS name, on the grid of the fake segmentation."""
    path = folder / "sub-01_T1w.nii.gz"
    path.parent.mkdir()
    data = rng.normal(100, 10, fake.ball().shape).astype(np.float32)
    nib.save(nib.Nifti1Image(data, fake.AFFINE), path)
    return path


def answer_at_once(monkeypatch):
    """What the workflow is called with from now on; it answers with the fake segmentation."""
    calls = []

    def segment_brain(image, mask=None, settings=None, *, volume_index=None, progress=None):
        calls.append((image, mask, settings))
        if progress is not None:
            progress("fit", 0.5)
        return fake.segmentation(image, settings)

    fake.install_workflow(monkeypatch, segment_brain)
    # The picture has its own tests and takes half a second.
    monkeypatch.setattr(report, "draw", lambda *_, **__: Figure(figsize=(1, 1)))
    return calls


def files(folder):
    """Content of every file below a folder, by relative path."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def fail_at(monkeypatch, module, name):
    """Let a function fail as on a full disk."""

    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, name, fail)
