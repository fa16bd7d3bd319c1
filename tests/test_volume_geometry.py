"""Where voxels are: axis orders, grids that must agree, and what is written."""

import gzip
import itertools
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gmmseg import affines, volume
from gmmseg.checks import InputError
from gmmseg.volume import Volume

ORDERS = list(
    itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3))
)


def affine_of(order, flips, sizes=(1.0, 2.0, 3.0), tilt=0.0):
    """Affine whose i-th axis runs along world axis order[i], then rotated by tilt about x."""
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, (world, flip) in enumerate(zip(order, flips, strict=True)):
        affine[world, axis] = flip * sizes[axis]
    rotation = np.eye(4)
    rotation[1:3, 1:3] = [[np.cos(tilt), -np.sin(tilt)], [np.sin(tilt), np.cos(tilt)]]
    affine[:3, 3] = 10, -20, 30
    return rotation @ affine


@pytest.mark.parametrize("tilt", [0.0, 0.3])
@pytest.mark.parametrize(("order", "flips"), ORDERS)
def test_every_voxel_keeps_its_place_in_the_world(rng, order, flips, tilt):
    """All 48 axis orders: a voxel's value is found at the same world point after reordering."""
    scan = Volume(rng.normal(size=(3, 4, 5)).astype(np.float32), affine_of(order, flips, tilt=tilt))
    turned = volume.to_canonical(scan)
    assert "".join(nib.aff2axcodes(turned.affine)) == "RAS"
    for voxel in np.ndindex(scan.shape):
        there = np.linalg.solve(turned.affine, scan.affine @ [*voxel, 1])[:3]
        np.testing.assert_allclose(there, np.rint(there), atol=1e-9)
        assert turned.data[tuple(np.rint(there).astype(int))] == scan.data[voxel]


@pytest.mark.parametrize(("order", "flips"), ORDERS)
def test_the_way_back_undoes_the_way_there(rng, order, flips):
    data = rng.normal(size=(3, 4, 5, 2)).astype(np.float32)
    scan = Volume(data[..., 0], affine_of(order, flips))
    np.testing.assert_array_equal(volume.from_canonical(volume.turn(data, scan), scan), data)
    np.testing.assert_array_equal(
        volume.from_canonical(volume.to_canonical(scan).data, scan), scan.data
    )


@given(st.floats(0.2, 5.0), st.floats(0.2, 5.0), st.floats(0.2, 5.0), st.floats(-1.0, 1.0))
def test_voxel_sizes_are_those_of_nibabel(x, y, z, tilt):
    affine = affine_of((2, 0, 1), (1, -1, 1), (x, y, z), tilt)
    np.testing.assert_allclose(affines.voxel_sizes(affine), nib.affines.voxel_sizes(affine))


def test_the_volume_of_a_voxel_is_its_determinant():
    sheared = np.array([[1.0, 0.5, 0, 0], [0, 2, 0, 0], [0, 0, 3, 0], [0, 0, 0, 1]])
    assert Volume(np.zeros((2, 2, 2)), sheared).voxel_ml == pytest.approx(0.006)


def test_a_shifted_grid_is_refused_with_the_shift_in_mm():
    scan = Volume(np.zeros((10, 10, 10)), np.eye(4))
    moved = np.eye(4)
    moved[0, 3] = 2.5
    with pytest.raises(InputError, match=r"mask is not on .* 2\.5 mm apart \(allowed 0\.05 mm\)"):
        volume.check_same_grid(scan, Volume(scan.data, moved), name="mask")


def test_grids_are_compared_where_they_differ_most():
    """A scale off by 5e-4 passes an affine tolerance of 1e-3 but is 0.13 mm off at voxel 255."""
    scan = Volume(np.zeros((256, 2, 2)), np.eye(4))
    scaled = Volume(scan.data, np.diag([1.0005, 1, 1, 1]))
    with pytest.raises(InputError, match=r"0\.127 mm"):
        volume.check_same_grid(scan, scaled, name="mask")
    volume.check_same_grid(scan, scaled, name="mask", atol=0.2)


