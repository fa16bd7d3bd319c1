"""Images read, counted and labelled block by block give what they give in memory."""

import pickle
import tracemalloc

import dask.array as da
import distributed
import numpy as np
import pytest
import tifffile
import zarr

from gmmseg.checks import InputError
from gmmseg.mixture.histogram import weighted_bins
from gmmseg.raster import stream
from gmmseg.raster.paths import dseg_path
from gmmseg.raster.read import read
from gmmseg.raster.stream import apply_lazy, apply_thresholds, histogram_lazy, open_lazy


@pytest.fixture
def image(rng):
    return rng.integers(0, 4000, (3, 150, 170)).astype(np.uint16)


def ome_zarr(path, data, version):
    root = zarr.create_group(str(path), zarr_format=version)
    for level in (0, 1):
        part = np.ascontiguousarray(data[:, :: 2**level, :: 2**level])
        root.create_array(str(level), data=part, chunks=(2, 32, 32))
    axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"]
    steps = [
        [{"type": "scale", "scale": [2.0, 0.5 * 2**level, 0.5 * 2**level]}] for level in (0, 1)
    ]
    datasets = [{"path": str(n), "coordinateTransformations": s} for n, s in enumerate(steps)]
    scales = {"axes": axes, "datasets": datasets}
    if version == 3:
        root.attrs["ome"] = {"version": "0.5", "multiscales": [scales]}
    else:
        root.attrs["multiscales"] = [{"version": "0.4", **scales}]


