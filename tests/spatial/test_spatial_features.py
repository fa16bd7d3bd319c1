"""Features of pixels, and superpixels."""

import numpy as np
import pytest

from gmmseg import InputError
from gmmseg.spatial.features import feature_stack, superpixels


def test_features_are_named_and_lie_side_by_side(rng):
    image = rng.normal(size=(6, 8, 3))
    stack = feature_stack(image, ("intensity", "gradient", "texture", "position"), channels=True)
    assert stack.names == (
        "channel 1", "channel 2", "channel 3", "gradient", "texture", "row", "column",
    )  # fmt: skip
    assert stack.values.shape == (6, 8, 7)
    assert stack.values.dtype == np.float32
    np.testing.assert_array_equal(stack.values[..., :3], image.astype(np.float32))


def test_the_gradient_of_a_ramp_is_its_slope():
    ramp = np.tile(3.0 * np.arange(40), (30, 1))
    gradient = feature_stack(ramp, ("gradient",)).values[..., 0]
    np.testing.assert_allclose(gradient[8:-8, 8:-8], 3.0, rtol=1e-3)


def test_texture_is_the_noise_however_bright_the_image(rng):
    """Over 40 independent pixels a standard deviation is known to 11 %: the mean to far less."""
    noise = rng.normal(0, 2, (200, 200))
    for offset in (0.0, 1e4):
        texture = feature_stack(offset + noise, ("texture",)).values
        assert abs(texture.mean() - 2) < 0.1


def test_positions_run_from_zero_to_one():
    rows = feature_stack(np.zeros((3, 5, 7)), ("position",))
    assert rows.names == ("slice", "row", "column")
    assert rows.values.min() == 0
    np.testing.assert_array_equal(rows.values[-1, -1, -1], 1)


@pytest.mark.parametrize(
    ("features", "said"), [(("colour",), "'colour' is unknown"), ((), "no feature was given")]
)
def test_unknown_features_are_refused(features, said):
    with pytest.raises(InputError, match=said):
        feature_stack(np.zeros((4, 4)), features)


def test_superpixels_keep_to_a_border_and_carry_its_means(rng):
    image = np.where(np.arange(60) < 31, 10.0, 50.0) + rng.normal(0, 1, (60, 60))
    values = feature_stack(image).values
    site, means, sizes = superpixels(values, 50)
    assert sizes.sum() == image.size
    assert 25 < len(sizes) < 100
    pure = [np.ptp(np.where(np.arange(60) < 31, 0, 1)[None].repeat(60, 0)[site == s]) == 0
            for s in range(len(sizes))]  # fmt: skip
    assert np.mean(pure) > 0.9  # a border is 30 patches long at most, and they keep to it
    np.testing.assert_allclose(means[3, 0], image[site == 3].mean(), rtol=1e-5)


def test_superpixels_leave_out_what_the_mask_does(rng):
    mask = np.zeros((40, 40), bool)
    mask[5:30, 10:35] = True
    site, _, sizes = superpixels(rng.normal(size=(40, 40, 2)).astype(np.float32), 12, mask)
    np.testing.assert_array_equal(site >= 0, mask)
    assert sizes.sum() == mask.sum()
