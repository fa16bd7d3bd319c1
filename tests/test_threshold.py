"""Thresholds and segmentation of images by intensity: the functions for arrays."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.filters import threshold_otsu

import gmmseg
from gmmseg import InputError, segment_intensities, threshold_gmm, threshold_minimum_error


def disc(rng, shape=(96, 96), low=40.0, high=120.0, noise=8.0):
    """A bright disc on a dark ground with noise, and where it is."""
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    inside = sum(axis**2 for axis in axes) < 0.3
    return np.where(inside, high, low) + rng.normal(0, noise, shape), inside


def dice(a, b):
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


@pytest.mark.parametrize("threshold", [threshold_gmm, threshold_minimum_error])
def test_thresholds_part_classes_ten_deviations_apart(rng, threshold):
    """Between the classes no pixel of 9216 lies, so every label is right."""
    image, inside = disc(rng)
    cut = threshold(image)
    assert cut.shape == (1,)
    np.testing.assert_array_equal(image > cut[0], inside)


def test_a_rare_foreground_moves_the_threshold_to_where_bayes_puts_it(rng):
    """One pixel in 200: the boundary of N(100, 10) and N(150, 10) lies at 125 + 2 log 199 = 135.6.

    Otsu's lies far from it; a thousand bright pixels leave the mixture's within three units.
    """
    image = np.concatenate([rng.normal(100, 10, 199_000), rng.normal(150, 10, 1000)])
    assert abs(threshold_gmm(image)[0] - 135.6) < 3
    assert abs(threshold_otsu(image) - 135.6) > 10


def test_three_classes_have_two_rising_thresholds(rng):
    image = rng.normal(np.repeat([50.0, 110.0, 200.0], 4000), 9).round().astype(np.uint8)
    first, second = threshold_gmm(image, 3)
    assert 70 < first < 92  # midway, give or take a deviation
    assert 145 < second < 170


def test_an_image_and_its_histogram_have_the_same_thresholds(rng):
    image = disc(rng)[0].round().astype(np.uint8)
    counts = np.bincount(image.ravel(), minlength=256)
    expected = threshold_gmm(image)
    np.testing.assert_allclose(threshold_gmm(hist=(counts, np.arange(256))), expected)
    np.testing.assert_allclose(threshold_gmm(hist=counts), expected)


def test_a_mask_and_missing_values_leave_pixels_out(rng):
    image, inside = disc(rng)
    mask = np.ones(image.shape, bool)
    image[:20], mask[:20] = 1e6, False
    missing = np.where(mask, image, np.nan)
    np.testing.assert_allclose(threshold_gmm(image, mask=mask), threshold_gmm(missing))
    result = segment_intensities(missing, 2)
    np.testing.assert_array_equal(result.labels[20:] == 1, inside[20:])
    assert not result.labels[:20].any()
    assert not result.posteriors[:20].any()


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: threshold_gmm(), "either an image or hist"),
        (lambda: threshold_gmm(np.eye(3), hist=[1, 2]), "either an image or hist"),
        (lambda: threshold_gmm(np.eye(3), 1), "whole number of 2 or more; got 1"),
        (lambda: threshold_gmm(np.ones((4, 4))), "1 distinct intensities, too few for 2"),
        (lambda: threshold_gmm(np.full((4, 4), np.nan)), "no pixel to label"),
        (lambda: threshold_gmm(np.array([1.0, np.inf, 2.0])), "infinite values"),
        (lambda: threshold_gmm(np.eye(3) * 1j), "real numbers; its dtype is complex"),
        (lambda: threshold_gmm(hist=[1, 2, 3], mask=np.eye(3)), "mask goes with an image"),
        (lambda: segment_intensities(np.arange(9.0)), "two or three axes"),
        (lambda: segment_intensities(np.eye(4), 3), "2 distinct intensities, too few for 3"),
        (lambda: segment_intensities(np.eye(4), mask=np.ones((3, 3))), "mask has shape"),
        (lambda: segment_intensities(np.eye(4), mask=np.zeros((4, 4))), "no pixel to label"),
        (lambda: segment_intensities(np.eye(4), 1), "classes must be auto or 2 to 50; got 1"),
        (lambda: segment_intensities(np.eye(4), smooth=-1), "smooth must lie between 0 and 10"),
        (lambda: segment_intensities(np.eye(4), illumination="on"), "auto or off"),
        (lambda: segment_intensities(np.eye(4), 3, local=True), "local thresholds part two"),
        (lambda: segment_intensities(np.eye(4), features=("hue",)), "'hue' is unknown"),
        (lambda: segment_intensities(np.eye(4), families=("cauchy",)), "families must be some"),
        (
            lambda: segment_intensities(np.ones((4, 4, 3)), 2, channels=True, local=True),
            "local needs one channel",
        ),
    ],
)
def test_bad_input_gets_a_sentence(call, said):
    with pytest.raises(InputError, match=said):
        call()


def test_two_classes_are_background_and_foreground_and_dark_turns_them(rng):
    image, inside = disc(rng)
    bright, dark = segment_intensities(image, 2), segment_intensities(image, 2, dark=True)
    assert bright.names == dark.names == ("background", "foreground")
    np.testing.assert_array_equal(bright.labels == 1, inside)
    np.testing.assert_array_equal(dark.labels == 1, ~inside)
    np.testing.assert_array_equal(dark.posteriors, bright.posteriors[..., ::-1])
    for result in (bright, dark):
        means = [result.class_mean(name) for name in result.names]
        np.testing.assert_allclose(means, result.class_means, atol=1)  # 10 pixels' deviation
        assert result.labels.dtype == np.uint8


def test_more_classes_count_from_one_by_intensity_and_zero_is_outside(rng):
    image = rng.normal(np.repeat([50.0, 110.0, 200.0], 1000).reshape(50, 60), 9)
    mask = np.ones(image.shape, bool)
    mask[:, :5] = False
    result = segment_intensities(image, 3, mask=mask)
    assert result.names == ("class 1", "class 2", "class 3")
    np.testing.assert_array_equal(result.labels == 0, ~mask)
    means = [image[result.labels == k].mean() for k in (1, 2, 3)]
    np.testing.assert_allclose(result.class_means, means)
    assert np.diff(means).min() > 0
    np.testing.assert_allclose(result.posteriors.sum(-1), mask, atol=1e-6)


def test_an_image_of_one_class_is_not_cut_in_half(rng):
    noise = rng.normal(100, 5, (80, 80))
    empty = segment_intensities(noise)
    assert empty.one_class
    assert empty.names == ("background",)
    assert not empty.labels.any()
    assert "One class" in empty.warnings[0]
    forced = segment_intensities(noise, 2)
    assert forced.one_class
    assert "One class" in forced.warnings[0]
    seen = segment_intensities(disc(rng)[0])  # the control
    assert not seen.one_class
    assert seen.n_classes == 2


def test_constant_images_have_one_class():
    for image in (np.full((9, 9), 7, np.uint8), np.full((9, 9), 0.3)):
        assert segment_intensities(image).names == ("background",)


def test_classes_are_counted_by_themselves(rng):
    image = rng.normal(np.repeat([20.0, 90.0, 160.0, 230.0], 2500).reshape(100, 100), 6)
    assert segment_intensities(image).n_classes == 4


@pytest.mark.parametrize("shape", [(96, 96), (24, 40, 40)])
@pytest.mark.parametrize("method", ["mean_field", "icm", "graph_cut"])
def test_smoothing_mends_what_noise_breaks(rng, shape, method):
    """Two deviations apart, a pixel alone is wrong one time in six; its neighbours know better."""
    image, inside = disc(rng, shape, noise=40.0)
    alone = segment_intensities(image, 2)
    smooth = segment_intensities(image, 2, smooth=1.0, method=method)
    assert dice(smooth.labels == 1, inside) > 0.93 > 0.85 > dice(alone.labels == 1, inside)
    field = np.array(smooth.decisions["field objective"])
    assert np.diff(field).min(initial=0) >= -1e-6


def test_illumination_is_taken_out_where_there_is_some(rng):
    image, inside = disc(rng, noise=5.0)
    gain = np.exp(np.linspace(-0.6, 0.6, 96))[None, :]
    plain = segment_intensities(image * gain, 2)
    even = segment_intensities(image * gain, 2, illumination="auto")
    assert dice(even.labels == 1, inside) > 0.99 > 0.9 > dice(plain.labels == 1, inside)
    ratio = even.gain * gain
    assert ratio.std() / ratio.mean() < 0.05
    assert segment_intensities(image, 2, illumination="auto").gain is None


def test_local_thresholds_follow_a_page(rng):
    """Ink at 60 % of the paper's brightness on paper that fades by half, with a shadow's edge."""
    paper = np.linspace(220, 110, 200)[None, :] * np.ones((200, 1))
    paper[:, 120:] *= 0.7
    ink = np.zeros((200, 200), bool)
    ink[10:190:12, 10:190] = ink[11:190:12, 10:190] = True
    image = np.where(ink, 0.6, 1.0) * paper + rng.normal(0, 3, paper.shape)
    whole = segment_intensities(image, 2, dark=True)
    local = segment_intensities(image, 2, dark=True, local=True)
    assert dice(local.labels == 1, ink) > 0.95 > 0.7 > dice(whole.labels == 1, ink)
    assert local.threshold_surface.shape == image.shape


def test_families_of_magnitude_images_keep_air_apart(rng):
    """Air is Rayleigh, tissue Gaussian at 4.5 times its scale: 2 % may be confused."""
    air = np.abs(rng.normal(0, 20, (60, 120)) + 1j * rng.normal(0, 20, (60, 120)))
    tissue = rng.normal(110, 15, (60, 120))
    image = np.concatenate([air, tissue])
    result = segment_intensities(image, 2, families=("rayleigh", "gaussian"))
    assert dice(result.labels[60:] == 1, np.ones((60, 120), bool)) > 0.98
    assert result.labels[:60].mean() < 0.02
    assert "rayleigh" in result.decisions["scale"]


def test_colours_part_what_grey_cannot(rng):
    left = np.arange(64) < 32
    image = np.where(left[None, :, None], (120, 60, 90), (60, 120, 90)) * np.ones((64, 1, 1))
    image = image + rng.normal(0, 10, image.shape)
    colour = segment_intensities(image, 2, channels=True)
    grey = segment_intensities(image.mean(-1), 2)
    right = np.broadcast_to(~left, (64, 64))
    agreement = max(dice(colour.labels == 1, right), dice(colour.labels == 0, right))
    assert agreement > 0.99
    assert max(dice(grey.labels == k, right) for k in (0, 1)) < 0.7
    assert colour.mixture.means.shape == (2, 3)


def test_superpixels_stand_for_pixels(rng):
    image, inside = disc(rng, noise=20.0)
    result = segment_intensities(image, 2, superpixels=200)
    assert dice(result.labels == 1, inside) > 0.95
    assert 100 < result.decisions["superpixels"] < 400


@given(scale=st.floats(1e-3, 1e4), shift=st.floats(-100, 100))
def test_labels_do_not_depend_on_the_unit_of_intensity(scale, shift):
    """Within what rounding does to single pixels at the threshold: one in a thousand."""
    image, _ = disc(np.random.default_rng(5), (40, 40), noise=25.0)
    expected = segment_intensities(image, 2).labels
    found = segment_intensities(scale * (image + shift), 2).labels
    assert np.mean(found != expected) < 1e-3 + 1 / image.size


def test_inputs_are_not_changed(rng):
    image, _ = disc(rng)
    before = image.copy()
    segment_intensities(image, 2, smooth=0.5, illumination="auto", edges=True)
    np.testing.assert_array_equal(image, before)


def test_the_functions_are_public():
    for name in ("threshold_gmm", "threshold_minimum_error", "segment_intensities"):
        assert getattr(gmmseg, name) is globals()[name]
