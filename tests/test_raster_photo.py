"""Pictures: which pixels come out of each kind, and what a PNG of labels keeps."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from gmmseg.raster.paths import dseg_path
from gmmseg.raster.read import read
from gmmseg.raster.write import write_labels


@pytest.fixture
def grey(rng):
    return rng.integers(0, 256, (20, 31)).astype(np.uint8)


def png(depth, colour_type, rows, width):
    """A PNG of any bit depth, which Pillow cannot write."""

    def chunk(name, data):
        crc = zlib.crc32(name + data)
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", crc)

    header = struct.pack(">IIBBBBB", width, len(rows), depth, colour_type, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = chunk(b"IHDR", header), chunk(b"IDAT", pixels), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.gif", "a.pgm"])
def test_a_grey_picture_keeps_its_pixels(tmp_path, grey, name):
    Image.fromarray(grey).save(tmp_path / name)
    raster = read(tmp_path / name)
    np.testing.assert_array_equal(raster.data, grey)
    assert (raster.data.dtype, raster.axes, raster.bits) == (np.uint8, "YX", 8)


@pytest.mark.parametrize("top", [65535, 4000])
def test_sixteen_bits_stay_sixteen_and_say_how_many_are_used(tmp_path, rng, top):
    data = rng.integers(0, top + 1, (9, 8)).astype(np.uint16)
    data[0, 0] = top
    Image.fromarray(data).save(tmp_path / "a.png")
    raster = read(tmp_path / "a.png")
    assert raster.data.dtype == np.uint16
    np.testing.assert_array_equal(raster.data, data)
    assert raster.bits == (16 if top == 65535 else 12)
    assert any("12 of the 16 bits" in note for note in raster.notes) == (top == 4000)


def test_one_bit_is_zero_and_one(tmp_path, grey):
    Image.fromarray(grey > 99).save(tmp_path / "a.png")
    raster = read(tmp_path / "a.png")
    np.testing.assert_array_equal(raster.data, grey > 99)
    assert (raster.data.dtype, raster.bits) == (np.uint8, 1)


def test_two_bits_are_the_greys_that_viewers_show(tmp_path):
    (tmp_path / "a.png").write_bytes(png(2, 0, [bytes([0b00011011])], 4))
    raster = read(tmp_path / "a.png")
    assert raster.data.tolist() == [[0, 85, 170, 255]]
    assert raster.bits == 2


def test_colours_of_sixteen_bits_say_that_eight_are_used(tmp_path, rng):
    data = rng.integers(0, 65536, (5, 6, 3)).astype(">u2")
    (tmp_path / "a.png").write_bytes(png(16, 2, [row.tobytes() for row in data], 6))
    raster = read(tmp_path / "a.png")
    np.testing.assert_array_equal(raster.data, data >> 8)
    assert "Of its 16 bits per colour the upper 8 are used" in raster.notes[0]


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_left_out_and_clear_pixels_are_outside(tmp_path, grey, mode):
    image = Image.fromarray(grey)
    alpha = Image.fromarray(np.where(grey > 99, 255, 0).astype(np.uint8))
    bands = [image] * (len(mode) - 1)
    if mode == "RGBA":
        bands[1] = Image.fromarray(255 - grey)
    Image.merge(mode, [*bands, alpha]).save(tmp_path / "a.png")
    raster = read(tmp_path / "a.png")
    assert raster.axes == ("YXC" if mode == "RGBA" else "YX")
    np.testing.assert_array_equal(raster.data[..., 0] if mode == "RGBA" else raster.data, grey)
    np.testing.assert_array_equal(raster.mask, grey > 99)
    assert "alpha channel is not used" in raster.notes[0]


@pytest.mark.parametrize("wide", [False, True])
def test_a_transparent_grey_is_outside(tmp_path, grey, wide):
    data = grey.astype(np.uint16) * 200 if wide else grey
    clear = int(data[3, 4])
    Image.fromarray(data).save(tmp_path / "a.png", transparency=clear)
    raster = read(tmp_path / "a.png")
    np.testing.assert_array_equal(raster.data, data)
    np.testing.assert_array_equal(raster.mask, data != clear)


def test_a_palette_gives_its_colours_not_its_indices(tmp_path):
    image = Image.fromarray(np.array([[0, 1], [2, 1]], dtype=np.uint8), "P")
    image.putpalette([200, 0, 0, 0, 100, 0, 7, 8, 9])
    image.save(tmp_path / "a.png")
    raster = read(tmp_path / "a.png")
    assert raster.data.tolist() == [[[200, 0, 0], [0, 100, 0]], [[7, 8, 9], [0, 100, 0]]]
    assert "palette" in raster.notes[0]


def test_a_grey_palette_in_another_order_gives_greys(tmp_path):
    image = Image.fromarray(np.array([[0, 1]], dtype=np.uint8), "P")
    image.putpalette([200, 200, 200, 5, 5, 5])
    image.save(tmp_path / "a.gif")
    raster = read(tmp_path / "a.gif")
    assert raster.axes == "YX"
    assert raster.data.tolist() == [[200, 5]]


def test_equal_colour_channels_are_one_grey_channel(tmp_path, grey):
    colours = np.stack([grey] * 3, axis=-1)
    Image.fromarray(colours).save(tmp_path / "grey.png")
    colours[0, 0, 2] ^= 1
    Image.fromarray(colours).save(tmp_path / "colour.png")
    assert read(tmp_path / "grey.png").axes == "YX"
    assert read(tmp_path / "colour.png").axes == "YXC"


def test_inks_of_a_jpeg_become_colours(tmp_path):
    red = Image.new("RGB", (16, 16), (250, 10, 10))
    red.convert("CMYK").save(tmp_path / "a.jpg")
    raster = read(tmp_path / "a.jpg")
    # JPEG of one flat colour is right to a few grey levels.
    np.testing.assert_allclose(raster.data[8, 8], [250, 10, 10], atol=8)
    assert "converted from CMYK" in raster.notes[0]


def test_the_first_of_two_pictures_in_one_jpeg_is_used(tmp_path, grey):
    first, second = Image.fromarray(grey), Image.fromarray(255 - grey)
    first.save(tmp_path / "a.mpo", format="MPO", save_all=True, append_images=[second])
    path = (tmp_path / "a.mpo").rename(tmp_path / "a.jpg")  # as telephones name them
    raster = read(path)
    assert raster.kind == "jpeg"
    assert "2 pictures; the first" in raster.notes[0]
    assert np.corrcoef(raster.data.ravel(), grey.ravel())[0, 1] > 0.9  # noise hurts JPEG


def test_a_turned_photo_keeps_the_stored_pixels_and_its_labels_turn_alike(tmp_path, grey):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(grey).save(tmp_path / "a.jpg", exif=exif, dpi=(300, 150))
    raster = read(tmp_path / "a.jpg")
    assert raster.grid == grey.shape
    assert any("EXIF" in note for note in raster.notes)
    path = write_labels(dseg_path(tmp_path / "a.jpg"), grey % 3, raster)
    with Image.open(path) as image:
        assert (path.name, image.getexif()[0x0112]) == ("a_dseg.png", 6)
        np.testing.assert_array_equal(np.asarray(image), grey % 3)


def test_resolution_is_the_spacing_and_comes_back(tmp_path, grey):
    Image.fromarray(grey).save(tmp_path / "a.png", dpi=(300, 150))
    raster = read(tmp_path / "a.png")
    # PNG stores whole pixels per metre.
    assert raster.spacing == pytest.approx((1000 / 5906, 1000 / 11811))
    assert raster.unit == "mm"
    path = write_labels(dseg_path(tmp_path / "a.png"), grey % 2, raster)
    assert read(path).spacing == raster.spacing


def test_the_content_decides_where_the_name_is_wrong(tmp_path, grey):
    Image.fromarray(grey).save(tmp_path / "a.tif", format="PNG")
    raster = read(tmp_path / "a.tif")
    assert raster.kind == "png"
    assert dseg_path(tmp_path / "a.tif", kind=raster.kind).name == "a_dseg.png"
