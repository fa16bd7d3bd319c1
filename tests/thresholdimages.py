"""Small images whose truth is known, for tests of thresholds."""

import csv

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter


def blobs(shape=(96, 128), share=0.2, width=4.0, seed=0):
    """True where an object is, in about ``share`` of the pixels."""
    field = gaussian_filter(np.random.default_rng(seed).normal(size=shape), width, mode="wrap")
    return field > np.quantile(field, 1 - share)


def scene(truth, dim=60.0, bright=140.0, noise=8.0, seed=1):
    """Objects on a background, both noisy; float64. Ten deviations apart: nothing is doubtful."""
    rng = np.random.default_rng(seed)
    return np.where(truth, bright, dim) + rng.normal(0, noise, truth.shape)


def grey(truth, **how):
    """The scene as a picture of 8 bits."""
    return np.clip(scene(truth, **how), 0, 255).round().astype(np.uint8)


def save(path, array):
    """Write a picture; its path."""
    Image.fromarray(array).save(path)
    return path


def load(path):
    """Read a picture."""
    return np.asarray(Image.open(path))


def table(folder):
    """Rows of thresholds.tsv."""
    with (folder / "thresholds.tsv").open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))
