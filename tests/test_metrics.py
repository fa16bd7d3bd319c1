"""Dice against counts done by hand and against scikit-learn's F1 score."""

import numpy as np
import pytest
from sklearn.metrics import f1_score

from gmmseg.checks import InputError
from gmmseg.metrics import calibration_error, dice, dice_per_label


def test_dice_is_one_for_equal_zero_for_disjoint_and_half_for_half():
    a = np.array([True, True, False, False])
    assert dice(a, a) == 1
    assert dice(a, ~a) == 0
    assert dice(a, np.array([False, True, True, False])) == 0.5


def test_dice_of_two_empty_masks_is_not_a_number():
    assert np.isnan(dice(np.zeros(4, bool), np.zeros(4, bool)))


def test_dice_is_the_f1_score_of_each_label(rng):
    predicted, truth = rng.integers(0, 4, (2, 500))
    expected = f1_score(truth, predicted, labels=[1, 2, 3], average=None)
    np.testing.assert_allclose(list(dice_per_label(predicted, truth).values()), expected)


def test_a_label_that_only_one_image_has_scores_zero():
    assert dice_per_label(np.array([0, 5, 1]), np.array([0, 0, 1])) == {1: 1.0, 5: 0.0}


def test_masks_of_different_shapes_are_refused():
    with pytest.raises(InputError, match=r"shape \(3,\) and truth \(4,\)"):
        dice(np.zeros(3, bool), np.zeros(4, bool))


def drawn(rng, n=20000):
    """Posteriors of three classes, and truths drawn from them."""
    posteriors = rng.dirichlet([0.5, 0.5, 0.5], n)
    truth = (rng.random((n, 1)) > posteriors.cumsum(axis=1)[:, :-1]).sum(axis=1)
    return posteriors, truth


def test_truth_drawn_from_the_posteriors_has_no_calibration_error(rng):
    """15 bins of about 1300 sites: sampling alone leaves about sqrt(.15 / 1300) = .01."""
    posteriors, truth = drawn(rng)
    assert calibration_error(posteriors, truth) < 0.015


def test_posteriors_that_were_sharpened_have_a_calibration_error(rng):
    """Negative control; without bins, the mean excess of confidence over accuracy bounds it."""
    posteriors, truth = drawn(rng)
    sharp = posteriors**3 / (posteriors**3).sum(axis=1, keepdims=True)
    excess = sharp.max(axis=1).mean() - np.mean(sharp.argmax(axis=1) == truth)
    assert calibration_error(sharp, truth) >= excess > 0.05


def test_calibration_is_that_of_the_most_probable_class_in_any_shape():
    posteriors = np.array([[[0.8, 0.2], [0.3, 0.7]]])
    # Both right at .8 and .7: |1 - .8| / 2 + |1 - .7| / 2
    assert calibration_error(posteriors, np.array([[0, 1]])) == pytest.approx(0.25)
    assert np.isnan(calibration_error(np.zeros((0, 2)), np.zeros(0, int)))


def test_truth_that_does_not_fit_the_posteriors_is_refused():
    with pytest.raises(InputError, match=r"truth needs \(2,\)"):
        calibration_error(np.full((2, 2), 0.5), np.zeros(3, int))
    with pytest.raises(InputError, match="classes 0 to 3; posteriors are of classes 0 to 1"):
        calibration_error(np.full((2, 2), 0.5), np.array([0, 3]))
