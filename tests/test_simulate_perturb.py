"""What befalls a scan, against what is known of it by construction."""

import numpy as np
import pytest

from gmmseg.simulate import perturb
from gmmseg.simulate.perturb import Scan


@pytest.fixture
def scan(rng):
    """A lattice of 12 x 14 x 16 voxels of 1 x 2 x 3 mm with random content."""
    affine = np.diag([1.0, 2.0, 3.0, 1.0])
    affine[:3, 3] = [-5, 7, 9]
    return Scan.of(1 + rng.random((12, 14, 16)), affine)


EXACT = {  # changes that move voxels and interpolate nothing
    "turned_header": lambda s: perturb.turned_header(s, (0, 30, 0)),
    "moved_header": lambda s: perturb.moved_header(s, (60, 0, -60)),
    "mirrored_header": lambda s: perturb.mirrored_header(s, (1, 2)),
    "resized_header": lambda s: perturb.resized_header(s, 0.7),
    "without_origin": perturb.without_origin,
    "shifted up": lambda s: perturb.shifted(s, 2, 9.0),
    "shifted down": lambda s: perturb.shifted(s, 1, -4.0),
    "cropped": lambda s: perturb.cropped(s, 2, 6.0, 3.0),
    "with_neck": lambda s: perturb.with_neck(s, 6.0),
    "turned by nothing": lambda s: perturb.turned(s, (0, 0, 0)),
    "turned by a right angle": lambda s: perturb.turned(s, (180, 0, 0)),
}


@pytest.mark.parametrize("name", EXACT)
def test_the_way_back_leads_to_the_voxel_it_came_from(name, scan):
    """Fetching the image itself as if it were labels gives what the changed scan shows."""
    changed = EXACT[name](scan)
    fetched, inside = changed.fetch(scan.data)
    assert inside.mean() > 0.5
    np.testing.assert_allclose(changed.data[inside], fetched[inside], atol=1e-4)


@pytest.mark.parametrize("name", ["turned_header", "moved_header", "cropped", "shifted up"])
def test_nothing_befalls_the_scan_that_was_given(name, scan):
    before = scan.data.copy()
    EXACT[name](scan)
    np.testing.assert_array_equal(scan.data, before)


def test_what_leaves_the_field_of_view_is_lost_and_air_comes_in(scan):
    moved = perturb.shifted(scan, 2, 9.0)
    assert not moved.data[:, :, :3].any()
    np.testing.assert_array_equal(moved.data[:, :, 3:], scan.data[:, :, :-3])


def test_a_turned_header_turns_about_the_middle_of_the_grid(scan):
    middle = [*((np.array(scan.data.shape) - 1) / 2), 1]
    changed = perturb.turned_header(scan, (10, 20, -5))
    np.testing.assert_allclose(changed.affine @ middle, scan.affine @ middle, atol=1e-9)
    np.testing.assert_allclose(changed.spacing, scan.spacing)


def test_longer_voxels_hold_the_mean_of_what_they_cover(scan):
    doubled = perturb.coarse(scan, (2, 2, 6))
    np.testing.assert_allclose(doubled.data[3, 4, 5], scan.data[6:8, 4, 10:12].mean(), rtol=1e-6)
    np.testing.assert_allclose(doubled.spacing, [2, 2, 6])
    corner = doubled.to_source @ [0, 0, 0, 1]
    np.testing.assert_allclose(corner[:3], [0.5, 0, 0.5])  # between the two it covers
    np.testing.assert_allclose(doubled.affine, scan.affine @ doubled.to_source)


def test_voxels_of_a_broken_ratio_share_the_voxel_between_them(scan):
    """3 mm slices to 4.5 mm: one and a half of the old ones each."""
    column = perturb.coarse(scan, (1, 2, 4.5)).data[0, 0]
    old = scan.data[0, 0].astype(float)
    np.testing.assert_allclose(column[0], (old[0] + 0.5 * old[1]) / 1.5, rtol=1e-6)
    np.testing.assert_allclose(column[1], (0.5 * old[1] + old[2]) / 1.5, rtol=1e-6)


