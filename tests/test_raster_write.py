"""Names of results, what a command line means, and results of volumes, pictures and OME-Zarr."""

import nibabel as nib
import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from gmmseg.checks import InputError
from gmmseg.raster.paths import dseg_path, expand
from gmmseg.raster.read import read
from gmmseg.raster.write import write_labels, write_map


def ome_zarr(path, data, names="zyx", version="0.5", levels=2, chunks=(1, 16, 16), shift=None):
    """An OME-Zarr image with strided levels."""
    root = zarr.create_group(str(path), zarr_format=3 if version == "0.5" else 2)
    datasets = []
    for level in range(levels):
        step = [2**level if name in "yx" else 1 for name in names]
        part = data[tuple(slice(None, None, s) for s in step)]
        root.create_array(str(level), data=np.ascontiguousarray(part), chunks=chunks)
        steps = [{"type": "scale", "scale": [0.5 * s for s in step]}]
        if shift is not None:
            steps.append({"type": "translation", "translation": shift})
        datasets.append({"path": str(level), "coordinateTransformations": steps})
    types = {"t": "time", "c": "channel"}
    axes = [{"name": n, "type": types.get(n, "space")} for n in names]
    for axis in axes:
        axis |= {"unit": "micrometer"} if axis["type"] == "space" else {}
    scales = {"name": "cells", "axes": axes, "datasets": datasets}
    if version == "0.5":
        root.attrs["ome"] = {"version": "0.5", "multiscales": [scales]}
    else:
        root.attrs["multiscales"] = [{"version": "0.4", **scales}]
    return path


@pytest.mark.parametrize(
    ("name", "labels", "maps"),
    [
        ("a.png", "a_dseg.png", "a_probseg.tif"),
        ("a.b.JPEG", "a.b_dseg.png", "a.b_probseg.tif"),
        ("a.webp", "a_dseg.png", "a_probseg.tif"),
        ("a.TIF", "a_dseg.TIF", "a_probseg.TIF"),
        ("a.ome.tiff", "a_dseg.ome.tiff", "a_probseg.ome.tiff"),
        ("a.lsm", "a_dseg.tif", "a_probseg.tif"),
        ("a.nii", "a_dseg.nii", "a_probseg.nii"),
        ("a.nii.gz", "a_dseg.nii.gz", "a_probseg.nii.gz"),
        ("a.mgz", "a_dseg.nii.gz", "a_probseg.nii.gz"),
        ("a.ome.zarr", "a_dseg.ome.zarr", "a_probseg.ome.zarr"),
        ("a.zarr", "a_dseg.zarr", "a_probseg.zarr"),
        ("scan.001", "scan.001_dseg.png", "scan.001_probseg.tif"),
    ],
)
def test_results_are_named_after_the_image_and_are_of_its_kind(tmp_path, name, labels, maps):
    assert dseg_path(tmp_path / name) == tmp_path / labels
    out = tmp_path / "out"
    assert dseg_path(name, out, suffix="probseg", numbers=True) == out / maps


def test_what_is_in_the_file_decides_over_its_name():
    assert dseg_path("a.png", kind="tiff").name == "a_dseg.tif"
    assert dseg_path("scan.001", kind="nifti").name == "scan.001_dseg.nii.gz"


@pytest.fixture
def folder(tmp_path):
    for name in ("b.png", "a.tif", "a_dseg.tif", "c.nii.gz", "notes.txt", ".hidden.png"):
        (tmp_path / name).write_bytes(b"x")
    for name in ("c_probseg.nii.gz", "s.hdr", "s.img", "t.img"):
        (tmp_path / name).write_bytes(b"x")
    zarr.create_group(str(tmp_path / "z.ome.zarr"))
    (tmp_path / "inner").mkdir()
    return tmp_path


def names(paths):
    return [path.name for path in paths]


def test_a_folder_stands_for_its_images_but_not_for_our_results(folder):
    assert names(expand([folder])) == [
        "a.tif", "b.png", "c.nii.gz", "s.hdr", "t.img", "z.ome.zarr"
    ]  # fmt: skip


