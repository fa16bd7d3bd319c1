"""TIFF of every make: the pixels that come out, and the file that labels go back to."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from gmmseg.raster.paths import dseg_path
from gmmseg.raster.read import read
from gmmseg.raster.write import write_labels, write_map


@pytest.fixture
def stack(rng):
    return rng.integers(0, 60000, (3, 40, 50)).astype(np.uint16)


def labels_beside(path):
    """Read an image and write labels for it: the raster, the labels and their file."""
    raster = read(path)
    labels = (np.arange(np.prod(raster.grid)) % 3).reshape(raster.grid).astype(np.uint8)
    written = write_labels(dseg_path(path, kind=raster.kind), labels, raster)
    np.testing.assert_array_equal(tifffile.imread(written).squeeze(), labels.squeeze())
    return raster, labels, written


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"byteorder": ">"},
        {"bigtiff": True},
        {"compression": "zlib", "predictor": True},
        {"tile": (16, 32)},
        {"tile": (16, 16), "compression": "zlib", "byteorder": ">"},
        {"rowsperstrip": 7, "compression": "zlib"},
    ],
    ids=str,
)
def test_pixels_do_not_depend_on_how_they_are_stored(tmp_path, stack, options):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, stack, photometric="minisblack", metadata=None, **options)
    raster, _, written = labels_beside(path)
    np.testing.assert_array_equal(raster.data, stack)
    assert raster.data.dtype.isnative
    assert (raster.axes, raster.kind, raster.spacing) == ("ZYX", "tiff", None)
    with tifffile.TiffFile(path) as before, tifffile.TiffFile(written) as after:
        assert len(after.pages) == len(before.pages) == 3
        assert after.byteorder == before.byteorder
        assert after.is_bigtiff == before.is_bigtiff
        assert after.pages[0].tile == before.pages[0].tile
        assert after.pages[0].compression == tifffile.COMPRESSION.ADOBE_DEFLATE


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "f4", "f8"])
def test_numbers_keep_their_type(tmp_path, stack, dtype):
    data = (stack // 500).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", data, photometric="minisblack", metadata={"axes": "ZYX"})
    raster = read(tmp_path / "a.tif")
    assert raster.data.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(raster.data, data)


def test_missing_values_of_a_float_image_are_kept(tmp_path):
    data = np.array([[np.nan, 0.5], [np.inf, -3]], dtype=np.float32)
    tifffile.imwrite(tmp_path / "a.tif", data, photometric="minisblack", metadata=None)
    np.testing.assert_array_equal(read(tmp_path / "a.tif").data, data)


def test_each_page_keeps_its_resolution_and_tags(tmp_path, stack):
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as tif:
        for number, plane in enumerate(stack, 1):
            tags = [(285, 2, None, f"slice {number}", False), (274, 3, 1, 6, False)]
            tags += [(33550, 12, 3, (0.5, 0.5, 0.0), False)]  # GeoTIFF: pixel size
            tif.write(
                plane, photometric="minisblack", metadata=None, extratags=tags,
                resolution=((300, 7), (150 + number, 1)), resolutionunit="CENTIMETER",
            )  # fmt: skip
    raster, _, written = labels_beside(path)
    assert raster.spacing == pytest.approx((10 / 151, 10 / 151, 70 / 300))
    assert raster.unit == "mm"
    kept = ("XResolution", "YResolution", "ResolutionUnit", "PageName", "Orientation")
    with tifffile.TiffFile(path) as before, tifffile.TiffFile(written) as after:
        for old, new in zip(before.pages, after.pages, strict=True):
            for name in (*kept, "ModelPixelScaleTag"):
                assert new.tags[name].value == old.tags[name].value, name


def test_an_imagej_hyperstack_stays_one(tmp_path, rng):
    data = rng.integers(0, 60000, (2, 3, 2, 20, 30)).astype(np.uint16)
    about = {"axes": "TZCYX", "spacing": 2.5, "unit": "um", "finterval": 0.25, "Info": "cells"}
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path, data, imagej=True, resolution=(4, 2), metadata=about | {"min": 7.0, "max": 900.0}
    )
    raster, _, written = labels_beside(path)
    assert (raster.axes, raster.grid) == ("TZYXC", (2, 3, 20, 30))
    np.testing.assert_array_equal(raster.data, data.transpose(0, 1, 3, 4, 2))
    assert (raster.spacing, raster.unit) == ((2.5, 0.5, 0.25), "µm")
    with tifffile.TiffFile(path) as before, tifffile.TiffFile(written) as after:
        old, new = before.imagej_metadata, after.imagej_metadata
        for key in ("frames", "slices", "spacing", "unit", "finterval", "Info", "hyperstack"):
            assert new[key] == old[key], key
        assert "channels" not in new
        assert (new["min"], new["max"]) == (0, 2)  # the display range of three labels
        assert after.series[0].axes == "TZYX"
        assert after.pages[0].resolution == before.pages[0].resolution


def test_pages_without_a_name_are_slices(tmp_path, stack):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, stack, imagej=True, metadata={"axes": "ZYX"}, photometric="minisblack")
    with tifffile.TiffFile(path, mode="r+") as tif:
        tif.pages[0].tags[270].overwrite("ImageJ=1.53\nimages=3\nloop=false\n")
    raster, _, written = labels_beside(path)
    assert raster.axes == "ZYX"
    with tifffile.TiffFile(written) as tif:
        assert tif.imagej_metadata["images"] == 3


def test_an_ome_tiff_stays_one(tmp_path, rng):
    data = rng.integers(0, 60000, (2, 3, 2, 20, 30)).astype(np.uint16)  # time, channel, slice
    about = {
        "axes": "TCZYX", "Name": "field 7", "TimeIncrement": 0.5, "TimeIncrementUnit": "s",
        "PhysicalSizeX": 0.25, "PhysicalSizeXUnit": "µm", "PhysicalSizeY": 0.5,
        "PhysicalSizeYUnit": "µm", "PhysicalSizeZ": 2000, "PhysicalSizeZUnit": "nm",
        "Plane": {"PositionX": [float(n) for n in range(12)], "PositionXUnit": ["mm"] * 12},
    }  # fmt: skip
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, data, metadata=about, photometric="minisblack")
    raster, _, written = labels_beside(path)
    assert (raster.kind, raster.axes) == ("ome-tiff", "TZYXC")
    np.testing.assert_array_equal(raster.data, data.transpose(0, 2, 3, 4, 1))
    assert raster.spacing == pytest.approx((2.0, 0.5, 0.25))
    assert raster.unit == "µm"
    assert written.name == "a_dseg.ome.tif"
    with tifffile.TiffFile(path) as before, tifffile.TiffFile(written) as after:
        old, new = (tifffile.xml2dict(tif.ome_metadata)["OME"]["Image"] for tif in (before, after))
        assert new["Name"] == "field 7"
        for key in about.keys() - {"axes", "Name", "Plane"}:
            assert new["Pixels"][key] == old["Pixels"][key], key
        assert new["Pixels"]["SizeC"] == 1
        assert after.series[0].axes == "TZYX"
        # Stage positions of the first channel: planes 0, 1 (slices), 6, 7 (second time).
        assert [plane["PositionX"] for plane in new["Pixels"]["Plane"]] == [0, 1, 6, 7]


def test_the_first_of_several_images_is_used_and_said(tmp_path, stack):
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as tif:
        tif.write(stack, photometric="minisblack", metadata={"axes": "ZYX"})
        tif.write(stack[0, :9], photometric="minisblack", metadata={"axes": "YX"})
    raster = read(tmp_path / "a.ome.tif")
    np.testing.assert_array_equal(raster.data, stack)
    assert "It holds 2 images; the first is used (size 3x40x50)." in raster.notes


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_colours_are_channels_and_labels_have_one(tmp_path, rng, planar):
    data = rng.integers(0, 256, (20, 30, 3)).astype(np.uint8)
    stored = data if planar == "contig" else data.transpose(2, 0, 1)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, stored, photometric="rgb", planarconfig=planar, metadata=None)
    raster, _, written = labels_beside(path)
    np.testing.assert_array_equal(raster.data, data)
    assert raster.axes == "YXC"
    with tifffile.TiffFile(written) as tif:
        assert tif.pages[0].samplesperpixel == 1


def test_alpha_is_left_out_and_clear_pixels_are_outside(tmp_path, rng):
    data = rng.integers(0, 3, (20, 30, 4)).astype(np.uint8)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, data, photometric="rgb", extrasamples=["unassalpha"], metadata=None)
    raster = read(path)
    np.testing.assert_array_equal(raster.data, data[..., :3])
    np.testing.assert_array_equal(raster.mask, data[..., 3] > 0)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.uint16])
def test_white_stored_as_zero_reads_as_shown(tmp_path, rng, dtype):
    data = rng.integers(0, 2, (9, 24)).astype(dtype)
    tifffile.imwrite(tmp_path / "w.tif", data, photometric="miniswhite", metadata=None)
    tifffile.imwrite(tmp_path / "b.tif", data, photometric="minisblack", metadata=None)
    white, black = read(tmp_path / "w.tif"), read(tmp_path / "b.tif")
    top = 1 if dtype is bool else np.iinfo(dtype).max
    np.testing.assert_array_equal(white.data, top - black.data)
    np.testing.assert_array_equal(black.data, data)
    assert "white as 0" in white.notes[0]
    assert black.data.dtype == (np.uint8 if dtype is bool else dtype)


@pytest.mark.parametrize("compression", ["tiff_lzw", "group4", "packbits", "tiff_deflate"])
def test_compressed_pages_of_a_fax_read_as_they_are(tmp_path, rng, compression):
    ink = rng.random((30, 41)) > 0.8
    pages = [Image.fromarray(ink), Image.fromarray(~ink)]
    path = tmp_path / "a.tif"
    pages[0].save(path, compression=compression, save_all=True, append_images=pages[1:])
    np.testing.assert_array_equal(read(path).data, np.stack([ink, ~ink]))


def test_a_palette_gives_colours_but_the_display_colours_of_imagej_do_not(tmp_path, rng):
    index = rng.integers(0, 4, (8, 9)).astype(np.uint8)
    table = np.zeros((3, 256), dtype=np.uint16)
    table[0] = np.arange(256)[::-1] * 257
    tifffile.imwrite(tmp_path / "a.tif", index, colormap=table, metadata=None)
    raster = read(tmp_path / "a.tif")
    assert (raster.axes, raster.data.dtype) == ("YXC", np.uint8)
    np.testing.assert_array_equal(raster.data[..., 0], 255 - index)
    tifffile.imwrite(tmp_path / "b.tif", index, imagej=True, colormap=table)
    np.testing.assert_array_equal(read(tmp_path / "b.tif").data, index)


@pytest.mark.parametrize("kind", ["plain", "imagej", "ome", "shaped"])
def test_probabilities_are_channels_beside_the_pages(tmp_path, rng, kind):
    data = rng.integers(0, 255, (4, 20, 30)).astype(np.uint8)
    path = tmp_path / "a.tif"
    options = {
        "plain": {"metadata": None, "byteorder": ">"},
        "imagej": {"imagej": True, "metadata": {"axes": "ZYX", "Labels": list("abcd")}},
        "ome": {"ome": True, "metadata": {"axes": "ZYX"}},
        "shaped": {"metadata": {"axes": "ZYX"}},
    }[kind]
    tifffile.imwrite(path, data, photometric="minisblack", **options)
    raster = read(path)
    maps = rng.random((*raster.grid, 3)).astype(np.float32)
    written = write_map(dseg_path(path, suffix="probseg"), maps, raster)
    again = read(written)
    assert again.axes == "ZYXC"
    np.testing.assert_array_equal(again.data, maps)
    assert again.kind == raster.kind
