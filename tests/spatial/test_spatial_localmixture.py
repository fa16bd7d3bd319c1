"""Local two-class mixtures: faint and dark strokes, blank parts, both directions."""

import numpy as np
import pytest

from gmmseg.checks import InputError
from gmmseg.mixture.classes import fit_classes
from gmmseg.mixture.histogram import weighted_bins
from gmmseg.spatial.localmixture import fit_local_classes

SHAPE = (200, 300)


def page(rng, noise=3.0):
    """Strokes 4 wide: dark ones on the left, faint ones in a stain on the right, a blank strip."""
    y, x = np.indices(SHAPE)
    ink = ((x % 24) < 4) & ((y % 40) > 10) & (y < 130)
    paper = np.where(x < 150, 200.0, 120.0) + 10 * np.sin(y / 60)
    image = paper - np.where(ink, np.where(x < 150, 120.0, 50.0), 0) + rng.normal(0, noise, SHAPE)
    return image.astype(np.float32), ink


def dice(found, truth):
    return 2 * (found & truth).sum() / (found.sum() + truth.sum())


def test_faint_strokes_in_a_stain_are_found_beside_dark_ones(rng):
    image, ink = page(rng)
    found = fit_local_classes(image, illumination=False)
    assert dice(found.foreground, ink) > 0.95  # what is missed lies on the edge of the stain
    centres, counts = weighted_bins(image)
    one = image < fit_classes(counts, centres).thresholds[0]
    assert dice(one, ink) < 0.8  # the control: no one threshold can


def test_blank_paper_gets_no_ink(rng):
    image, _ = page(rng)
    assert fit_local_classes(image).foreground[150:].mean() < 1e-3


def test_the_width_of_a_stroke_is_measured(rng):
    image, _ = page(rng)
    # Ribbons of 4; the stain is partly taken for ink at first, so only the scale is right.
    assert 3 < fit_local_classes(image[:, :150]).stroke_width < 6


def test_bright_foreground_is_dark_foreground_turned_over(rng):
    image, ink = page(rng)
    bright, ink = 250 - image[:, :150], ink[:, :150]
    options = {"window": 4.0, "illumination": False}
    assert dice(fit_local_classes(bright, dark=False, **options).foreground, ink) > 0.95
    assert dice(fit_local_classes(bright, **options).foreground, ink) < 0.3  # the control


def test_the_threshold_surface_gives_the_foreground(rng):
    image, _ = page(rng)
    found = fit_local_classes(image)
    agree = (image < found.threshold) == found.foreground
    # Parameters are interpolated between blocks, and so is the threshold: not quite the same.
    assert agree.mean() > 0.995
    np.testing.assert_allclose(found.posterior.sum(axis=-1), 1, atol=1e-6)
    np.testing.assert_array_equal(found.posterior[..., 1] > 0.5, found.foreground)


def test_a_stack_of_equal_slices_is_cut_like_one(rng):
    image, ink = page(rng)
    found = fit_local_classes(np.stack([image] * 3), window=4.0)
    assert found.foreground.shape == (3, *SHAPE)
    assert dice(found.foreground[1], ink) > 0.9


def test_what_lies_outside_the_mask_changes_nothing_inside(rng):
    image, _ = page(rng)
    mask = np.ones(SHAPE, bool)
    mask[:20] = False
    spoilt = image.copy()
    spoilt[:20] = np.nan
    one, other = fit_local_classes(image, mask), fit_local_classes(spoilt, mask)
    np.testing.assert_array_equal(one.log_odds, other.log_odds)
    assert not one.foreground[:20].any()
    assert np.isfinite(other.threshold).all()


@pytest.mark.parametrize("shape", [(1, 40), (40, 1), (2, 2), (3, 17)])
def test_slivers_are_cut_without_complaint(shape):
    image = np.where(np.arange(np.prod(shape)) % 4 < 1, 40, 200).reshape(shape).astype(np.uint8)
    found = fit_local_classes(image)
    np.testing.assert_array_equal(found.foreground, image == 40)


def test_bad_input_is_named():
    with pytest.raises(InputError, match="distinct intensities"):
        fit_local_classes(np.full((20, 20), 3))
    with pytest.raises(InputError, match="window"):
        fit_local_classes(np.eye(20), window=0.0)
    with pytest.raises(InputError, match="shape"):
        fit_local_classes(np.zeros((2, 2, 2, 2)))
