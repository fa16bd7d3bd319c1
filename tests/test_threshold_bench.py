"""Pages, nuclei and a phantom with truth: thresholds against those of scikit-image.

Bounds are what the issue of this model asked for; what was seen is in docs/threshold-design.md.
"""

from functools import cache

import nibabel as nib
import numpy as np
import pytest
from skimage.filters import threshold_otsu, threshold_sauvola
from skimage.io import imread

from gmmseg import segment_intensities

YEARS = ("2009", "2010", "2012")


@cache
def pages(folder, year):
    """Grey image, float32, and where its ink is, of each page of a year."""
    out = []
    for path in sorted(folder.glob(f"DIBCO{year}_*_source.png")):
        image = imread(path)
        grey = image if image.ndim == 2 else image[..., :3].mean(-1)
        truth = imread(str(path).replace("source", "target"))
        out.append((grey.astype(np.float32), (truth if truth.ndim == 2 else truth[..., 0]) == 0))
    if not out:
        pytest.skip(f"no pages of {year} are here")
    return out


def f_measure(found, truth):
    return 200 * np.count_nonzero(found & truth) / (np.count_nonzero(found) + truth.sum())


@pytest.mark.parametrize("year", YEARS)
def test_one_mixture_a_page_beats_otsu(bench, year):
    """Above Otsu is asked for; seen are 10, 2 and 13 points more."""
    ours, otsu = [], []
    for grey, ink in pages(bench / "dibco", year):
        result = segment_intensities(grey, 2, dark=True, illumination="auto")
        ours.append(f_measure(result.labels == 1, ink))
        otsu.append(f_measure(grey <= threshold_otsu(grey), ink))
        assert not result.one_class
    assert np.mean(ours) > np.mean(otsu) + 1


def test_local_mixtures_beat_sauvola(bench):
    """On the pages of 2010, the smallest; 88 was aimed at, 89.0 seen."""
    ours, sauvola = [], []
    for grey, ink in pages(bench / "dibco", "2010"):
        result = segment_intensities(grey, 2, dark=True, local=True)
        ours.append(f_measure(result.labels == 1, ink))
        sauvola.append(f_measure(grey < threshold_sauvola(grey, 51, r=128), ink))
    assert np.mean(ours) > max(np.mean(sauvola), 88)


@pytest.mark.parametrize(("cells", "otsu"), [("N2DH-GOWT1", 0.59), ("N2DL-HeLa", 0.72)])
def test_nuclei_are_found_a_tenth_of_dice_better_than_by_otsu(bench, cells, otsu):
    scores = []
    for path in sorted((bench / "nuclei" / cells / "img").glob("t*.png")):
        truth = imread(path.parents[1] / "gt" / path.name.replace("t", "man_seg", 1)) > 0
        result = segment_intensities(imread(path), 2)
        scores.append(f_measure(result.labels == 1, truth) / 100)
        assert not result.one_class
    if not scores:
        pytest.skip(f"no images of {cells} are here")
    assert np.mean(scores) >= otsu + 0.10


@pytest.mark.parametrize(("smooth", "bound"), [(0.0, 0.907), (0.3, 0.915)])
def test_three_classes_of_a_phantom_are_as_good_as_a_free_mixture(bench, smooth, bound):
    """0.907 is scikit-learn's mixture; the best pair of thresholds that there is gives 0.908."""

    def read(name):
        return np.asarray(nib.load(bench / "brainweb" / f"mritc2mm_{name}.nii.gz").dataobj)

    mask = read("mask") > 0
    truth = np.stack([read(name) for name in ("csf", "gm", "wm")], -1).argmax(-1)[mask]
    found = segment_intensities(read("t1"), 3, mask=mask, smooth=smooth).labels[mask] - 1
    scores = [f_measure(found == k, truth == k) / 100 for k in range(3)]
    assert np.mean(scores) >= bound