def test_a_grid_of_another_size_is_refused():
    scan = Volume(np.zeros((10, 10, 10)), np.eye(4))
    with pytest.raises(InputError, match="it has size 10x10x9 and the image 10x10x10"):
        volume.check_same_grid(scan, Volume(np.zeros((10, 10, 9)), np.eye(4)), name="mask")


def test_of_two_grids_only_what_differs_is_named():
    scan = Volume(np.zeros((10, 10, 10)), np.eye(4))
    moved = np.eye(4)
    moved[0, 3] = 2.5
    with pytest.raises(InputError, match="it has size") as refusal:
        volume.check_same_grid(scan, Volume(np.zeros((10, 10, 9)), np.eye(4)), name="mask")
    assert "apart" not in str(refusal.value)
    with pytest.raises(InputError, match="apart") as refusal:
        volume.check_same_grid(scan, Volume(scan.data, moved), name="mask")
    assert "size" not in str(refusal.value)
    with pytest.raises(InputError, match=r"size 10x10x9 and the image 10x10x10; corner.* 2\.5 mm"):
        volume.check_same_grid(scan, Volume(np.zeros((10, 10, 9)), moved), name="mask")


@pytest.fixture
def scan(rng):
    return Volume(rng.normal(size=(4, 5, 6)).astype(np.float32), affine_of((1, 0, 2), (1, -1, 1)))


GEOMETRY = (
    *("sform_code", "qform_code", "xyzt_units", "srow_x", "srow_y", "srow_z"),
    *("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
)


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti1Pair, nib.Nifti2Image])
@pytest.mark.parametrize(("sform", "qform"), [(1, 1), (2, 0), (0, 1), (4, 3), (0, 0)])
def test_an_output_is_where_the_input_is_with_the_same_codes(tmp_path, rng, kind, sform, qform):
    image = kind(rng.normal(size=(4, 5, 6)), affine_of((1, 0, 2), (1, -1, 1), tilt=0.2))
    image.set_sform(image.affine, sform)
    image.set_qform(image.affine, qform)
    image.header.set_xyzt_units("mm", "sec")
    image.header["descrip"] = b"name of a patient"
    path = tmp_path / ("scan.img" if kind is nib.Nifti1Pair else "scan.nii")
    nib.save(image, path)
    scan = volume.read(path)
    volume.save(volume.to_image(scan.data > 0, scan, dtype=np.uint8), tmp_path / "out.nii.gz")
    out, original = nib.load(tmp_path / "out.nii.gz"), nib.load(path)
    np.testing.assert_array_equal(out.affine, original.affine)
    for field in GEOMETRY:
        np.testing.assert_array_equal(out.header[field], original.header[field], err_msg=field)
    assert out.get_data_dtype() == np.uint8
    assert (out.dataobj.slope, out.dataobj.inter) == (1, 0)
    assert bytes(out.header["descrip"].item()) == b""


def test_an_output_of_a_swapped_header_is_native_and_in_place(tmp_path, rng):
    image = nib.Nifti1Image(rng.normal(size=(4, 5, 6)), np.diag([2.0, 3, 4, 1]))
    swapped = nib.Nifti1Image(image.dataobj, image.affine, image.header.as_byteswapped(">"))
    nib.save(swapped, tmp_path / "scan.nii")
    scan = volume.read(tmp_path / "scan.nii")
    out = volume.to_image(scan.data, scan, dtype=np.float32)
    np.testing.assert_array_equal(out.affine, image.affine)
    np.testing.assert_allclose(out.header.get_zooms(), (2, 3, 4))


def test_an_output_of_another_format_has_its_place_as_scanner_coordinates(tmp_path, rng):
    affine = affine_of((2, 0, 1), (1, 1, -1), tilt=0.2)
    data = rng.normal(size=(4, 5, 6)).astype(np.float32)
    nib.save(nib.MGHImage(data, affine), tmp_path / "scan.mgz")
    scan = volume.read(tmp_path / "scan.mgz")
    out = volume.to_image(scan.data, scan, dtype=np.float32)
    np.testing.assert_allclose(out.affine, affine, atol=1e-5)
    np.testing.assert_allclose(out.get_qform(), affine, atol=1e-5)
    assert (out.header["sform_code"], out.header["qform_code"]) == (1, 1)
    assert out.header.get_xyzt_units()[0] == "mm"


