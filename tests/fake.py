"""A segmentation made from known labels, for tests that need one and not the model."""

from __future__ import annotations

import sys
import types

import numpy as np

from gmmseg.mixture.model import Mixture
from gmmseg.settings import BrainSettings
from gmmseg.tissues import BrainSegmentation
from gmmseg.volume import Volume

AFFINE = np.array([[-1.0, 0, 0, 30], [0, 0, 3.0, -20], [0, 2.0, 0, -10], [0, 0, 0, 1]])


def ball(shape=(40, 24, 16)):
    """Shells of WM (2), GM (1) and CSF (3) around the middle of a grid."""
    axes = [np.linspace(-1, 1, n) for n in shape]
    radius = np.sqrt(sum(axis**2 for axis in np.meshgrid(*axes, indexing="ij")))
    return np.select([radius < 0.4, radius < 0.65, radius < 0.8], [2, 1, 3], 0).astype(np.uint8)


def segmentation(volume=None, settings=None, warnings=()):
    """Segmentation of a ball with slightly soft posteriors; intensities CSF 30, GM 80, WM 110."""
    labels = ball() if volume is None else ball(volume.shape)
    rng = np.random.default_rng(0)
    truth = np.array([10.0, 80.0, 110.0, 30.0])[labels]
    corrected = (truth + rng.normal(0, 4, labels.shape)).astype(np.float32)
    bias = np.ones(labels.shape, np.float32) * np.linspace(0.9, 1.1, labels.shape[0])[:, None, None]
    bias = bias.astype(np.float32)
    if volume is None:
        volume = Volume(corrected * bias, AFFINE)
    posteriors = 0.9 * np.eye(4, dtype=np.float32)[labels][..., 1:]
    posteriors = np.float32(1 / 30) * (labels > 0)[..., None] + posteriors
    means = np.array([80.0, 110.0, 30.0, 10.0])[:, None]
    counts = np.bincount(labels.ravel(), minlength=4)[[1, 2, 3, 0]]
    return BrainSegmentation(
        labels=labels,
        posteriors=posteriors,
        mask=labels > 0,
        corrected=corrected,
        bias=bias,
        mixture=Mixture(counts / counts.sum(), means, np.full((4, 1, 1), 16.0)),
        component_names=("GM", "WM", "CSF", "scalp"),
        objective=np.array([-5.0, -4.5, -4.4]),
        potts_objective=np.array([-1.0, -0.9]),
        stages={"affine": 1.0, "fit": 2.0},
        decisions={"stripped": False, "affine": np.eye(4)},
        warnings=warnings,
        volume=volume,
        settings=settings or BrainSettings(),
    )


def install_workflow(monkeypatch, segment):
    """Put ``segment`` in the place of ``gmmseg.workflows.brain.unchecked``."""
    module = types.ModuleType("gmmseg.workflows.brain")
    module.unchecked = segment
    monkeypatch.setitem(sys.modules, "gmmseg.workflows.brain", module)
    # The ball is far smaller than a brain, which would be remarked on.
    monkeypatch.setattr("gmmseg.selfcheck.PLAUSIBLE_ML", {})
