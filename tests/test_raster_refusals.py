"""What cannot be thresholded is refused in one sentence that says which file and what to do."""

import re
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from gmmseg.checks import InputError
from gmmseg.raster.lazy import open_lazy
from gmmseg.raster.read import read, read_mask
from gmmseg.raster.write import write_labels, write_map

# Noise, so that no kind of file compresses it to less than its header.
GREY = np.random.default_rng(5).integers(0, 251, (48, 40)).astype(np.uint8)
STACK = np.stack([np.roll(GREY, shift) for shift in range(5)])
PLAIN = {"photometric": "minisblack", "metadata": None}


def picture(path, **options):
    Image.fromarray(GREY).save(path, **options)


def moving(path):
    picture(path, save_all=True, append_images=[Image.fromarray(g) for g in STACK[1:3]])


def group(path, attributes):
    zarr.create_group(str(path), attributes=attributes)


BAD = {
    "missing.png": (lambda path: None, "does not exist"),
    "folder": (Path.mkdir, "is a folder that holds no OME-Zarr"),
    "empty.tif": (Path.touch, "is an empty file"),
    "text.png": (
        lambda path: path.write_text("Dear Sir"),
        "but text, which begins with 'Dear Sir'",
    ),
    "paper.tif": (lambda path: path.write_bytes(b"%PDF-1.4 \x80"), "but PDF"),
    "scan.dcm": (lambda path: path.write_bytes(bytes(128) + b"DICM" + bytes(99)), "but DICOM"),
    "cells.czi": (lambda path: path.write_bytes(b"ZISRAWFILE" + bytes(99)), "OME-TIFF"),
    "noise.tif": (lambda path: path.write_bytes(bytes(range(255, 0, -1))), "not an image"),
    "noise.nii": (lambda path: path.write_bytes(bytes(range(255, 0, -1))), "not an image"),
    "moving.gif": (moving, "is animated: it holds 3 frames. Save them as a TIFF stack"),
    "moving.png": (moving, "is animated: it holds 3 frames"),
    "moving.webp": (moving, "is animated: it holds 3 frames"),
    "complex.tif": (
        lambda path: tifffile.imwrite(path, GREY.astype(np.complex64), **PLAIN),
        "is complex",
    ),
    "axes.tif": (
        lambda path: tifffile.imwrite(
            path, STACK.reshape(5, 2, 24, 40), photometric="minisblack", metadata={"axes": "QRYX"}
        ),
        "has the axes QRYX",
    ),
    "raw.tif": (
        lambda path: tifffile.imwrite(path, GREY, photometric="cfa", metadata=None),
        "raw mosaic",
    ),
    "nopage.tif": (lambda path: path.write_bytes(b"II*\0" + bytes(4)), "TIFF|no page"),
    "four.nii": (
        lambda path: nib.save(nib.Nifti1Image(np.ones((3, 3, 3, 2), np.int16), np.eye(4)), path),
        "holds 2 volumes",
    ),
    "nothing.zarr": (lambda path: group(path, {}), "without a multiscale image"),
    "broken.zarr": (lambda path: group(path, {"multiscales": [{}]}), "without a multiscale image"),
    "plate.zarr": (lambda path: group(path, {"plate": {"wells": []}}), "plate or well"),
    "bare.zarr": (
        lambda path: zarr.create_array(str(path), shape=(3, 3), dtype="u1"),
        "bare Zarr array",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_sentence_that_names_the_file(tmp_path, name):
    make, message = BAD[name]
    make(tmp_path / name)
    with pytest.raises(InputError, match=message) as caught:
        read(tmp_path / name)
    text = str(caught.value)
    assert str(tmp_path / name) in text
    assert "\n" not in text
    assert len(text) < 400 + len(str(tmp_path))  # a sentence, not the log of a library


WRITERS = {
    "a.png": picture,
    "a.jpg": picture,
    "a.gif": picture,
    "a.bmp": picture,
    "a.webp": picture,
    "a.pgm": picture,
    "plain.tif": lambda path: tifffile.imwrite(path, STACK, **PLAIN),
    "zip.tif": lambda path: tifffile.imwrite(path, STACK, compression="zlib", **PLAIN),
    "tiled.tif": lambda path: tifffile.imwrite(path, STACK, tile=(16, 16), **PLAIN),
    "shaped.tif": lambda path: tifffile.imwrite(path, STACK, photometric="minisblack"),
    "imagej.tif": lambda path: tifffile.imwrite(
        path, STACK, imagej=True, photometric="minisblack", metadata={"axes": "ZYX"}
    ),
    "ome.tif": lambda path: tifffile.imwrite(path, STACK, ome=True, photometric="minisblack"),
    "packed.tif": lambda path: picture(path, compression="packbits"),
    "a.nii.gz": lambda path: nib.save(nib.Nifti1Image(STACK, np.eye(4)), path),
}


@pytest.mark.parametrize("share", [0.02, 0.5, 0.95])
@pytest.mark.parametrize("name", WRITERS)
def test_a_file_that_ends_early_is_refused_whatever_its_kind(tmp_path, name, share):
    path = tmp_path / name
    WRITERS[name](path)
    read(path)  # whole, it is fine
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(InputError, match=r"truncated|damaged|not an image|no page") as caught:
        read(path)
    assert str(path) in str(caught.value)


def test_a_damaged_chunk_of_zarr_is_refused(tmp_path):
    path = tmp_path / "a.ome.zarr"
    root = zarr.create_group(str(path))
    root.create_array("0", data=GREY, chunks=(16, 16))
    axes = [{"name": "y", "type": "space"}, {"name": "x", "type": "space"}]
    scales = {"axes": axes, "datasets": [{"path": "0"}]}
    root.attrs["ome"] = {"version": "0.5", "multiscales": [scales]}
    np.testing.assert_array_equal(read(path).data, GREY)
    (path / "0" / "c" / "1" / "1").write_bytes(b"junk")
    with pytest.raises(InputError, match="a chunk of its level 0 cannot be read"):
        read(path)


def test_a_file_without_permission_says_so(tmp_path, monkeypatch):
    picture(tmp_path / "a.png")

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)  # root may read everything
    with pytest.raises(InputError, match="cannot be opened: permission denied"):
        read(tmp_path / "a.png")


def test_a_compression_that_needs_another_package_names_it(tmp_path, monkeypatch):
    picture(tmp_path / "a.tif", compression="tiff_lzw")
    np.testing.assert_array_equal(read(tmp_path / "a.tif").data, GREY)  # Pillow knows it

    def unknown(*_, **__):
        raise ValueError("<COMPRESSION.LZW: 5> requires the 'imagecodecs' package")

    monkeypatch.setattr(tifffile.TiffPageSeries, "asarray", unknown)
    np.testing.assert_array_equal(read(tmp_path / "a.tif").data, GREY)
    monkeypatch.setattr(Image, "open", unknown)
    with pytest.raises(InputError, match=r"LZW compression.*pip install imagecodecs"):
        read(tmp_path / "a.tif")


@pytest.mark.parametrize("module", ["zarr", "dask.array"])
def test_a_missing_extra_says_how_to_install_it(tmp_path, monkeypatch, module):
    path = tmp_path / "a.ome.zarr"
    group(path, {})
    monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(InputError, match=re.escape('pip install "gmmseg[large]"')):
        open_lazy(path)


def test_only_files_with_parts_can_be_read_in_parts(tmp_path):
    picture(tmp_path / "a.png")
    with pytest.raises(InputError, match="save it as TIFF or OME-Zarr"):
        open_lazy(tmp_path / "a.png")
    Image.fromarray(GREY).quantize(9).save(tmp_path / "a.tif")
    with pytest.raises(InputError, match="has a palette"):
        open_lazy(tmp_path / "a.tif")


def test_a_mask_is_what_is_not_zero_and_must_fit(tmp_path):
    picture(tmp_path / "a.png")
    raster = read(tmp_path / "a.png")
    Image.fromarray((GREY > 200).astype(np.uint8)).save(tmp_path / "m.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png", raster), GREY > 200)
    Image.fromarray(GREY[:40]).save(tmp_path / "small.png")
    with pytest.raises(InputError, match=r"size 40x40 \(YX\) and the image 48x40 \(YX\)"):
        read_mask(tmp_path / "small.png", raster)
    Image.fromarray(GREY * 0).save(tmp_path / "none.png")
    with pytest.raises(InputError, match="is empty: no pixel differs from 0"):
        read_mask(tmp_path / "none.png", raster)