def test_a_pattern_stands_for_what_matches(folder):
    assert names(expand([str(folder / "*.tif"), folder / "b.png"])) == ["a.tif", "b.png"]
    assert names(expand([str(folder / "*.zarr")])) == ["z.ome.zarr"]


def test_a_result_next_to_its_image_is_left_out_but_alone_it_is_an_image(folder):
    assert names(expand([folder / "a.tif", folder / "a_dseg.tif"])) == ["a.tif"]
    assert names(expand([folder / "a_dseg.tif"])) == ["a_dseg.tif"]


def test_a_file_is_named_once_and_a_missing_one_stays_for_its_reader(folder):
    gone = folder / "gone.png"
    assert expand([gone, folder / "b.png", folder / "b.png"]) == [gone, folder / "b.png"]
    around = folder / ".." / folder.name / "b.png"
    assert expand([folder / "b.png", gone, around]) == [folder / "b.png", gone]


def test_a_name_with_brackets_is_a_file_where_there_is_one(folder):
    path = folder / "scan[1].png"
    path.write_bytes(b"x")
    assert expand([path]) == [path]


@pytest.mark.parametrize(
    ("given", "message"),
    [("inner", "folder .* holds no image"), ("*.jpg", "matches no image"), (None, "No image")],
)
def test_nothing_to_do_is_said(folder, given, message):
    with pytest.raises(InputError, match=message):
        expand([] if given is None else [str(folder / given)])


def test_a_volume_gets_its_labels_in_the_same_place(tmp_path, rng):
    affine = np.array([[-2.0, 0, 0.3, 10], [0, 0, 3.0, -20], [0, 1.5, 0, -30], [0, 0, 0, 1]])
    data = rng.integers(0, 999, (7, 6, 5)).astype(np.int16)
    image = nib.Nifti1Image(data, affine)
    image.set_sform(affine, 4)
    image.header.set_xyzt_units("mm", "sec")
    nib.save(image, tmp_path / "a.nii.gz")
    raster = read(tmp_path / "a.nii.gz")
    assert (raster.axes, raster.kind, raster.unit) == ("ZYX", "nifti", "mm")
    np.testing.assert_array_equal(raster.data, data.T)
    assert raster.spacing == pytest.approx((np.hypot(0.3, 3.0), 1.5, 2.0))
    labels = (raster.data > 500).astype(np.uint8)
    again = nib.load(write_labels(tmp_path / "b.nii.gz", labels, raster))
    np.testing.assert_array_equal(again.dataobj, data > 500)
    assert again.get_data_dtype() == np.uint8
    for field in ("sform_code", "qform_code", "srow_x", "quatern_b", "xyzt_units"):
        np.testing.assert_array_equal(again.header[field], image.header[field])
    maps = np.stack([labels, 1 - labels], axis=-1)
    again = nib.load(write_map(tmp_path / "p.nii.gz", maps, raster))
    np.testing.assert_array_equal(again.dataobj[..., 1], data <= 500)


def test_one_volume_of_several_is_chosen_by_number(tmp_path, rng):
    data = rng.integers(0, 999, (4, 5, 6, 3)).astype(np.int16)
    nib.save(nib.Nifti1Image(data, np.eye(4)), tmp_path / "a.nii")
    np.testing.assert_array_equal(read(tmp_path / "a.nii", volume=2).data, data[..., 2].T)


