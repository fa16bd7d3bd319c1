"""Dice against counts done by hand and against scikit-learn's F1 score."""

import numpy as np
import pytest
from sklearn.metrics import f1_score

from gmmseg.checks import InputError
from gmmseg.metrics import dice, dice_per_label


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