def test_the_halo_of_a_jpeg_mask_is_outside(tmp_path):
    inside = np.zeros((48, 40), bool)
    inside[10:31, 7:22] = True
    Image.fromarray(inside.astype(np.uint8) * 255).save(tmp_path / "m.jpg")
    picture(tmp_path / "a.png")
    raster = read(tmp_path / "a.png")
    with Image.open(tmp_path / "m.jpg") as image:
        assert ((np.asarray(image) != 0) != inside).any()  # else this proves nothing
    np.testing.assert_array_equal(read_mask(tmp_path / "m.jpg", raster), inside)


def test_one_plane_masks_every_plane_of_a_stack(tmp_path):
    tifffile.imwrite(tmp_path / "s.tif", STACK, **PLAIN)
    tifffile.imwrite(tmp_path / "m.tif", GREY > 9, photometric="minisblack", metadata=None)
    mask = read_mask(tmp_path / "m.tif", read(tmp_path / "s.tif"))
    np.testing.assert_array_equal(mask, np.stack([GREY > 9] * 5))


def test_a_volume_is_masked_on_its_own_grid(tmp_path):
    affine = np.diag([2.0, 2.0, 3.0, 1.0])
    nib.save(nib.Nifti1Image(STACK.T.astype(np.int16), affine), tmp_path / "a.nii.gz")
    nib.save(nib.Nifti1Image((STACK.T > 9).astype(np.uint8), affine), tmp_path / "m.nii.gz")
    nib.save(nib.Nifti1Image(np.ones(STACK.T.shape, np.uint8), np.eye(4)), tmp_path / "off.nii.gz")
    raster = read(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(read_mask(tmp_path / "m.nii.gz", raster), STACK > 9)
    with pytest.raises(InputError, match="not on the image's grid"):
        read_mask(tmp_path / "off.nii.gz", raster)


def test_labels_of_the_wrong_kind_are_refused_and_nothing_is_left(tmp_path):
    picture(tmp_path / "a.png")
    raster = read(tmp_path / "a.png")
    with pytest.raises(InputError, match="labels must be uint8"):
        write_labels(tmp_path / "b.png", GREY.astype(np.int32), raster)
    with pytest.raises(InputError, match="a map must have shape"):
        write_map(tmp_path / "b.tif", GREY[:9], raster)
    shutil.rmtree(tmp_path / "none", ignore_errors=True)
    with pytest.raises(OSError, match="No such file"):
        write_labels(tmp_path / "none" / "b.png", GREY, raster)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png"]


def test_a_mask_of_several_volumes_is_not_told_of_an_option_for_images(tmp_path):
    Image.fromarray(GREY).save(tmp_path / "x.png")
    both = np.ones((*GREY.T.shape, 1, 2), np.uint8)
    nib.save(nib.Nifti1Image(both, np.eye(4)), tmp_path / "m.nii")
    with pytest.raises(InputError, match=r"holds 2 volumes .*; a mask must be 3-D"):
        read_mask(tmp_path / "m.nii", read(tmp_path / "x.png"))
