"""The smooth gain of an image: recovered where there is one, left out where there is none."""

import numpy as np
import pytest

from gmmseg.checks import InputError
from gmmseg.mixture.classes import Scale, fit_classes
from gmmseg.mixture.histogram import weighted_bins
from gmmseg.spatial.illumination import fit_illumination

SHAPE = (180, 240)


def strokes(shape=SHAPE):
    y, x = np.indices(shape[-2:])
    ink = ((x % 30) < 4) & ((y % 45) > 12)
    return np.broadcast_to(ink, shape)


def shadow(shape=SHAPE):
    """Light that falls to less than a half across the image, on a log scale around zero."""
    y, x = np.indices(shape[-2:])
    log = -0.9 * x / shape[-1] + 0.1 * np.cos(3 * y / shape[-2])
    return np.broadcast_to(log - log.mean(), shape)


def page(rng, shape=SHAPE, lit=True):
    even = np.where(strokes(shape), 70.0, 180.0) + rng.normal(0, 5, shape)
    return even * np.exp(shadow(shape)) if lit else even


def cut(image):
    centres, counts = weighted_bins(image, 512)
    return image < fit_classes(counts, centres, scale=Scale()).thresholds[0]


def dice(found, truth):
    return 2 * (found & truth).sum() / (found.sum() + truth.sum())


@pytest.mark.parametrize("shape", [SHAPE, (3, 120, 160)])
def test_a_shadow_is_taken_out_and_then_one_threshold_serves(rng, shape):
    image = page(rng, shape)
    light = fit_illumination(image)
    assert light.kept
    gain = light.log_gain().reshape(shape)
    # The gain is known up to a constant; cosines of 6 waves leave a ramp off by some
    # per cent, most at the edges.
    assert np.std(gain + shadow(shape)) < 0.06
    assert dice(cut(light.corrected(image)), strokes(shape)) > 0.99
    assert dice(cut(image), strokes(shape)) < 0.8  # the control


def test_no_round_lowers_the_objective(rng):
    light = fit_illumination(page(rng))
    assert len(light.objective) > 2
    assert np.diff(light.objective).min() >= 0


def test_even_light_is_left_alone(rng):
    image = page(rng, lit=False)
    light = fit_illumination(image)
    assert not light.kept
    np.testing.assert_array_equal(light.corrected(image), image)
    assert not light.log_gain().any()


def test_nuclei_of_uneven_brightness_are_not_taken_for_uneven_light(rng):
    y, x = np.indices((200, 200))
    image = rng.normal(2, 3, (200, 200))
    for _ in range(20):
        cy, cx = rng.uniform(10, 190, 2)
        image += rng.lognormal(4, 0.8) * ((y - cy) ** 2 + (x - cx) ** 2 < 64)
    assert not fit_illumination(np.maximum(image, 0).round()).kept


def test_what_the_mask_and_nan_leave_out_changes_nothing(rng):
    image = page(rng)
    mask = np.ones(SHAPE, bool)
    mask[:, :20] = False
    spoilt = image.copy()
    spoilt[:, :10] = np.nan
    spoilt[:, 10:20] = 1e6
    one, other = fit_illumination(image, mask), fit_illumination(spoilt, mask)
    np.testing.assert_array_equal(one.coefficients, other.coefficients)
    block = (slice(None), slice(5, 9), slice(200, 240))
    # Matrix products of other sizes round otherwise.
    np.testing.assert_allclose(one.log_gain(block), one.log_gain()[block], atol=1e-6)


def test_float32_stays_float32_and_the_input_is_not_modified(rng):
    image = page(rng).astype(np.float32)
    before = image.copy()
    assert fit_illumination(image).corrected(image).dtype == np.float32
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("value", [0, 7])
def test_a_constant_image_has_no_field(value):
    assert not fit_illumination(np.full((40, 50), value, np.uint8)).kept


def test_bad_images_and_masks_are_named():
    with pytest.raises(InputError, match="shape"):
        fit_illumination(np.zeros(5))
    with pytest.raises(InputError, match="mask has shape"):
        fit_illumination(np.zeros((5, 5)), np.ones((4, 5), bool))
    with pytest.raises(InputError, match="no finite voxel"):
        fit_illumination(np.full((5, 5), np.nan))