PLAIN = {"photometric": "minisblack", "metadata": None}
FILES = {
    "plain.tif": lambda path, x: tifffile.imwrite(path, x, **PLAIN),
    "big-endian.tif": lambda path, x: tifffile.imwrite(path, x, byteorder=">", **PLAIN),
    "big.tif": lambda path, x: tifffile.imwrite(path, x, bigtiff=True, **PLAIN),
    "strips.tif": lambda path, x: tifffile.imwrite(
        path, x, compression="zlib", rowsperstrip=7, resolution=(30, 20), **PLAIN
    ),
    "tiles.tif": lambda path, x: tifffile.imwrite(
        path, x, tile=(32, 48), compression="zlib", **PLAIN
    ),
    "white.tif": lambda path, x: tifffile.imwrite(
        path, x, photometric="miniswhite", compression="zlib", metadata=None
    ),
    "float.tif": lambda path, x: tifffile.imwrite(path, x.astype(np.float32) / 7, **PLAIN),
    "bits.tif": lambda path, x: tifffile.imwrite(path, x > 2000, **PLAIN),
    "imagej.tif": lambda path, x: tifffile.imwrite(
        path, x, imagej=True, metadata={"axes": "ZYX", "spacing": 3, "unit": "um"}
    ),
    "cells.ome.tif": lambda path, x: tifffile.imwrite(
        path, x, compression="zlib", photometric="minisblack",
        metadata={"axes": "TYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.25},
    ),
    "shaped.tif": lambda path, x: tifffile.imwrite(path, x, photometric="minisblack"),
    "four.ome.zarr": lambda path, x: ome_zarr(path, x, 2),
    "five.ome.zarr": lambda path, x: ome_zarr(path, x, 3),
}  # fmt: skip


@pytest.mark.parametrize("block_pixels", [3000, 2**22])
@pytest.mark.parametrize("name", FILES)
def test_blocks_give_the_result_of_the_whole(tmp_path, image, name, block_pixels):
    path = tmp_path / name
    FILES[name](path, image)
    whole, lazy = read(path), open_lazy(path, block_pixels=block_pixels)
    assert isinstance(lazy.data, da.Array)
    assert (lazy.axes, lazy.grid, lazy.spacing) == (whole.axes, whole.grid, whole.spacing)
    if block_pixels < image.size:
        assert lazy.data.npartitions >= 3  # a page of one strip is not cut
    for found, expected in zip(histogram_lazy(lazy.data), weighted_bins(whole.data), strict=True):
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == expected.dtype
    cuts = np.quantile(whole.data, [0.3, 0.7])
    written = apply_lazy(lazy.data, cuts, dseg_path(path), lazy, values=[1, 2, 3])
    again = read(written)
    np.testing.assert_array_equal(again.data, apply_thresholds(whole.data, cuts, values=[1, 2, 3]))
    assert (again.kind, again.axes, again.spacing) == (whole.kind, whole.axes, whole.spacing)


def test_tags_of_each_page_are_kept_in_parts_too(tmp_path, image):
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as tif:
        for number, plane in enumerate(image):
            tag = (285, 2, None, f"slice {number}", False)
            tif.write(plane, extratags=[tag], compression="zlib", rowsperstrip=9, **PLAIN)
    lazy = open_lazy(path, block_pixels=3000)
    with tifffile.TiffFile(apply_lazy(lazy.data, [9], tmp_path / "b.tif", lazy)) as tif:
        assert [page.tags["PageName"].value for page in tif.pages] == [
            "slice 0", "slice 1", "slice 2"
        ]  # fmt: skip


def test_each_level_of_zarr_is_a_stride_of_the_one_before(tmp_path, image):
    ome_zarr(tmp_path / "a.zarr", image, 3)
    lazy = open_lazy(tmp_path / "a.zarr", block_pixels=3000)
    root = zarr.open_group(str(apply_lazy(lazy.data, [2000], tmp_path / "b.zarr", lazy)), mode="r")
    np.testing.assert_array_equal(root["1"][...], (image > 2000)[:, ::2, ::2])


def test_colours_come_in_parts_with_channels_last(tmp_path, rng):
    data = rng.integers(0, 256, (90, 80, 4)).astype(np.uint8)
    options = {"photometric": "rgb", "extrasamples": ["unassalpha"], "rowsperstrip": 9}
    tifffile.imwrite(tmp_path / "a.tif", data, compression="zlib", **options)
    lazy = open_lazy(tmp_path / "a.tif", block_pixels=900)
    np.testing.assert_array_equal(lazy.data, data[..., :3])
    np.testing.assert_array_equal(lazy.mask, data[..., 3] > 0)
    grey = lazy.data.mean(axis=-1)
    path = apply_lazy(grey, [99.0], tmp_path / "b.tif", lazy, lazy.mask)
    expected = (data[..., :3].mean(axis=-1) > 99) & (data[..., 3] > 0)
    np.testing.assert_array_equal(read(path).data, expected)


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i8", "f4", "f8"])
@pytest.mark.parametrize("spread", [1, 30, 10**5])
def test_counts_are_those_of_the_engine_for_every_type(rng, dtype, spread):
    info = np.iinfo(dtype) if np.dtype(dtype).kind in "iu" else np.iinfo("i8")
    low, high = max(-spread, info.min), min(spread, info.max)
    data = rng.integers(low, high + 1, (60, 50)).astype(dtype)
    for x in [data] if data.dtype.kind != "f" else [data, data / 7]:
        found = histogram_lazy(da.from_array(x, chunks=(17, 13)), n_bins=100)
        for a, b in zip(found, weighted_bins(x, 100), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("lazy_mask", [False, True])
def test_only_the_mask_is_counted_and_labelled(tmp_path, image, rng, lazy_mask):
    mask = rng.random(image.shape) > 0.5
    mask[0] = False  # blocks without a pixel inside
    tifffile.imwrite(tmp_path / "a.tif", image.astype(np.float32) / 3, **PLAIN)
    lazy = open_lazy(tmp_path / "a.tif", block_pixels=3000)
    given = da.from_array(mask, chunks=(2, 50, 60)) if lazy_mask else mask
    whole = image.astype(np.float32) / 3
    for a, b in zip(histogram_lazy(lazy.data, given), weighted_bins(whole[mask]), strict=True):
        np.testing.assert_array_equal(a, b)
    path = apply_lazy(lazy.data, [600.0], tmp_path / "b.tif", lazy, given, values=[1, 2])
    np.testing.assert_array_equal(read(path).data, np.where(mask, 1 + (whole > 600), 0))


def test_missing_values_are_not_counted_and_get_no_label(tmp_path, rng):
    data = rng.normal(size=(40, 30))
    data[::3] = np.nan
    tifffile.imwrite(tmp_path / "a.tif", data, **PLAIN)
    lazy = open_lazy(tmp_path / "a.tif", block_pixels=120)
    assert histogram_lazy(lazy.data)[1].sum() == np.isfinite(data).sum()
    path = apply_lazy(lazy.data, [0.0], tmp_path / "b.tif", lazy, values=[1, 2])
    expected = np.where(np.isnan(data), 0, 1 + (data > 0))
    np.testing.assert_array_equal(read(path).data, expected)


@pytest.mark.parametrize(
    ("value", "message"), [(np.nan, "holds no values"), (np.inf, "infinite values")]
)
def test_what_cannot_be_counted_is_refused(value, message):
    data = np.zeros((8, 8), dtype=np.float32)
    data[...] = value
    data[0, 0] = value if np.isnan(value) else 0
    with pytest.raises(InputError, match=message):
        histogram_lazy(da.from_array(data, chunks=4))


def test_an_empty_mask_is_refused():
    data = da.zeros((8, 8), chunks=4, dtype=np.uint8)
    with pytest.raises(InputError, match="outside the mask"):
        histogram_lazy(data, np.zeros((8, 8), bool))
    with pytest.raises(InputError, match="mask has shape"):
        histogram_lazy(data, np.ones((8, 7), bool))


@pytest.mark.parametrize(
    ("cuts", "values", "message"),
    [
        ([2, 1], None, "rising"),
        ([np.nan], None, "finite"),
        ([1], [1, 2, 3], "need 2 labels"),
        ([1], [1, 300], "0 to 255"),
    ],
)
def test_thresholds_that_cannot_be_applied_are_refused(cuts, values, message):
    with pytest.raises(InputError, match=message):
        apply_thresholds(np.zeros(3), cuts, values=values)


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i4", "f4", "f8"])
def test_a_pixel_is_above_a_threshold_only_if_it_exceeds_it(dtype):
    image = np.arange(5).astype(dtype)
    assert apply_thresholds(image, [1, 2.5]).tolist() == [0, 0, 1, 2, 2]
    # 0.1 in float32 lies above 0.1; compared in float32 the two would be equal.
    assert apply_thresholds(np.array([0.1], np.float32), [0.1]).tolist() == [1]


@pytest.mark.parametrize("name", ["plain.tif", "strips.tif", "five.ome.zarr"])
def test_a_client_gives_the_same_result_as_threads(tmp_path, image, name):
    path = tmp_path / name
    FILES[name](path, image)
    lazy = open_lazy(path, block_pixels=5000)
    options = {"processes": False, "n_workers": 2, "dashboard_address": None}
    with distributed.Client(set_as_default=False, **options) as client:
        found = histogram_lazy(lazy.data, client=client)
        written = apply_lazy(lazy.data, [2000], dseg_path(path), lazy, client=client)
    for a, b in zip(found, weighted_bins(image), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(read(written).data, image > 2000)


@pytest.mark.parametrize("name", ["plain.tif", "strips.tif", "five.ome.zarr"])
def test_a_lazy_image_can_be_sent_to_another_process(tmp_path, image, name):
    FILES[name](tmp_path / name, image)
    lazy = open_lazy(tmp_path / name, block_pixels=5000).data
    sent = pickle.dumps(lazy)
    assert len(sent) < image.nbytes / 4  # the recipe, not the pixels
    np.testing.assert_array_equal(pickle.loads(sent), image)


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_memory_does_not_grow_with_the_image(tmp_path, compression):
    """16 MB in blocks of 256 KB, of which at most eight are at work, with their labels.

    A block's label, its neighbours in the band of rows that is written, and the graph come on
    top: a fifth of the image bounds them all; reading it whole takes the whole.
    """
    image = np.zeros((4096, 4096), dtype=np.uint8)
    image[1000:3000, 500:3000:3] = 200
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, image, compression=compression, rowsperstrip=32, **PLAIN)

    def in_parts():
        lazy = open_lazy(path, block_pixels=2**18)
        assert histogram_lazy(lazy.data)[1].sum() == image.size
        apply_lazy(lazy.data, [100], tmp_path / "b.tif", lazy)

    in_parts()  # once before, so that imports and compiled code are not counted
    assert peak_of(in_parts) < image.nbytes / 5
    assert peak_of(lambda: read(path)) >= image.nbytes
    np.testing.assert_array_equal(read(tmp_path / "b.tif").data, image > 100)


def peak_of(task):
    """Bytes that Python and NumPy hold at most while a task runs."""
    tracemalloc.start()
    try:
        task()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_the_module_offers_what_it_says():
    assert all(hasattr(stream, name) for name in stream.__all__)