def test_a_sheared_grid_without_a_header_gets_no_qform():
    sheared = np.array([[1.0, 0.5, 0, 0], [0, 2, 0, 0], [0, 0, 3, 0], [0, 0, 0, 1]])
    out = volume.to_image(np.zeros((4, 5, 6)), Volume(np.zeros((4, 5, 6)), sheared), dtype="u1")
    np.testing.assert_allclose(out.affine, sheared)
    assert out.header["qform_code"] == 0


def test_equal_images_give_equal_files(tmp_path, scan):
    for name in ("one.nii.gz", "two.nii.gz"):
        volume.save(volume.to_image(scan.data, scan, dtype=np.float32), tmp_path / name)
    assert (tmp_path / "one.nii.gz").read_bytes() == (tmp_path / "two.nii.gz").read_bytes()


@pytest.mark.parametrize("name", ["out.nii", "out.nii.gz"])
def test_a_saved_image_holds_the_same_bits(tmp_path, scan, name):
    volume.save(volume.to_image(scan.data, scan, dtype=np.float32), tmp_path / name)
    found = nib.load(tmp_path / name)
    np.testing.assert_array_equal(np.asarray(found.dataobj), scan.data)
    if name.endswith(".gz"):  # read to the end, checksum included
        plain = gzip.decompress((tmp_path / name).read_bytes())
        assert plain == volume.to_image(scan.data, scan, dtype=np.float32).to_bytes()


def test_an_image_of_many_chunks_is_saved_whole_in_any_memory_order(tmp_path, scan, monkeypatch):
    monkeypatch.setattr(volume, "CHUNK_BYTES", 1000)
    for k, turned in enumerate((scan.data, np.asfortranarray(scan.data))):
        image = volume.to_image(turned, scan, dtype=np.float32)
        volume.save(image, tmp_path / f"{k}.nii.gz")
        found = nib.load(tmp_path / f"{k}.nii.gz")
        np.testing.assert_array_equal(np.asarray(found.dataobj), scan.data)
    assert (tmp_path / "0.nii.gz").read_bytes() == (tmp_path / "1.nii.gz").read_bytes()


def test_a_write_that_fails_leaves_nothing_behind(tmp_path, scan, monkeypatch):
    def fail(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    for name in ("out.nii", "out.nii.gz"):
        with pytest.raises(OSError, match="No space"):
            volume.save(volume.to_image(scan.data, scan, dtype="f4"), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_what_is_odd_about_a_scan_is_remarked_on(rng):
    image = nib.Nifti1Image(rng.normal(size=(4, 5, 6)), None)
    (remark,) = volume.remarks(
        volume.read(nib.Nifti1Image(image.dataobj, image.header.get_base_affine(), image.header))
    )
    assert "does not say which way the axes point; they are taken as" in remark
    assert volume.remarks(volume.read(nib.Nifti1Image(image.dataobj, np.eye(4)))) == ()


@pytest.mark.parametrize(("unit", "n_remarks"), [("meter", 1), ("micron", 1), ("mm", 0)])
def test_lengths_said_to_be_other_than_mm_are_remarked_on(unit, n_remarks):
    image = nib.Nifti1Image(np.arange(64, dtype=np.float32).reshape(4, 4, 4), np.eye(4))
    image.header.set_xyzt_units(unit)
    found = volume.remarks(volume.read(image))
    assert len(found) == n_remarks
    assert all("they are taken as mm" in remark for remark in found)


@pytest.mark.parametrize("number", [1.5, "0"])
def test_the_number_of_a_volume_is_a_whole_one(tmp_path, number):
    image = nib.Nifti1Image(np.arange(120.0).reshape(3, 4, 5, 2), np.eye(4))
    with pytest.raises(InputError, match=rf"must be whole, from 0; got {number!r}"):
        volume.read(image, volume=number)
