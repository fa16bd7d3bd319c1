"""How strongly neighbours should pull, by the noise that they do not share."""

import numpy as np
import pytest
from scipy import ndimage

from gmmseg.spatial.coupling import (
    LEAST,
    MOST,
    automatic_strength,
    middle_noise,
    mislabelled,
    white_noise,
)
from gmmseg.spatial.mrf import mean_field


def blobs(rng, shape=(60, 60, 60)):
    """Two classes in smooth patches, some 10 voxels wide."""
    return ndimage.gaussian_filter(rng.normal(size=shape), 4) > 0


def test_white_noise_is_measured_on_tissue_with_borders(rng):
    """200000 values give the median deviation to 1 %; borders of 6 deviations, near a quarter of
    the voxels, add a tenth."""
    image = 100 + 30.0 * blobs(rng) + rng.normal(0, 5, (60, 60, 60))
    everywhere = np.ones(image.shape, bool)
    assert 5 < white_noise(image, everywhere, (1, 1, 1)) < 5.75
    assert image.std() > 15  # what the deviation over all voxels would have been


def test_noise_that_neighbours_share_is_not_counted(rng):
    """Blurred by one voxel, an eighth of the deviation is left between neighbours; less counts."""
    noise = ndimage.gaussian_filter(rng.normal(size=(60, 60, 60)), 1.0)
    noise *= 5 / noise.std()
    assert white_noise(100 + noise, np.ones(noise.shape, bool), (1, 1, 1)) < 2.5


def test_thick_slices_are_looked_at_within_the_slice(rng):
    """Lines along the last axis are structure that only the other two axes would take for noise."""
    lines = rng.normal(0, 50, (20, 60, 1))
    image = rng.normal(0, 5, (20, 60, 60)) + lines
    everywhere = np.ones(image.shape, bool)
    assert white_noise(image, everywhere, (5, 1, 1)) == pytest.approx(5, rel=0.05)
    assert white_noise(image, everywhere, (1, 1, 5)) > 25  # the control


def test_missing_voxels_and_too_few_of_them_give_no_figure(rng):
    image = rng.normal(0, 5, (30, 30, 30))
    image[::7] = np.nan
    everywhere = np.ones(image.shape, bool)
    assert white_noise(image, everywhere, (1, 1, 1)) == pytest.approx(5, rel=0.1)
    assert np.isnan(white_noise(image[:2], everywhere[:2], (1, 1, 1)))
    assert mislabelled(np.nan, (30, 80, 110), (9, 9, 9)) == 0
    assert automatic_strength(0) == LEAST


def test_strength_rises_with_noise_and_stays_within_bounds():
    """Tissues that vary by 5 on their own."""
    means, noises = np.array([30.0, 80.0, 110.0]), np.linspace(0, 60, 40)
    shares = [mislabelled(n, means, np.full(3, np.hypot(5, n))) for n in noises]
    strengths = [automatic_strength(share) for share in shares]
    assert np.diff(strengths).min() >= 0
    assert (strengths[0], strengths[-1]) == (LEAST, MOST)
    scaled = mislabelled(1e-3 * 12, 1e-3 * means, np.full(3, 13e-3))
    assert scaled == pytest.approx(mislabelled(12, means, np.full(3, 13)))


def test_tissues_that_intensity_does_not_tell_apart_are_no_fault_of_the_noise():
    """Cortical and deep grey matter 4 apart, each varying by 5; not so with 8 apart."""
    spread = np.full(4, np.hypot(5, 4))
    alike = mislabelled(4, (30, 80, 84, 110), spread)
    assert alike == mislabelled(4, (30, 84, 110), spread[:3]) < 1e-3
    assert mislabelled(4, (30, 80, 88, 110), spread) > 0.1
    assert mislabelled(4, (30, np.nan, 110), spread[:3]) < 1e-6  # a class without an intensity


@pytest.mark.parametrize("noise", [5.0, 15.0])
def test_noisy_patches_gain_from_it_and_clean_ones_do_not_lose(rng, noise):
    """Against the fixed strength of before; errors of 216000 voxels vary by far less than 1e-3."""
    truth = blobs(rng)
    image = np.where(truth, 110.0, 80.0) + rng.normal(0, noise, truth.shape)
    joint = -0.5 * ((image[..., None] - np.array([80.0, 110.0])) / noise) ** 2
    joint = joint.astype(np.float32)
    found = middle_noise(image, joint, (0, 1), (1, 1, 1))
    strength = automatic_strength(mislabelled(found, (80.0, 110.0), (noise, noise)))
    assert noise < 1.15 * found < 1.3 * noise  # borders add to it

    def errors(beta):
        q, _ = mean_field(joint, np.ones(truth.shape, bool), (1, 1, 1), beta)
        return np.mean(q.argmax(-1) != truth)

    fixed, automatic = errors(LEAST), errors(strength)
    if noise > 10:
        assert automatic < fixed - 0.005
    else:
        assert automatic <= fixed + 1e-3
