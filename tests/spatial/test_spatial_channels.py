"""A mixture of several channels over an image."""

import numpy as np
import pytest

from gmmseg import InputError
from gmmseg.spatial.channels import fit_channels


def three_fields(rng, shape=(60, 90)):
    """Three fields side by side that no single channel parts, and which is which."""
    truth = np.repeat([0, 1, 2], shape[1] // 3)[None, :] * np.ones((shape[0], 1), int)
    means = np.array([[60, 60], [120, 60], [120, 120]], float)
    return means[truth] + rng.normal(0, 12, (*shape, 2)), truth


def test_classes_of_two_channels_are_found_and_rise_by_the_first(rng):
    """Five deviations apart: fewer than one pixel in a hundred goes astray."""
    image, truth = three_fields(rng)
    fit = fit_channels(image, 3, channels=True)
    assert np.diff(fit.mixture.means[:, 0]).min() >= 0
    labels = fit.posteriors.argmax(-1)
    # the first channel does not tell the last two fields apart, so that either may come second
    swapped = np.array([0, 2, 1])[labels]
    assert max(np.mean(labels == truth), np.mean(swapped == truth)) > 0.98
    assert np.diff(fit.objective).min() >= -1e-9


def test_the_number_of_classes_is_found(rng):
    image, _ = three_fields(rng)
    assert fit_channels(image, "auto", channels=True).posteriors.shape[-1] == 3


def test_outside_of_the_mask_posteriors_are_zero(rng):
    image, _ = three_fields(rng)
    mask = np.ones(image.shape[:2], bool)
    mask[:10] = False
    image[:10] = 1e6
    fit = fit_channels(image, 3, channels=True, mask=mask)
    np.testing.assert_allclose(fit.posteriors.sum(-1), mask, atol=1e-5)
    assert fit.mixture.means.max() < 130


def test_superpixels_weigh_by_their_size(rng):
    image, truth = three_fields(rng)
    fit = fit_channels(image, 3, channels=True, n_superpixels=150)
    assert fit.n_sites < 400
    labels = fit.posteriors.argmax(-1)
    swapped = np.array([0, 2, 1])[labels]
    assert max(np.mean(labels == truth), np.mean(swapped == truth)) > 0.97
    np.testing.assert_allclose(fit.mixture.weights, 1 / 3, atol=0.03)


def test_the_same_image_gives_the_same_classes(rng):
    image, _ = three_fields(rng)
    one, two = (fit_channels(image, 3, channels=True) for _ in range(2))
    np.testing.assert_array_equal(one.posteriors, two.posteriors)


def test_a_feature_that_never_changes_is_named(rng):
    image, _ = three_fields(rng)
    image[..., 1] = 7
    with pytest.raises(InputError, match="same everywhere in channel 2"):
        fit_channels(image, 2, channels=True)
