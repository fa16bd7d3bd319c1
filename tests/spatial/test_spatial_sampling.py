"""The atlas between its voxels: priors as SciPy interpolates them, and how the evidence rises."""

import numpy as np
from scipy.ndimage import map_coordinates

from gmmseg.spatial.sampling import REACH, displaced_row, moved_point, sample_prior, score_at

SHAPE = (6, 7, 5)
N = 300


def some_maps(rng):
    return rng.dirichlet(np.ones(3), SHAPE).astype(np.float32)


def some_densities(rng):
    """Which row each point has, and rows of densities between .5 and 1.5."""
    return rng.integers(0, 8, N).astype(np.int32), rng.uniform(0.5, 1.5, (8, 3))


def prior_at(maps, points):
    prior = np.empty((len(points), maps.shape[-1]), np.float32)
    sample_prior(maps, np.ascontiguousarray(points), prior)
    return prior


def score_of(maps, points, rows, density):
    score = np.empty((len(points), 3))
    score_at(maps, points, rows, density, score)
    return score


def test_priors_between_voxels_are_interpolated_and_held_to_the_border(rng):
    maps = some_maps(rng)
    points = rng.uniform(-2, np.array(SHAPE) + 1.0, (N, 3))
    expected = np.stack(
        [map_coordinates(m, points.T, order=1, mode="nearest") for m in np.moveaxis(maps, -1, 0)],
        axis=1,
    )
    np.testing.assert_allclose(prior_at(maps, points), expected, atol=1e-5)


def test_points_of_a_lattice_move_as_its_displacement_is_interpolated(rng):
    displacement = rng.normal(size=(*SHAPE, 3)).astype(np.float32)
    to_map = np.vstack([rng.normal(size=(3, 4)), [0, 0, 0, 1]])
    row = np.empty((SHAPE[2], 3))
    for x, y, z in rng.uniform(-1, np.array(SHAPE) + 0.5, (50, 3)):  # and beyond its border
        displaced_row(displacement, x, y, row)
        by = [
            map_coordinates(d, [[x], [y], [z]], np.float64, order=1, mode="nearest")[0]
            for d in np.moveaxis(displacement, -1, 0)
        ]
        expected = (to_map @ [x, y, z, 1])[:3] + by
        np.testing.assert_allclose(moved_point(to_map, row, x, y, z), expected, atol=1e-6)


def test_the_score_is_the_rise_of_the_evidence_from_one_side_to_the_other(rng):
    """Across the kinks at voxels too, whose slopes on both sides then have their share."""
    maps, (rows, density) = some_maps(rng), some_densities(rng)
    points = rng.uniform(REACH, np.array(SHAPE) - 1 - REACH, (N, 3))
    score = score_of(maps, points, rows, density)
    for axis in range(3):
        reach = REACH * np.eye(3)[axis]
        above, below = (
            (prior_at(maps, points + side * reach) * density[rows]).sum(1) for side in (1, -1)
        )
        expected = (above - below) / (REACH * (above + below))
        np.testing.assert_allclose(score[:, axis], expected, rtol=1e-4, atol=1e-5)
        # and so that of its log, but for the third power of the rise
        slope = np.log(above / below) / (2 * REACH)
        np.testing.assert_allclose(score[:, axis], slope, rtol=0.1, atol=1e-5)


def test_nothing_rises_beyond_the_border_of_the_atlas(rng):
    maps, (rows, density) = some_maps(rng), some_densities(rng)
    for away, axis in ((-5.0, 0), (20.0, 1), (-1.0, 2)):
        points = rng.uniform(1, 3, (N, 3))
        points[:, axis] = away
        score = score_of(maps, points, rows, density)
        # Held to the border: half of what is looked at lies inside it, the other half is level.
        inside = score_of(maps, np.clip(points, 0, np.array(SHAPE) - 1.0), rows, density)
        np.testing.assert_array_equal(score, inside)


def test_a_point_that_is_not_a_number_stays_inside_the_atlas(rng):
    """It once led out of the array, and the process died."""
    maps = some_maps(rng)
    points = np.full((3, 3), np.nan)
    np.testing.assert_array_equal(prior_at(maps, points), np.tile(maps[0, 0, 0], (3, 1)))
    score = score_of(maps, points, np.zeros(3, np.int32), np.ones((1, 3)))
    np.testing.assert_allclose(score, 0, atol=1e-6)  # the classes sum to one everywhere
