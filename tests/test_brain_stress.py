"""What may befall a scan leaves its labels where they were, or is said.

A few rows of ``benchmarks/stress.py`` on the sample scan; the whole table runs on real heads.
"""

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from phantom import doubts

import gmmseg
from gmmseg.metrics import dice_per_label
from gmmseg.selfcheck import class_statistics
from gmmseg.settings import BrainSettings
from gmmseg.simulate import perturb
from gmmseg.spatial.foreground import head_foreground

BOUND = 0.95  # Dice of each tissue with the untouched run, as asked of real heads


@pytest.fixture(scope="module")
def scan(sample_t1):
    image = nib.as_closest_canonical(nib.load(sample_t1))
    return perturb.Scan.of(np.asarray(image.dataobj), image.affine)


def head_of(scan):
    return head_foreground(scan.data, scan.spacing)


def overlap(changed, untouched, **settings):
    """Dice of each tissue with the untouched labels where both see; and the new result."""
    image = nib.Nifti1Image(changed.data, changed.affine)
    found = gmmseg.segment_brain(image, settings=BrainSettings(**settings))
    reference, inside = changed.fetch(untouched.labels)
    labels = np.where(inside, found.labels, 0)
    return dice_per_label(labels, np.where(inside, reference, 0)), found


def asked(result, contrast):
    """The same result, had this contrast been asked for."""
    return replace(result, settings=replace(result.settings, contrast=contrast))


CHANGES = {
    "turned by 30 degrees": lambda s: perturb.turned(s, (17.3, 17.3, 17.3), order=0),
    "shifted half out of the field of view": lambda s: perturb.shifted(s, 2, 60.0),
    "cut at the bottom": lambda s: perturb.cropped(s, 2, 30.0, 0.0),
    "without an origin": perturb.without_origin,
    "four times as bright in front": lambda s: perturb.shaded(s, 1, 0.5, 2.0),
    "in another unit": lambda s: perturb.scaled(s, 1e5),
    "a child's": lambda s: perturb.resized_header(s, 0.75),
    "flatter in its header than it is": lambda s: perturb.resized_header(s, (1.0, 1.0, 0.7)),
    "strewn with stray values": lambda s: perturb.with_stray_values(
        s, 50, np.random.default_rng(1)
    ),
    "padded far below zero": lambda s: perturb.padded(s, head_of(s), -3000.0),
}


@pytest.mark.parametrize("name", CHANGES)
def test_tissues_stay_where_they_were_when_the_scan_is(name, scan, sample_result):
    dice, found = overlap(CHANGES[name](scan), sample_result)
    assert min(dice.values()) >= BOUND, dice
    assert found.decisions["strong shading"] is (name == "four times as bright in front")


def test_noise_as_bright_as_tissue_in_place_of_air_leaves_grey_and_white_matter(
    scan, sample_result
):
    """As in MP2RAGE, in a wide field of view: where all of it passes for head, no brain is found.

    It reaches close to the rim of the CSF, which the air otherwise helps find.
    """
    wide, margin = np.pad(scan.data, 40), np.eye(4)
    margin[:3, 3] = -40
    around = perturb.Scan(wide, scan.affine @ margin, margin)
    changed = perturb.noisy_air(around, head_of(around), np.random.default_rng(2))
    dice, _ = overlap(changed, sample_result)
    assert min(dice[1], dice[2]) >= 0.98, dice
    assert dice[3] >= 0.85, dice


def test_inverted_contrast_gives_the_same_grey_and_white_matter_and_is_told(scan, sample_result):
    means, _ = class_statistics(sample_result)
    levels = [means[name] for name in ("CSF", "GM", "WM")]
    changed = perturb.recoloured(scan, "inverted", sample_result.mask, levels)
    dice, found = overlap(changed, sample_result, contrast="auto")
    assert min(dice[1], dice[2]) >= BOUND, dice
    # Bone is dark in both, so that the rim of the CSF is seen in the inverted scan alone.
    assert dice[3] >= 0.92, dice
    assert found.decisions["contrast"] == "t2"
    (doubt,) = doubts(found)
    assert doubt.startswith("The scan looks T2-weighted")
    assert doubts(asked(found, "t2")) == ()  # it was named
    assert doubts(asked(sample_result, "auto")) == ()  # it is T1


def test_voxels_too_large_for_the_folds_are_doubted(scan, sample_result):
    coarse = perturb.coarse(scan, (3.0, 3.0, 3.0))
    dice, found = overlap(coarse, sample_result)
    assert min(dice.values()) < 0.90  # there is something to doubt
    (doubt,) = doubts(found)
    assert doubt.startswith("Of grey matter's voxels")
    assert doubts(sample_result) == ()


def test_noise_that_hides_the_tissues_is_doubted(scan, sample_result):
    """20 per cent of white matter, 26: GM and WM lie 35 apart."""
    changed = perturb.noisy(scan, 0.20 * 130, np.random.default_rng(3))
    dice, found = overlap(changed, sample_result)
    assert min(dice.values()) < 0.90  # there is something to doubt
    assert any("GM and WM" in doubt for doubt in doubts(found))
    assert doubts(sample_result) == ()
