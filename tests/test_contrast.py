"""Contrasts are told by the order of class means, and doubts are relative to them."""

import pytest

from gmmseg import contrast
from gmmseg.checks import InputError
from gmmseg.settings import BrainSettings

MEANS = {
    "t1": {"CSF": 40, "GM": 95, "WM": 130},
    "t2": {"CSF": 200, "GM": 110, "WM": 80},
    "pd": {"CSF": 105, "GM": 110, "WM": 80},
}
FLAIR = {"CSF": 20, "GM": 110, "WM": 80}
SMALL = dict.fromkeys(("CSF", "GM", "WM"), 2.0)


def doubts(name, means, spreads):
    """What speaks against a contrast."""
    return tuple(one.message for one in contrast.steps(name, means, spreads) if not one.passed)


@pytest.mark.parametrize("name", MEANS)
def test_each_contrast_is_told_by_its_means_and_not_doubted(name):
    assert contrast.decide("auto", MEANS[name]) == name
    assert doubts(name, MEANS[name], SMALL) == ()


@pytest.mark.parametrize("name", MEANS)
def test_means_of_another_contrast_are_doubted_where_one_was_named(name):
    for other in set(MEANS) - {name}:
        assert contrast.decide(other, MEANS[name]) == other
        (doubt,) = doubts(other, MEANS[name], SMALL)
        assert other.upper() in doubt


def test_an_order_that_no_contrast_has_is_said():
    assert contrast.decide("auto", FLAIR) is None
    (doubt,) = doubts(None, FLAIR, SMALL)
    assert "order" in doubt


def test_equal_means_are_no_contrast():
    assert contrast.recognised({"CSF": 1, "GM": 1, "WM": 1}) is None


def test_tissues_that_hardly_differ_are_named():
    wide = {**SMALL, "WM": 40.0}
    (doubt,) = doubts("t1", MEANS["t1"], wide)
    assert doubt.startswith("GM and WM hardly differ")


def test_contrast_is_called_weak_where_one_voxel_in_eight_is_mistaken():
    """GM and WM lie 35 apart: 15 leaves 2.3 standard deviations, 16 leaves 2.2."""
    assert doubts("t1", MEANS["t1"], dict.fromkeys(SMALL, 15.0)) == ()
    (doubt,) = doubts("t1", MEANS["t1"], dict.fromkeys(SMALL, 16.0))
    assert doubt.startswith("Contrast is weak: GM and WM lie 2.19 standard")


def test_the_same_holds_for_fluid_and_grey_matter():
    """They lie 55 apart: 24 leaves 2.3 standard deviations, 25 leaves 2.2."""
    assert doubts("t1", MEANS["t1"], {**SMALL, "CSF": 24.0}) == ()
    (doubt,) = doubts("t1", MEANS["t1"], {**SMALL, "CSF": 25.0})
    assert doubt.startswith("Contrast is weak: CSF and GM")


def test_with_a_class_missing_the_rest_is_judged():
    assert doubts("t1", {"GM": 95, "WM": 130}, SMALL) == ()
    (doubt,) = doubts("t1", {"GM": 130, "WM": 95}, SMALL)
    assert "rise from GM over WM" in doubt
    assert contrast.decide("auto", {"GM": 95, "WM": 130}) is None


def test_a_name_that_is_no_contrast_is_refused():
    with pytest.raises(InputError, match="t1, t2, pd, auto"):
        BrainSettings(contrast="flair")