def test_the_maps_of_a_picture_are_a_tiff_with_its_resolution(tmp_path, rng):
    Image.fromarray(np.eye(20, dtype=np.uint8) * 9).save(tmp_path / "a.png", dpi=(300, 150))
    raster = read(tmp_path / "a.png")
    maps = rng.random((20, 20, 2)).astype(np.float32)
    path = write_map(dseg_path(tmp_path / "a.png", suffix="probseg", numbers=True), maps, raster)
    again = read(path)
    np.testing.assert_array_equal(again.data, maps)
    assert again.spacing == pytest.approx(raster.spacing)
    with tifffile.TiffFile(path) as tif:
        assert tif.pages[0].dtype == np.float32


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("shift", [None, [0.0, 3.0, 0.0, 7.0]])
def test_an_ome_zarr_keeps_version_axes_scale_and_levels(tmp_path, rng, version, shift):
    data = rng.integers(0, 999, (3, 2, 50, 41)).astype(np.uint16)
    path = ome_zarr(
        tmp_path / "a.ome.zarr", data, "zcyx", version, chunks=(1, 1, 16, 16), shift=shift
    )
    raster = read(path)
    assert (raster.axes, raster.kind) == ("ZYXC", "ome-zarr")
    np.testing.assert_array_equal(raster.data, data.transpose(0, 2, 3, 1))
    assert (raster.spacing, raster.unit) == ((0.5, 0.5, 0.5), "µm")
    labels = (raster.data[..., 0] % 3).astype(np.uint8)
    written = write_labels(dseg_path(path), labels, raster)
    root = zarr.open_group(str(written), mode="r")
    attributes = root.attrs.asdict()
    found = attributes["ome"] if version == "0.5" else attributes["multiscales"][0]
    assert found["version"] == version
    scales = found["multiscales"][0] if version == "0.5" else found
    assert [axis["name"] for axis in scales["axes"]] == ["z", "y", "x"]
    assert scales["axes"][1] == {"name": "y", "type": "space", "unit": "micrometer"}
    steps = [level["coordinateTransformations"] for level in scales["datasets"]]
    assert [step[0]["scale"] for step in steps] == [[0.5, 0.5, 0.5], [0.5, 1.0, 1.0]]
    assert [step[1:] for step in steps] == [
        [] if shift is None else [{"type": "translation", "translation": [0.0, 0.0, 7.0]}]
    ] * 2
    assert root["0"].dtype == np.uint8
    assert root["0"].chunks == (1, 16, 16)
    np.testing.assert_array_equal(root["0"][...], labels)
    np.testing.assert_array_equal(root["1"][...], labels[:, ::2, ::2])
    again = read(written)
    assert (again.spacing, again.axes) == (raster.spacing, "ZYX")


def test_maps_of_an_ome_zarr_have_channels_after_time(tmp_path, rng):
    data = rng.integers(0, 999, (3, 2, 20, 24)).astype(np.uint16)
    raster = read(ome_zarr(tmp_path / "a.zarr", data, "tzyx", chunks=(1, 1, 16, 16)))
    maps = rng.random((*raster.grid, 2)).astype(np.float32)
    written = write_map(tmp_path / "p.ome.zarr", maps, raster)
    scales = zarr.open_group(str(written), mode="r").attrs["ome"]["multiscales"][0]
    assert [axis["name"] for axis in scales["axes"]] == list("tczyx")
    again = read(written)
    assert again.axes == "TZYXC"
    np.testing.assert_array_equal(again.data, maps)


def test_the_first_image_of_a_bio_formats_folder_is_used(tmp_path, rng):
    data = rng.integers(0, 999, (2, 20, 24)).astype(np.uint16)
    zarr.create_group(str(tmp_path / "a.zarr"), attributes={"ome": {"bioformats2raw.layout": 3}})
    ome_zarr(tmp_path / "a.zarr" / "0", data)
    raster = read(tmp_path / "a.zarr")
    np.testing.assert_array_equal(raster.data, data)
    assert "the first, 0, is used" in raster.notes[0]


def test_writing_again_replaces_what_was_there(tmp_path, rng):
    data = rng.integers(0, 999, (2, 20, 24)).astype(np.uint16)
    raster = read(ome_zarr(tmp_path / "a.zarr", data))
    for value in (1, 2):
        written = write_labels(tmp_path / "b.zarr", np.full(raster.grid, value, np.uint8), raster)
    assert (read(written).data == 2).all()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zarr", "b.zarr"]
