"""Where the alignment starts, for heads of a known shape."""

import numpy as np
import pytest

from gmmseg.spatial import starts

HEAD_MM = np.array([75.0, 95.0, 120.0])  # half-axes


@pytest.fixture(scope="module")
def head():
    """(N, 3) points in a blunt ellipsoid that is as wide as a head, somewhere in space."""
    points = np.random.default_rng(0).uniform(-1, 1, (60_000, 3))
    return points[(points**4).sum(1) < 1] * HEAD_MM + [40.0, -30.0, 500.0]


def scales(found):
    return np.cbrt([np.linalg.det(start.matrix[:3, :3]) for start in found])


def test_a_head_of_the_usual_size_starts_from_its_own_size_and_at_a_cost_from_a_small_one(head):
    found = starts.starting_points(head)
    assert len(found) == 9  # three pitches, each at two heights and once more
    np.testing.assert_allclose(scales(found), [1.0] * 6 + [starts.SHRUNK] * 3)
    assert [start.cost for start in found] == [0.0] * 6 + [starts.SHRUNK_COSTS] * 3


def test_a_brain_alone_of_the_usual_size_starts_from_its_own_size_alone(head):
    brain = head * np.append(starts.BRAIN_MM / starts.HEAD_MM, 1.0)
    found = starts.starting_points(brain, alone=True)
    assert len(found) == 3
    np.testing.assert_allclose(scales(found), 1.0)


@pytest.mark.parametrize("size", [0.75, 1.3])
def test_a_head_of_another_size_starts_from_the_usual_one_too(head, size):
    found = scales(starts.starting_points(head * size))
    assert len(found) == 9
    np.testing.assert_allclose(found[:6], 1.0)
    np.testing.assert_allclose(found[6:], 1 / size, rtol=0.1)


def test_strain_is_counted_from_the_size_of_each_start_and_a_size_that_shows_is_free(head):
    found = starts.starting_points(head * 0.75)
    np.testing.assert_allclose([start.size for start in found], scales(found))
    assert not any(start.cost for start in found)


@pytest.mark.parametrize("axis", [0, 1])
def test_a_head_that_is_cut_off_at_one_side_is_no_small_head(head, axis):
    half = head[head[:, axis] > head[:, axis].mean()]
    free = [start for start in starts.starting_points(half) if not start.cost]
    np.testing.assert_allclose(scales(free), 1.0)


@pytest.mark.parametrize("size", [0.75, 1.3])
def test_the_top_of_a_head_lies_above_that_of_the_brain_whatever_its_size(head, size):
    top = np.array([40.0, -30.0, 620.0, 1 / size]) * size
    found = starts.starting_points(head * size)
    for start in (found[0], found[6]):  # not pitched
        expected = [0, starts.MIDDLE_MM[1], starts.BRAIN_TOP_MM + 10]
        np.testing.assert_allclose((start.matrix @ top)[:3], expected, atol=5)


def test_sizes_no_head_has_are_not_followed(head):
    assert scales(starts.starting_points(head * 0.1)).max() == pytest.approx(starts.SCALES[1])
    assert scales(starts.starting_points(head * 10)).min() == pytest.approx(starts.SCALES[0])
