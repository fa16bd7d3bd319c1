"""Images in parts are smoothed as they are whole."""

import dask.array as da
import numpy as np
import pytest

from gmmseg import InputError
from gmmseg.raster.halo import smooth_lazy
from gmmseg.spatial.levels import Grid
from gmmseg.spatial.potts import OUTSIDE, smooth_levels

BETA = 0.6


def stripes(rng, shape, dtype):
    """Two classes, two and a half deviations apart, whose labels take the field to settle."""
    image = rng.normal(0, 40, shape) + 100 * (np.indices(shape)[-1] // 23 % 2)
    return image.clip(0, 255).astype(dtype)


def model(image):
    grid = Grid.between(
        float(np.nanmin(image)), float(np.nanmax(image)), whole=image.dtype == np.uint8
    )
    table = -0.5 * ((grid.centres[:, None] - np.array([10, 100])) / 40) ** 2
    return grid, table.astype(np.float32)


def whole(image, mask, n_sweeps=8):
    grid, table = model(image)
    found = smooth_levels(
        grid.index(image), table, BETA, mask=mask, max_sweeps=n_sweeps, tol=-np.inf
    ).labels
    return np.where(found == OUTSIDE, 0, found)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize(
    ("shape", "axes", "chunks"),
    [
        ((131, 217), "YX", (37, 51)),
        ((40, 66, 50), "ZYX", (13, 40, 37)),
        ((3, 70, 50), "TYX", (2, 33, 37)),
    ],
)
def test_labels_in_parts_are_those_of_the_whole(rng, shape, axes, chunks, dtype, masked):
    image = stripes(rng, shape, dtype)
    mask = rng.random(shape) < 0.95 if masked else None
    grid, table = model(image)
    lazy = smooth_lazy(
        da.from_array(image, chunks=chunks), grid, table, BETA,
        n_sweeps=8, axes=axes, mask=mask,
    ).compute()  # fmt: skip
    if axes[0] == "T":
        grids = [smooth_levels(grid.index(frame), table, BETA,
                               mask=None if mask is None else mask[t], max_sweeps=8, tol=-np.inf)
                 for t, frame in enumerate(image)]  # fmt: skip
        expected = np.stack([np.where(one.labels == OUTSIDE, 0, one.labels) for one in grids])
    else:
        expected = whole(image, mask)
    np.testing.assert_array_equal(lazy, expected)


def test_without_a_rim_they_would_not_be(rng):
    """The control: blocks each for themselves."""
    image = stripes(rng, (128, 128), np.uint8)
    grid, table = model(image)
    blocks = da.from_array(image, chunks=(32, 32))

    def alone(block):
        return smooth_levels(grid.index(block), table, BETA, max_sweeps=8, tol=-np.inf).labels

    found = blocks.map_blocks(alone, dtype=np.uint8).compute()
    assert (found != whole(image, None)).any()


def test_missing_pixels_are_outside(rng):
    image = stripes(rng, (80, 90), np.float32)
    image[10:20, 30:40] = np.nan
    grid, table = model(image)
    lazy = smooth_lazy(
        da.from_array(image, chunks=(40, 45)), grid, table, BETA, n_sweeps=8, axes="YX",
        values=(1, 2),
    ).compute()  # fmt: skip
    assert not lazy[10:20, 30:40].any()
    mask = ~np.isnan(image)
    np.testing.assert_array_equal(lazy[mask], whole(image, mask)[mask] + 1)


def test_diagonal_neighbours_are_refused(rng):
    image = stripes(rng, (40, 40), np.uint8)
    grid, table = model(image)
    with pytest.raises(InputError, match="4 or 6 neighbours, not 8"):
        smooth_lazy(da.from_array(image), grid, table, BETA, n_sweeps=8, axes="YX", neighbours=8)