def test_shading_has_the_factors_asked_for_at_the_ends_of_the_head():
    data = np.zeros((60, 20, 20), np.float32)
    data[10:50] = 100
    field = perturb.shaded(Scan.of(data, np.eye(4)), 0, 2.0, 0.5).data[:, 0, 0] / 100
    assert field[10] == pytest.approx(2.0, rel=0.05)
    assert field[49] == pytest.approx(0.5, rel=0.05)
    assert (np.diff(field[10:50]) < 0).all()


def test_another_contrast_puts_tissues_in_its_order_and_leaves_air_dark():
    data = np.zeros((40, 20, 20), np.float32)
    levels = {"CSF": 40, "GM": 95, "WM": 130}
    for k, level in enumerate(levels.values()):
        data[10 * k + 10 : 10 * k + 20] = level
    brain = data > 0
    for kind, order in {"t2": ["WM", "GM", "CSF"], "pd": ["WM", "CSF", "GM"]}.items():
        changed = perturb.recoloured(Scan.of(data, np.eye(4)), kind, brain, [*levels.values()])
        found = {name: changed.data[10 * k + 15, 10, 10] for k, name in enumerate(levels)}
        assert sorted(found, key=found.get) == order
        assert changed.data[5, 10, 10] == 0


def test_the_face_goes_and_the_brain_stays():
    data = np.ones((20, 40, 40), np.float32)
    affine = np.diag([5.0, 5.0, 5.0, 1.0])
    affine[:3, 3] = [-50, -100, -100]
    brain = np.zeros(data.shape, bool)
    brain[:, 20:34, 18:] = True  # y 0 to 70 mm, z from -10 mm
    changed = perturb.defaced(Scan.of(data, affine), np.eye(4), brain)
    assert changed.data[brain].all()
    assert not changed.data[:, 36, 8].any()  # y 80, z -60: below the eyes
    assert changed.data[:, 5].all()  # the back of the head


def test_a_mirrored_header_puts_the_last_voxel_where_the_first_lay(scan):
    changed = perturb.mirrored_header(scan, (1,))
    last, first = [3, 13, 5, 1], [3, 0, 5, 1]
    np.testing.assert_allclose(changed.affine @ last, scan.affine @ first)
    np.testing.assert_allclose(changed.affine @ first, scan.affine @ last)
    np.testing.assert_allclose(changed.spacing, scan.spacing)


def test_a_resized_header_makes_every_voxel_longer_or_shorter(scan):
    np.testing.assert_allclose(perturb.resized_header(scan, 0.5).spacing, scan.spacing / 2)
    squashed = perturb.resized_header(scan, (1.0, 1.0, 0.7))
    np.testing.assert_allclose(squashed.spacing, scan.spacing * [1.0, 1.0, 0.7])


def test_stray_values_lie_far_off_and_are_as_many_as_asked_for(scan, rng):
    data = perturb.with_stray_values(scan, 5, rng).data
    top = scan.data.max()
    assert 1 <= np.count_nonzero(data > 50 * top) <= 5
    assert 1 <= np.count_nonzero(data < -50 * top) <= 5
    assert np.count_nonzero(data != scan.data) <= 10


def test_padding_and_noise_take_the_place_of_air_alone(scan, rng):
    head = scan.data > 1.5
    padded, noisy = perturb.padded(scan, head, -7.0), perturb.noisy_air(scan, head, rng)
    assert (padded.data[~head] == -7).all()
    assert noisy.data[~head].std() > 0.25 * scan.data[head].max()
    assert noisy.data[~head].min() >= 0
    for changed in (padded, noisy):
        np.testing.assert_array_equal(changed.data[head], scan.data[head])
