"""Whether an image shows anything, how far its thresholds can be trusted, and frames."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from thresholdimages import blobs, scene

from gmmseg.mixture.histogram import weighted_bins
from gmmseg.mixture.ordered import ordered_classes
from gmmseg.spatial.bands import threshold_band
from gmmseg.spatial.frames import smooth_frames
from gmmseg.spatial.structure import has_structure


@pytest.mark.parametrize("noise", [8, 30])
def test_objects_are_seen_under_noise(noise):
    """Objects some eight pixels wide on a fifth of 65536 pixels, down to 2.7 deviations."""
    assert has_structure(scene(blobs((256, 256)), noise=noise))


def test_objects_are_seen_in_a_small_image():
    """A disc half as wide as an image of 33 by 41 pixels, which a slow field could stand for."""
    y, x = np.ogrid[-1:1:33j, -1:1:41j]
    disc = np.where(x**2 + y**2 < 0.3, 140.0, 60.0)
    assert has_structure(disc + np.random.default_rng(0).normal(0, 20, disc.shape))
    assert not has_structure(np.random.default_rng(0).normal(0, 20, disc.shape))


@pytest.mark.parametrize("seed", range(5))
def test_noise_is_nothing_to_see(seed):
    rng = np.random.default_rng(seed)
    light = np.linspace(0, 30, 200)[:, None]
    for noise in (
        rng.normal(50, 5, (200, 200)),
        rng.poisson(3, (200, 200)).astype(float),
        gaussian_filter(rng.normal(size=(200, 200)), 1.5) * 10,
        rng.normal(50, 5, (200, 200)) + light,
    ):
        assert not has_structure(noise)


def threshold(image):
    centres, counts = weighted_bins(image)
    return ordered_classes(counts, centres[:, 0], 2).thresholds


def image(seed):
    """Objects where a field is high: their share differs from image to image."""
    rng = np.random.default_rng(seed)
    field = gaussian_filter(rng.normal(size=(400, 400)), 4, mode="wrap")
    return np.where(field > 0.06, 140.0, 60.0) + rng.normal(0, 25, field.shape)


def test_the_band_holds_the_thresholds_of_like_images_about_nine_times_in_ten():
    """Of 5 bands and 20 images each 90 are due. Blocks of 50 pixels hold a dozen objects, so that
    their sums are nearly independent; smaller images get bands that are too narrow."""
    others = np.array([threshold(image(100 + s))[0] for s in range(20)])
    inside, widths = 0, []
    for seed in range(5):
        one = image(seed)
        band = threshold_band(one, threshold(one), np.random.default_rng(0), n_draws=60)
        inside += np.count_nonzero((others >= band.low[0]) & (others <= band.high[0]))
        widths.append(band.high[0] - band.low[0])
    assert inside >= 67
    assert np.mean(widths) < 8 * others.std()  # 4.7 deviations for two images and 90 %


def test_frames_are_smoothed_each_for_itself(rng):
    index = rng.integers(0, 2, (3, 20, 30)).astype(np.uint8)
    table = np.array([[0.5, -0.5], [-0.5, 0.5]], np.float32)
    together = smooth_frames(index, table, 0.6, time=True)
    for t in range(3):
        alone = smooth_frames(index[t], table, 0.6, time=False)
        np.testing.assert_array_equal(together[0][t], alone[0])
        np.testing.assert_array_equal(together[1][t], alone[1])
    stacked = smooth_frames(index, table, 0.6, time=False)  # the control
    assert (stacked[0] != together[0]).any()
