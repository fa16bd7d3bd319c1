"""A scan, and a workflow that answers at once, for tests of jobs."""

import fake
import nibabel as nib
import numpy as np
import pytest
from matplotlib.figure import Figure

from gmmseg import report


@pytest.fixture
def scan(tmp_path, rng):
    """A scan with a BIDS name, on the grid of the fake segmentation."""
    path = tmp_path / "in" / "sub-01_T1w.nii.gz"
    path.parent.mkdir()
    data = rng.normal(100, 10, fake.ball().shape).astype(np.float32)
    nib.save(nib.Nifti1Image(data, fake.AFFINE), path)
    return path


@pytest.fixture
def calls(monkeypatch):
    """What the workflow was called with; it answers with the fake segmentation."""
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
