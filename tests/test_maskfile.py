"""Masks from files, images and arrays: which voxels are inside."""

import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import rotate

from gmmseg.checks import InputError
from gmmseg.maskfile import read_mask
from gmmseg.volume import Volume


@pytest.fixture
def scan(rng):
    return Volume(rng.normal(size=(4, 5, 6)).astype(np.float32), np.diag([-1.0, 1.0, 2.0, 1.0]))


def test_a_mask_is_read_from_file_image_or_array(tmp_path, scan, rng):
    inside = rng.random(scan.shape) > 0.5
    image = nib.Nifti1Image(inside.astype(np.uint8) * 255, scan.affine)
    nib.save(image, tmp_path / "mask.nii.gz")
    for source in (tmp_path / "mask.nii.gz", image, inside, inside.astype(float)):
        np.testing.assert_array_equal(read_mask(source, scan), inside)


def test_a_mask_of_ones_is_a_mask(scan):
    assert read_mask(nib.Nifti1Image(np.ones(scan.shape), scan.affine), scan).all()


def test_fractions_of_a_mask_count_from_one_half(scan, rng):
    fractions = rng.random(scan.shape)
    np.testing.assert_array_equal(read_mask(fractions, scan), fractions >= 0.5)


@pytest.mark.parametrize("scale", [100, 255])
def test_fractions_count_from_half_of_what_they_run_to(scan, rng, scale):
    """Also where interpolation overshoots a little, or the whole of it is not reached."""
    fractions = rng.random(scan.shape)
    for largest in (0.9, 1.0, 1.7):
        given = fractions / fractions.max() * largest * scale
        np.testing.assert_array_equal(read_mask(given, scan), given >= scale / 2)


@pytest.mark.parametrize("order", [1, 3, 5])
def test_a_mask_that_was_resampled_counts_from_one_half(order):
    """Splines overshoot by a half and more where a mask is thin."""
    ball = np.linalg.norm(np.indices((24, 24, 24)) - 11.5, axis=0) < 8
    ball[11:13, :, :] |= np.random.default_rng(0).random((2, 24, 24)) < 0.2  # specks and holes
    turned = rotate(ball.astype(np.float32), 20, order=order, reshape=False)
    assert (turned.max() > 1.2) == (order > 1)
    grid = Volume(turned, np.eye(4))
    np.testing.assert_array_equal(read_mask(turned, grid), turned >= 0.5)


def test_whole_numbers_may_be_a_little_off(scan):
    labels = np.arange(120).reshape(scan.shape) % 4 * (1 + 1e-7)
    np.testing.assert_array_equal(read_mask(labels, scan), labels > 0.5)


def test_fractions_of_labels_are_no_mask(scan, rng):
    """As of labels 0 to 3 that were interpolated."""
    with pytest.raises(InputError, match=r"has fractions and runs to 3; .*nearest neighbours"):
        read_mask(np.append(3 * rng.random(119), 3.0).reshape(scan.shape), scan)


def test_what_is_nan_in_a_mask_is_outside(scan, rng):
    """As SPM leaves the voxels around the brain."""
    inside = rng.random(scan.shape) > 0.5
    given = np.where(inside, 1.0, np.nan)
    image = nib.Nifti1Image(given, scan.affine)
    for source in (given, image):
        np.testing.assert_array_equal(read_mask(source, scan), inside)
    assert np.isnan(given).any()  # and what was given stays as it was


@pytest.mark.parametrize("kind", [object, str, complex])
def test_a_mask_array_of_no_numbers_is_refused(scan, kind):
    with pytest.raises(InputError, match="not numbers; it must be 0 or 1"):
        read_mask(np.ones(scan.shape).astype(kind), scan)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.zeros((4, 5, 6)), "empty: no voxel is above 0"),
        (np.full((4, 5, 6), 0.25), "empty: no voxel reaches 0.5"),
        (np.full((4, 5, 6), np.nan), "empty: no voxel is above 0"),
        (np.full((4, 5, 6), np.inf), "infinite voxels"),
        (np.ones((4, 5, 7)), "size 4x5x7 and the image 4x5x6"),
        (np.ones((4, 5, 6, 2)), "holds 2 volumes .*; a mask must be 3-D: save one of them"),
    ],
)
def test_a_bad_mask_is_refused(scan, data, message):
    with pytest.raises(InputError, match=message):
        read_mask(nib.Nifti1Image(data, scan.affine), scan)


def test_a_mask_array_of_another_shape_is_refused(scan):
    with pytest.raises(InputError, match=r"shape \(4, 5, 7\) and the image \(4, 5, 6\)"):
        read_mask(np.ones((4, 5, 7)), scan)
